"""Where the time of a first query goes: a worker's steps until its first vector, timed in a fresh process.

``python -m benchmarks.worker.start SETTINGS`` prints them for the ``worker.json`` of an installed model. ``python -X
importtime -m benchmarks.worker.start SETTINGS`` shows how long each import takes and where it comes from.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from functools import partial
from importlib import import_module
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from benchmarks.functions.measurement import Bench, Measurement

_IMPORTS = (
    "clip_udfs.worker",
    "numpy",
    "onnxruntime",
    "tokenizers",
    "clip_udfs.text.tokenizer",
    "clip_udfs.text.merges",
    "clip_udfs.pipe.text_pipeline",
    "clip_udfs.pipe.wire",
    "clip_udfs.pipe.row_binary",
    "clip_udfs.encoders.onnx",
)


def start(bench: Bench) -> Iterator[Measurement]:
    """Each step's seconds of CPU, in fresh processes; then those of whole workers, and until their first vector."""
    from benchmarks.functions.measurement import Measurement
    from benchmarks.worker.first_vector import in_turns, kinds

    (settings,) = bench.deployment.data.glob("user_scripts/clip_udfs/vit-b-32-fp32-onnx/*/worker.json")
    runs = []
    for _ in range(bench.scale.starts):
        done = subprocess.run(
            [sys.executable, "-m", "benchmarks.worker.start", str(settings)],
            check=True,
            capture_output=True,
            text=True,
            env={**os.environ, "OPENBLAS_NUM_THREADS": "1"},  # as the launcher has it
        )
        runs.append(json.loads(done.stdout))
    for step in runs[0]:
        yield Measurement(f"start, {step}", "ours", "s", tuple(run[step] for run in runs))
    with kinds(settings) as among:
        for name, starts in in_turns(among, 3 * bench.scale.starts).items():
            yield Measurement(f"start, whole worker, {name}", "ours", "s", tuple(one.cpu for one in starts))
            yield Measurement(f"start, first vector, {name}", "ours", "s", tuple(one.seconds for one in starts))


def steps(settings: Path) -> dict[str, float]:
    """Seconds of CPU, of all threads, of each step from the interpreter to the first vector."""
    taken = {"interpreter": time.process_time()}

    def timed(step: str, work: Callable[[], Any]) -> Any:
        before = time.process_time()
        found = work()
        taken[step] = time.process_time() - before
        return found

    for module in _IMPORTS:
        timed(f"import of {module}", partial(import_module, module))
    from clip_udfs.bundle import Bundle
    from clip_udfs.encoders import engine_files, open_encoder, tokenizer_files
    from clip_udfs.manifest import TOKENIZER
    from clip_udfs.settings import WorkerSettings
    from clip_udfs.text.merges import Merges
    from clip_udfs.text.tokenizer import Tokenizer

    worker = WorkerSettings.load(settings)
    bundle = timed("manifest", lambda: Bundle.open(worker.bundle))
    files = timed("choice of graph", lambda: engine_files(worker, bundle, "text"))
    tables = tokenizer_files(worker, bundle)
    timed("files as they were hashed", lambda: _vouch(bundle.directory, {**files, **tables}))
    merges = Merges(*tables) if tables else None
    tokenizer = timed("tokenizer", lambda: Tokenizer(bundle.file(TOKENIZER), bundle.manifest.text, merges))
    encoder = timed("graph", lambda: open_encoder(worker, bundle, "text"))
    timed("first text", lambda: encoder.encode(tokenizer.pad(tokenizer(["first query"]))))
    return taken


def _vouch(directory: Path, files: dict[Path, Any]) -> None:
    from clip_udfs.integrity import Digests, vouched
    from clip_udfs.verified import VerifiedFiles

    with vouched(files, Digests({}, VerifiedFiles.beside(directory).holds)):
        pass


if __name__ == "__main__":
    sys.stdout.write(json.dumps(steps(Path(sys.argv[1]))) + "\n")
