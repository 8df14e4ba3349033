"""The engine alone, compared with the machine's matrix throughput: ``python -m benchmarks.worker.engine_only BUNDLE``.

Prints one JSON object. Peak and engine are measured in turns, so that other load slows both.
"""

from __future__ import annotations

import json
import statistics
import sys
import time
from collections import deque
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np

from clip_udfs.bundle import Bundle
from clip_udfs.encoders.onnx import OnnxEncoder
from clip_udfs.settings import WorkerSettings

SIDE = 2048
# Multiply-adds of one image, counted: 49 patches of 3x32x32 into 768; twelve blocks on 50 tokens with four
# projections of 768x768, two of 768x3072 and attention; the projection to 512. Times two for FLOP.
_TOKENS, _WIDTH, _HIDDEN, _BLOCKS = 50, 768, 3072, 12
_BLOCK = _TOKENS * (4 * _WIDTH**2 + 2 * _WIDTH * _HIDDEN) + 2 * _TOKENS**2 * _WIDTH
# The last block needs keys and values of all tokens, but the rest only for the pooled one.
_LAST = 2 * (_TOKENS + 1) * _WIDTH**2 + 2 * _WIDTH * _HIDDEN + 2 * _TOKENS * _WIDTH
_ENDS = 49 * 3 * 32 * 32 * _WIDTH + _WIDTH * 512
FLOP_PER_PICTURE = 2 * (_ENDS + (_BLOCKS - 1) * _BLOCK + _LAST)
FLOP_OF_ALL_TOKENS = 2 * (_ENDS + _BLOCKS * _BLOCK)


def main(bundle: str, rounds: str) -> None:
    """Measure and print."""
    batch = WorkerSettings(Path(bundle)).image_batch
    encoder = OnnxEncoder(Bundle.open(Path(bundle)), "image", 0)
    random = np.random.default_rng(3)
    pixels = random.integers(0, 255, (batch, 224, 224, 3), dtype=np.uint8)
    batches = 2 * encoder.parallel_batches
    engines = ThreadPoolExecutor(encoder.parallel_batches)

    def encode() -> None:
        """Batches in parallel, as a worker encodes many of them."""
        deque(engines.map(partial(encoder.encode, exclusive=False), [pixels] * batches), maxlen=0)

    multiply = _multipliers(random)
    for warm in (*multiply.values(), encode):
        warm()
    peaks: dict[str, list[float]] = {name: [] for name in multiply}
    engine: list[float] = []
    shares: list[float] = []
    for _ in range(int(rounds)):
        before = _peak(multiply, peaks)
        engine.append(batches * batch * FLOP_PER_PICTURE / _quickest(encode))
        after = _peak(multiply, peaks)
        shares.append(2 * engine[-1] / (before + after))
    best = {name: max(found) / 1e9 for name, found in peaks.items()}
    sys.stdout.write(
        json.dumps(
            {
                "batch": batch,
                "matmul_gflops": best,
                "engine_gflops": max(engine) / 1e9,
                "pictures_per_second": max(engine) / FLOP_PER_PICTURE,
                "share_of_peak": statistics.median(shares),
                "share_with_skipped_work": statistics.median(shares) * FLOP_OF_ALL_TOKENS / FLOP_PER_PICTURE,
                "share_of_best": max(engine) / 1e9 / max(best.values()),
            }
        )
        + "\n"
    )


def _multipliers(random: np.random.Generator) -> dict[str, Callable[[], Any]]:
    left, right = random.standard_normal((2, SIDE, SIDE), dtype=np.float32)
    found: dict[str, Callable[[], Any]] = {"numpy": lambda: left @ right}
    try:
        import torch
    except ImportError:
        return found
    a, b = torch.from_numpy(left), torch.from_numpy(right)
    return {**found, "torch": lambda: a @ b}


def _peak(multiply: dict[str, Callable[[], Any]], peaks: dict[str, list[float]]) -> float:
    flop = 2 * SIDE**3
    for name, run in multiply.items():
        peaks[name].append(flop / _quickest(run))
    return max(found[-1] for found in peaks.values())


def _quickest(run: Callable[[], Any]) -> float:
    """Seconds of the faster of two runs."""
    taken = []
    for _ in range(2):
        start = time.perf_counter()
        run()
        taken.append(time.perf_counter() - start)
    return min(taken)


if __name__ == "__main__":
    main(*sys.argv[1:])
