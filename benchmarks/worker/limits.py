"""The cost of limits: a normal worker compared with one without limits, in turns, on the same blocks.

``python -m benchmarks.worker.limits [BUNDLE]`` needs no ClickHouse. Without limits, images are decoded in threads of
the worker, and texts are cleaned by ftfy alone. The smaller the model, the more the limits cost: pass the bundle that
you use.
"""

from __future__ import annotations

import argparse
import json
import os
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import psutil

from benchmarks import machine
from benchmarks.material import captions, pictures
from benchmarks.worker.worker_pipe import ask
from clip_installer import resources
from clip_udfs.settings import WorkerSettings

WORKS = {"captions": "encode_text", "images": "encode_image_bytes"}
ALLOWED = 1.03


class Unlimited:
    """Replaces the decoding processes: the same work, in the worker's own threads."""

    def __init__(self, work: Callable[[bytes, int], bytes]) -> None:
        """Do ``work``."""
        self._work = work
        self.budget = self

    @classmethod
    def start(cls, prepare: Callable[[], Callable[[bytes, int], bytes]], *_: Any, **__: Any) -> Unlimited:
        """As the pool does."""
        return cls(prepare())

    def run(self, content: bytes, argument: int = 0) -> bytes:
        """As the pool does."""
        return self._work(content, argument)

    def restart(self) -> None:
        """There is no budget."""

    def close(self) -> None:
        """There is nothing to end."""


def serve_without_limits(arguments: Sequence[str]) -> int:
    """Run a worker without limits on images and texts."""
    import html

    from ftfy import fix_text

    from clip_udfs.images import work
    from clip_udfs.text import tokenizer

    answers, reasons = os.dup(1), os.dup(2)
    vars(work)["DecoderPool"] = Unlimited
    vars(tokenizer)["repaired"] = lambda text, *_: html.unescape(html.unescape(fix_text(text))).strip()
    from clip_udfs.worker import main as serve

    return serve(arguments, answers, reasons)


@dataclass(frozen=True)
class Turn:
    """One block: wall-clock seconds, and CPU seconds of the worker and its processes."""

    seconds: float
    cpu: float


class Worker:
    """A warm worker, with limits or without."""

    def __init__(self, function: str, settings: Path, *, limited: bool) -> None:
        """Start it."""
        module = ["clip_udfs"] if limited else ["benchmarks.worker.limits", "--without"]
        command = [sys.executable, "-m", *module, function, "--settings", str(settings)]
        self._process = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE)

    def encode(self, values: Sequence[bytes]) -> Turn:
        """Encode one block of ``values``."""
        cpu, began = self._cpu(), time.perf_counter()
        ask(self._process, values)
        return Turn(time.perf_counter() - began, self._cpu() - cpu)

    def close(self) -> None:
        """End it."""
        self._process.communicate()

    def _cpu(self) -> float:
        own = psutil.Process(self._process.pid)
        times = [one.cpu_times() for one in (own, *own.children(recursive=True))]
        return float(sum(one.user + one.system for one in times))


def compare(work: str, values: Sequence[bytes], bundle: Path, turns: int, place: Path) -> dict[str, Any]:
    """Encode the same block ``turns`` times with limits and without, in turns; medians of the ratios of each pair."""
    settings = place / f"{work}.json"
    settings.write_text(WorkerSettings(bundle=bundle, text_cache=0, image_roots=(place,)).to_json())
    workers = {limited: Worker(WORKS[work], settings, limited=limited) for limited in (True, False)}
    for worker in workers.values():
        worker.encode(values[:8])
    found: dict[bool, list[Turn]] = {True: [], False: []}
    for turn in range(turns):
        for limited in (True, False) if turn % 2 else (False, True):  # alternate who is first
            found[limited].append(workers[limited].encode(values))
    for worker in workers.values():
        worker.close()
    pairs = list(zip(found[True], found[False], strict=True))
    return {
        "work": work,
        "rows": len(values),
        "turns": turns,
        "milliseconds_a_row": 1e3 * statistics.median(one.seconds for one in found[True]) / len(values),
        "seconds_with_to_without": statistics.median(one.seconds / other.seconds for one, other in pairs),
        "cpu_with_to_without": statistics.median(one.cpu / other.cpu for one, other in pairs),
    }


def main() -> int:
    """Compare both works and print a table."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.worker.limits", description=__doc__)
    parser.add_argument("bundle", type=Path, nargs="?", default=resources.builtin_models() / "emoji")
    parser.add_argument("--captions", type=int, default=4000, help="captions of a block")
    parser.add_argument("--images", type=int, default=128, help="JPEGs of a block, of the sizes of photographs")
    parser.add_argument("--turns", type=int, default=9, help="times that each worker encodes the block")
    parser.add_argument("--json", action="store_true", help="print one JSON object")
    options = parser.parse_args()
    loads = [machine.load()]
    with tempfile.TemporaryDirectory() as name:
        place = Path(name)
        values = {
            "captions": [one.encode() for one in captions(options.captions)],
            "images": [path.read_bytes() for path in pictures(place / "pictures", options.images)],
        }
        bundle = options.bundle.absolute()
        found = [compare(work, values[work], bundle, options.turns, place) for work in WORKS]
    loads.append(machine.load())
    answer = {
        "command": "python -m benchmarks.worker.limits",
        "bundle": bundle.name,
        "machine": machine.describe(),
        "load_average": {"least": min(loads), "most": max(loads)},
        "limits": found,
    }
    sys.stdout.write((json.dumps(answer, indent=1) if options.json else markdown(answer)) + "\n")
    return 0


def markdown(answer: dict[str, Any]) -> str:
    """The result as a table."""
    described, loads = answer["machine"], answer["load_average"]
    lines = [
        f"`{answer['command']}` with {answer['bundle']} on {described['cores']} cores of {described['cpu']}, load"
        f" average {loads['least']:.1f} to {loads['most']:.1f}: medians over the turns, with limits to without;"
        f" {ALLOWED} at most is asked",
        "",
        "| work | rows | turns | ms a row | time | CPU |",
        "|---|---|---|---|---|---|",
    ]
    lines += [
        f"| {one['work']} | {one['rows']} | {one['turns']} | {one['milliseconds_a_row']:.2f} |"
        f" {one['seconds_with_to_without']:.3f} | {one['cpu_with_to_without']:.3f} |"
        for one in answer["limits"]
    ]
    return "\n".join(lines)


if __name__ == "__main__":
    if sys.argv[1:2] == ["--without"]:
        sys.exit(serve_without_limits(sys.argv[2:]))
    sys.exit(main())
