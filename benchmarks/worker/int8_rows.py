"""The int8 bundle, row by row: its cosine with float32, alone and in batches.

``python -m benchmarks.worker.int8_rows FLOAT32 INT8`` encodes captions and images with two bundles of one model.
"""

from __future__ import annotations

import json
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import click
import numpy as np
from numpy.typing import NDArray

from benchmarks import machine
from benchmarks.material import captions, pictures
from benchmarks.vectors import cosines
from clip_udfs.bundle import Bundle
from clip_udfs.encoders import Encoder, open_encoder
from clip_udfs.functions import Tower
from clip_udfs.images.preprocessing import decode
from clip_udfs.settings import WorkerSettings
from clip_udfs.text.tokenizer import Tokenizer

_DISTINCT_PICTURES = 250
_PIXELS = 1 << 26


@click.command()
@click.argument("exact", type=click.Path(exists=True, file_okay=False, path_type=Path))
@click.argument("quantized", type=click.Path(exists=True, file_okay=False, path_type=Path))
@click.option("--rows", type=click.IntRange(100), default=2000, show_default=True, help="Captions; images are half.")
@click.option("--batch", type=click.IntRange(2), default=12, show_default=True, help="Rows of a batch.")
def main(exact: Path, quantized: Path, rows: int, batch: int) -> None:
    """Compare each row's vectors and print one JSON object."""
    bundles = [Bundle.open(exact), Bundle.open(quantized)]
    found = [compared(tower, bundles, list(values(tower, bundles[0], rows)), batch) for tower in ("text", "image")]
    said = {"models": [bundle.manifest.name for bundle in bundles], "machine": machine.describe(), "towers": found}
    sys.stdout.write(json.dumps(said, indent=1) + "\n")


def values(tower: Tower, bundle: Bundle, rows: int) -> Iterator[NDArray[Any]]:
    """Captions as token ids, of their own lengths; or images as pixels, several crops of each."""
    if tower == "text":
        tokenizer = Tokenizer(bundle.file("tokenizer.json"), bundle.manifest.text)
        yield from tokenizer(captions(rows, seed=17))
        return
    with tempfile.TemporaryDirectory() as place:
        random = np.random.default_rng(17)
        for path in pictures(Path(place), min(rows // 2, _DISTINCT_PICTURES), seed=17):
            pixels = decode(path.read_bytes(), bundle.manifest.image, _PIXELS)
            for _ in range(max(1, rows // 2 // _DISTINCT_PICTURES)):
                turned = np.rot90(pixels, random.integers(4)) if pixels.shape[0] == pixels.shape[1] else pixels
                yield np.ascontiguousarray(np.roll(turned, random.integers(pixels.shape[0]), axis=0))


def compared(tower: Tower, bundles: Sequence[Bundle], rows: list[NDArray[Any]], batch: int) -> dict[str, Any]:
    """The cosines of the int8 vectors with the float32 ones, and whether neighbours change a row."""
    encoders = [open_encoder(WorkerSettings(bundle.directory, threads=1), bundle, tower) for bundle in bundles]
    tokenizer = Tokenizer(bundles[0].file("tokenizer.json"), bundles[0].manifest.text)

    def encode(encoder: Encoder, some: list[NDArray[Any]]) -> NDArray[np.float32]:
        return encoder.encode(tokenizer.pad(some) if tower == "text" else np.stack(some))

    seconds = [0.0, 0.0]
    vectors: list[list[NDArray[np.float32]]] = [[], []]
    for start in range(0, len(rows), batch):
        for number, encoder in enumerate(encoders):  # in turns, so that other load slows both alike
            begun = time.process_time()
            vectors[number].append(encode(encoder, rows[start : start + batch]))
            seconds[number] += time.process_time() - begun
    exact, together = (np.concatenate(one) for one in vectors)
    alone = np.concatenate([encode(encoders[1], [row]) for row in rows])
    return {
        "tower": tower,
        "rows": len(rows),
        "batch": batch,
        "cosine in batches": smallest(exact, together),
        "cosine alone": smallest(exact, alone),
        "rows whose bits a batch changes": int((alone != together).any(axis=1).sum()),
        "CPU with int8 to float32": round(seconds[1] / seconds[0], 3),
    }


def smallest(exact: NDArray[np.float32], other: NDArray[np.float32]) -> dict[str, float]:
    """The smallest cosine, the first percentile, and the median."""
    found = cosines(exact, other)
    return {
        name: round(float(np.quantile(found, part)), 5)
        for name, part in (("smallest", 0), ("1 %", 0.01), ("median", 0.5))
    }


if __name__ == "__main__":
    main()
