"""What a model finds among a few images: encoded and compared here, without ClickHouse."""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from clip_installer.errors import ModelError
from clip_udfs.bundle import Bundle
from clip_udfs.encoders import open_encoder
from clip_udfs.errors import ValueRefused
from clip_udfs.images.preprocessing import decode
from clip_udfs.manifest import TOKENIZER
from clip_udfs.settings import WorkerSettings
from clip_udfs.text.tokenizer import Tokenizer

_BATCH = 8


@dataclass(frozen=True)
class Hit:
    """An image near a query.

    Attributes:
        image: Its path below the folder.
        distance: Cosine distance, as ``cosineDistance`` in SQL, 0 to 2.
        deviations: Standard deviations by which it is nearer than the average image. The distances of two models do
            not compare; these do.
    """

    image: str
    distance: float
    deviations: float


@dataclass(frozen=True)
class Trial:
    """What a model found.

    Attributes:
        model: The model's name.
        images: Number of images encoded.
        refused: Path below the folder and reason of each file that could not be encoded.
        image_seconds: Average seconds to read and encode an image.
        text_seconds: Average seconds to encode a query.
        hits: The nearest images of each query, nearest first.
    """

    model: str
    images: int
    refused: dict[str, str]
    image_seconds: float
    text_seconds: float
    hits: dict[str, list[Hit]]


def try_model(bundle: Bundle, engine: str, folder: Path, queries: Sequence[str], *, best: int, most: int) -> Trial:
    """Encode up to ``most`` images below ``folder`` and the ``queries``, and find the ``best`` images of each query.

    Raises:
        ModelError: No image could be encoded.
        EngineError: The engine is not installed.
    """
    settings = WorkerSettings(bundle.directory, engine=engine)
    encoder = open_encoder(settings, bundle, "image")
    names: list[str] = []
    batches: list[NDArray[np.float32]] = []
    refused: dict[str, str] = {}
    files = _spread([path for path in sorted(folder.rglob("*")) if path.is_file()], most)
    started = time.perf_counter()
    for start in range(0, len(files), _BATCH):
        decoded = []
        for path in files[start : start + _BATCH]:
            try:
                decoded.append(decode(path.read_bytes(), bundle.manifest.image, settings.max_image_pixels))
                names.append(str(path.relative_to(folder)))
            except (OSError, ValueRefused) as error:
                refused[str(path.relative_to(folder))] = str(error)
        if decoded:
            batches.append(encoder.encode(np.stack(decoded)))
    image_seconds = time.perf_counter() - started
    if not names:
        reason = next((f"; {name}: {reason}" for name, reason in refused.items()), ": it has no files")
        raise ModelError(f"no image below {folder} can be encoded{reason}")
    images = _of_length_one(np.concatenate(batches))

    tokenizer = Tokenizer(bundle.file(TOKENIZER), bundle.manifest.text)
    encoder = open_encoder(settings, bundle, "text")
    started = time.perf_counter()
    texts = _of_length_one(encoder.encode(tokenizer.pad(tokenizer(queries))))
    text_seconds = time.perf_counter() - started
    hits = {query: _nearest(names, images @ text, best) for query, text in zip(queries, texts, strict=True)}
    return Trial(
        bundle.manifest.name, len(names), refused, image_seconds / len(names), text_seconds / len(queries), hits
    )


def _spread(files: Sequence[Path], most: int) -> list[Path]:
    """At most ``most`` of ``files``, evenly spaced, so that each folder has its share."""
    count = min(most, len(files))
    return [files[number * len(files) // count] for number in range(count)]


def _of_length_one(vectors: NDArray[np.float32]) -> NDArray[np.float32]:
    return vectors / np.linalg.norm(vectors, axis=1, keepdims=True)  # type: ignore[no-any-return]


def _nearest(names: Sequence[str], similarities: NDArray[np.float32], best: int) -> list[Hit]:
    spread = float(similarities.std()) or 1.0  # a single image is as near as the average
    above = (similarities - similarities.mean()) / spread
    order = np.argsort(-similarities, kind="stable")[:best]
    return [Hit(names[index], 1 - float(similarities[index]), float(above[index])) for index in order]
