"""Samples that show which range a tower's activations have: the parity check's, the demo's, and plain noise.

They come with the package, so that a build needs no data of its own. Towers are quantised for what they will see, which
is more than emoji: noise and flat pictures mark the ends of the range, and the build then measures the loss.
"""

from __future__ import annotations

import csv
import io
import zipfile
from collections.abc import Iterator, Mapping
from importlib.resources import files
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from clip_installer.models.build.parity import TEXTS, golden_pictures
from clip_udfs.encoders.packing import TOKENS, pack
from clip_udfs.functions import Tower
from clip_udfs.images.preprocessing import decode
from clip_udfs.manifest import TOKENIZER, ImageManifest, TextManifest
from clip_udfs.text.tokenizer import Tokenizer

Feed = Mapping[str, NDArray[Any]]
_CAPTIONS, _PICTURES, _NOISE = 288, 96, 8
_BATCH = 12
_PROMPT = "a photo of {}"


def samples(tower: Tower, directory: Path, text: TextManifest, image: ImageManifest, packed: bool) -> Iterator[Feed]:
    """The graph's inputs, batch by batch; the same ones in every build.

    Args:
        tower: Which tower.
        directory: The bundle's directory, with ``tokenizer.json``.
        text: How texts become token ids.
        image: How pictures become pixels.
        packed: Whether the text tower takes packed batches.
    """
    if tower == "text":
        tokenizer = Tokenizer(directory / TOKENIZER, text)
        texts = [*TEXTS, *_captions()]
        for start in range(0, len(texts), _BATCH):
            batch = tokenizer.pad(tokenizer(texts[start : start + _BATCH]))
            yield pack(batch, text.end_id) if packed else {TOKENS: batch}
    else:
        for picture in _pictures(image):
            yield {TOKENS: picture[np.newaxis]}


def _captions() -> list[str]:
    rows = _rows()
    step = max(1, 3 * len(rows) // _CAPTIONS)
    return [
        caption
        for row in rows[::step]
        for caption in (row["caption_en"], row["caption_zh"], _PROMPT.format(row["caption_en"]))
        if caption
    ]


def _pictures(image: ImageManifest) -> Iterator[NDArray[np.uint8]]:
    with _archive() as archive:
        rows = _rows()
        chosen = rows[:: max(1, len(rows) // _PICTURES)]
        for content in (*golden_pictures(), *(archive.read(row["path"]) for row in chosen)):
            yield decode(content, image, 1 << 24)
    random = np.random.default_rng(5)
    shape = (*image.size, 3)
    for level in np.linspace(0, 255, _NOISE, dtype=np.uint8):
        yield np.full(shape, level)
        yield random.integers(0, 256, shape, dtype=np.uint8)


def _rows() -> list[dict[str, str]]:
    with _archive() as archive:
        return list(csv.DictReader(io.StringIO(archive.read("pictures.tsv").decode()), delimiter="\t"))


def _archive() -> zipfile.ZipFile:
    return zipfile.ZipFile(Path(str(files("clip_installer"))) / "demo" / "pictures.zip")
