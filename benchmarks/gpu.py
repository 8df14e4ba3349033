"""The torch engine on a GPU: batch sizes, and rows a second through ClickHouse. Nothing where there is no GPU."""

from __future__ import annotations

import statistics
import time
from collections.abc import Iterator, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from benchmarks.bulk import beside_ours
from benchmarks.material import captions
from benchmarks.measurement import Bench, Measurement
from clip_udfs.bundle import TOKENIZER, Bundle
from clip_udfs.encoders.torch import TorchEncoder
from clip_udfs.functions import Tower
from clip_udfs.tokenizer import Tokenizer

BATCHES = (32, 64, 128, 256, 512, 1024)
TOWERS: tuple[Tower, ...] = ("text", "image")
_REPETITIONS = 8


def gpu(bench: Bench) -> Iterator[Measurement]:
    """Batch sizes of both towers, then captions and pictures in SQL, with vectors compared with the CPU's."""
    import torch

    if not torch.cuda.is_available():
        bench.say("  no GPU here: skipped")
        return
    device = torch.cuda.get_device_name()
    bundle = bench.deployment.models.bundle(engine="torch")
    for one in sweep(bundle, "cuda", BATCHES):
        yield replace(one, notes={"device": device})
    options = ("--engine", "torch", "--device", "cuda", "--wire-format", "RowBinary", "--pool-size", 1)
    for one in beside_ours(bench, bundle, "gpu", "GPU", *options):
        if one.contender == "gpu":
            yield replace(one, work=f"gpu, {one.work} in SQL", notes={**one.notes, "device": device})


def sweep(bundle: Path, device: str, batches: Sequence[int]) -> Iterator[Measurement]:
    """Seconds a row of both towers of ``bundle`` on ``device``, for each number of rows in ``batches``."""
    opened = Bundle.open(bundle)
    for tower in TOWERS:
        encoder = TorchEncoder(opened, tower, device, 0)
        for rows in batches:
            batch = _batch(opened, tower, rows)
            encoder.encode(batch)
            seconds = [_seconds(encoder, batch) / rows for _ in range(_REPETITIONS)]
            notes = {"rows_a_second": 1 / statistics.median(seconds)}
            work = f"gpu, {tower}, batches of {rows}"
            yield Measurement(work, "gpu", "s/row", tuple(seconds), rows, notes)


def _batch(bundle: Bundle, tower: Tower, rows: int) -> NDArray[Any]:
    if tower == "image":
        return np.random.default_rng(rows).integers(0, 255, (rows, *bundle.manifest.image.size, 3), dtype=np.uint8)
    tokenizer = Tokenizer(bundle.file(TOKENIZER), bundle.manifest.text)
    return tokenizer.pad(tokenizer(captions(rows, seed=rows)))


def _seconds(encoder: TorchEncoder, batch: NDArray[Any]) -> float:
    start = time.perf_counter()
    encoder.encode(batch)
    return time.perf_counter() - start
