"""ONNX Runtime and OpenVINO on the same graphs, without ClickHouse: ``python -m benchmarks.worker.engines BUNDLE``.

``BUNDLE`` is the directory of an installed bundle. OpenVINO is not among the locked packages: ``pip install openvino``.
It computes in float32; where the CPU multiplies bfloat16, a second time in that. Prints one JSON object.
"""

from __future__ import annotations

import json
import sys
import time
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from importlib import import_module
from pathlib import Path
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from benchmarks import machine
from benchmarks.material import captions
from benchmarks.vectors import Vectors, cosines
from clip_udfs.bundle import Bundle
from clip_udfs.encoders.onnx import INPUT, OnnxEncoder
from clip_udfs.encoders.packing import pack
from clip_udfs.encoders.prepared import MODEL
from clip_udfs.functions import Tower
from clip_udfs.manifest import TOKENIZER
from clip_udfs.settings import WorkerSettings
from clip_udfs.text.tokenizer import Tokenizer

# By what each is called in the results. The CPUs that have one of these flags multiply bfloat16.
ONNX_RUNTIME, OPENVINO, OPENVINO_BF16 = "ours", "openvino", "openvino_bf16"
_BF16_FLAGS = {"amx_bf16", "avx512_bf16"}
_TEXTS, _IMAGES = 240, 32
_WORKS: dict[Tower, tuple[str, str]] = {"text": ("one text", "captions"), "image": ("one image", "images")}


class Engine(Protocol):
    """A tower in one engine."""

    def one(self, batch: NDArray[Any]) -> Vectors:
        """Encode a batch with all threads."""

    def many(self, batches: Sequence[NDArray[Any]]) -> list[Vectors]:
        """Encode batches in parallel."""


class OnnxRuntime:
    """A tower as the workers run it."""

    def __init__(self, bundle: Bundle, tower: Tower) -> None:
        """Load it."""
        self._encoder = OnnxEncoder(bundle, tower, 0)
        self._threads = ThreadPoolExecutor(self._encoder.parallel_batches)

    def one(self, batch: NDArray[Any]) -> Vectors:
        """See :class:`Engine`."""
        return self._encoder.encode(batch)

    def many(self, batches: Sequence[NDArray[Any]]) -> list[Vectors]:
        """See :class:`Engine`."""
        return list(self._threads.map(partial(self._encoder.encode, exclusive=False), batches))


class OpenVino:
    """The same graph in OpenVINO, compiled for latency and for throughput."""

    def __init__(self, bundle: Bundle, tower: Tower, precision: str) -> None:
        """Compile it for ``precision``: ``f32`` or ``bf16``."""
        openvino = import_module("openvino")
        core, graph = openvino.Core(), bundle.file(MODEL.format(tower=tower))
        self._end_id = bundle.manifest.text.end_id
        hints = {"INFERENCE_PRECISION_HINT": precision, "PERFORMANCE_HINT": "LATENCY"}
        self._alone = core.compile_model(graph, "CPU", hints)
        self._packed = len(self._alone.inputs) > 1
        together = core.compile_model(graph, "CPU", hints | {"PERFORMANCE_HINT": "THROUGHPUT"})
        self._queue = openvino.AsyncInferQueue(together)

    def one(self, batch: NDArray[Any]) -> Vectors:
        """See :class:`Engine`."""
        found: Vectors = self._alone(self._inputs(batch))[0].copy()
        return found

    def many(self, batches: Sequence[NDArray[Any]]) -> list[Vectors]:
        """See :class:`Engine`."""
        found: dict[int, Vectors] = {}

        def keep(request: Any, number: int) -> None:
            found[number] = request.get_output_tensor(0).data.copy()

        self._queue.set_callback(keep)
        for number, batch in enumerate(batches):
            self._queue.start_async(self._inputs(batch), number)
        self._queue.wait_all()
        return [found[number] for number in range(len(batches))]

    def _inputs(self, batch: NDArray[Any]) -> dict[str, NDArray[Any]]:
        return dict(pack(batch, self._end_id)) if self._packed else {INPUT: batch}


def compare(bundle: Bundle, turns: int, texts: int = _TEXTS, images: int = _IMAGES) -> dict[str, Any]:
    """Seconds per row of each work and engine, in turns, and the smallest cosine with ONNX Runtime's vectors."""
    batches_of: dict[Tower, list[NDArray[Any]]] = {"text": _texts(bundle, texts), "image": _images(bundle, images)}
    found: dict[str, Any] = {}
    for tower, batches in batches_of.items():
        ours = OnnxRuntime(bundle, tower)
        engines: dict[str, Engine] = {ONNX_RUNTIME: ours}
        for name, precision in _precisions().items():
            engines[name] = OpenVino(bundle, tower, precision)
        one, wanted, rows = batches[len(batches) // 2][:1], np.concatenate(ours.many(batches)), sum(map(len, batches))
        for name, engine in engines.items():
            engine.one(one)  # the first run of each shape takes longer
            cosine = float(cosines(np.concatenate(engine.many(batches)), wanted).min())
            for work in _WORKS[tower]:
                found.setdefault(work, {})[name] = {"seconds": [], "cosine": cosine}
        for _ in range(turns):
            for name, engine in engines.items():
                alone, together = (found[work][name]["seconds"] for work in _WORKS[tower])
                alone.append(_seconds(partial(engine.one, one)))
                together.append(_seconds(partial(engine.many, batches)) / rows)
    return found


def _precisions() -> dict[str, str]:
    """OpenVINO's precisions to measure, by name: bfloat16 only where the CPU multiplies it."""
    return {OPENVINO: "f32"} | ({OPENVINO_BF16: "bf16"} if _BF16_FLAGS & machine.flags() else {})


def _texts(bundle: Bundle, count: int) -> list[NDArray[Any]]:
    """Captions in batches of similar length, as a worker forms them."""
    tokenizer = Tokenizer(bundle.file(TOKENIZER), bundle.manifest.text)
    tokens = sorted(tokenizer(captions(count, seed=41)), key=len)
    size = WorkerSettings(bundle.directory).text_batch
    return [tokenizer.pad(tokens[start : start + size]) for start in range(0, count, size)]


def _images(bundle: Bundle, count: int) -> list[NDArray[Any]]:
    size = WorkerSettings(bundle.directory).image_batch
    pixels = np.random.default_rng(42).integers(0, 255, (count, *bundle.manifest.image.size, 3), dtype=np.uint8)
    return [pixels[start : start + size] for start in range(0, count, size)]


def _seconds(run: Callable[[], Any]) -> float:
    start = time.perf_counter()
    run()
    return time.perf_counter() - start


if __name__ == "__main__":
    sys.stdout.write(json.dumps(compare(Bundle.open(Path(sys.argv[1])), int(sys.argv[2]))) + "\n")
