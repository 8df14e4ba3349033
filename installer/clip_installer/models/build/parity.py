"""Checks, during a build, that a bundle produces open_clip's vectors for difficult texts and images."""

from __future__ import annotations

import base64
import json
from dataclasses import dataclass
from io import BytesIO
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageDraw

from clip_installer.errors import ModelError
from clip_installer.models.build.source.model import SourceModel, quiet
from clip_udfs.bundle import Bundle
from clip_udfs.encoders import open_encoder
from clip_udfs.images.preprocessing import decode
from clip_udfs.manifest import FLOAT32, GOLDEN
from clip_udfs.settings import WorkerSettings
from clip_udfs.text.tokenizer import Tokenizer

MIN_COSINE = 0.99999
MAX_DIFFERENCE = 1e-4
MIN_COSINE_INT8 = 0.99

TEXTS = (
    "a photo of a cat",
    "",
    "一只在雪地里的猫",
    "Caf\u00e9 &amp; cr\u00e8me br\u00fbl\u00e9e, na\u00efve \u2014 \u201cquoted\u201d\n\ttwice  ",
    "\N{GRINNING FACE}\N{ZERO WIDTH JOINER} 12,345.67 <end_of_text>",
    "the quick brown fox jumps over the lazy dog " * 12,
)


@dataclass(frozen=True)
class Parity:
    """The distance between a bundle's vectors and open_clip's.

    Attributes:
        rows: Number of compared values.
        min_cosine: Smallest cosine of a pair.
        max_difference: Largest absolute difference of a component of the normalised vectors.
    """

    rows: int
    min_cosine: float
    max_difference: float


def golden_pictures() -> list[bytes]:
    """Small generated images as PNG bytes, one of each mode that decoding or preprocessing treats differently."""
    base = Image.new("RGB", (96, 72), (250, 240, 225))
    draw = ImageDraw.Draw(base)
    for step in range(12):
        draw.ellipse((step * 8, step * 4, step * 8 + 30, step * 4 + 22), fill=(20 * step, 255 - 20 * step, 90))
    draw.polygon([(60, 5), (92, 66), (30, 60)], outline=(10, 10, 160), width=4)
    alpha = base.convert("RGBA")
    alpha.putalpha(Image.linear_gradient("L").resize(base.size))
    variants = [
        base,
        base.resize((40, 130)),
        alpha,
        base.convert("L"),
        base.convert("P"),
        base.convert("1"),
    ]
    contents = []
    for picture in variants:
        buffer = BytesIO()
        picture.save(buffer, "PNG")
        contents.append(buffer.getvalue())
    return contents


@dataclass(frozen=True)
class GoldenVectors:
    """Unit vectors of :data:`TEXTS` and of :func:`golden_pictures`, each float32, shape (rows, dimension)."""

    text: NDArray[np.float32]
    image: NDArray[np.float32]

    def write(self, directory: Path) -> None:
        """Write ``golden.json``, which the installer compares with the results of the deployed functions."""
        golden = {
            "texts": [{"text": text, "vector": vector.tolist()} for text, vector in zip(TEXTS, self.text, strict=True)],
            "images": [
                {"png_base64": base64.b64encode(content).decode(), "vector": vector.tolist()}
                for content, vector in zip(golden_pictures(), self.image, strict=True)
            ],
        }
        (directory / GOLDEN).write_text(json.dumps(golden, ensure_ascii=False) + "\n", encoding="utf-8")


def of_open_clip(source: SourceModel) -> GoldenVectors:
    """open_clip's vectors."""
    pictures = [Image.open(BytesIO(content)) for content in golden_pictures()]
    return GoldenVectors(source.encode_texts(list(TEXTS)).numpy(), source.encode_images(pictures).numpy())


def of_bundle(bundle: Bundle, engine: str) -> GoldenVectors:
    """The vectors that a worker of ``bundle`` returns.

    Raises:
        EngineError: The engine cannot load or run a tower.
    """
    settings = WorkerSettings(bundle.directory, engine=engine, device="cpu")
    manifest = bundle.manifest
    tokenizer = Tokenizer(bundle.file("tokenizer.json"), manifest.text)
    with quiet():
        texts = open_encoder(settings, bundle, "text").encode(tokenizer.pad(tokenizer(TEXTS)))
        pixels = np.stack([decode(content, manifest.image, 1 << 24) for content in golden_pictures()])
        images = open_encoder(settings, bundle, "image").encode(pixels)
    return GoldenVectors(_unit(texts), _unit(images))


def compare(found: GoldenVectors, expected: GoldenVectors, precision: str, min_cosine: float) -> dict[str, Parity]:
    """Compare a bundle's vectors with open_clip's.

    Args:
        found: The bundle's vectors.
        expected: open_clip's vectors.
        precision: ``fp32`` for a bundle that must equal open_clip, otherwise ``int8``.
        min_cosine: For ``int8``, the smallest accepted cosine.

    Returns:
        The distance for each tower.

    Raises:
        ModelError: A tower differs too much.
    """
    distances = {"text": distance(found.text, expected.text), "image": distance(found.image, expected.image)}
    for tower, parity in distances.items():
        equal = parity.min_cosine >= MIN_COSINE and parity.max_difference <= MAX_DIFFERENCE  # not so for NaN
        if precision == FLOAT32 and not equal:
            raise ModelError(
                f"the {tower} tower does not equal open_clip's: cosine {parity.min_cosine:.6f}, largest difference "
                f"{parity.max_difference:.2e} (limits: {MIN_COSINE}, {MAX_DIFFERENCE:.0e}); nothing was written"
            )
        if precision != FLOAT32 and not parity.min_cosine >= min_cosine:
            raise ModelError(
                f"the {tower} tower in {precision} reaches a cosine of {parity.min_cosine:.4f} with open_clip's, below "
                f"{min_cosine}; nothing was written: build it as fp32, or lower --min-cosine"
            )
    return distances


def distance(ours: NDArray[np.float32], theirs: NDArray[np.float32]) -> Parity:
    """Compare raw vectors with normalised ones, both float32, shape (rows, dimension)."""
    unit = _unit(ours)
    return Parity(len(ours), float((unit * theirs).sum(axis=1).min()), float(np.abs(unit - theirs).max()))


def _unit(vectors: NDArray[np.float32]) -> NDArray[np.float32]:
    return vectors / np.linalg.norm(vectors, axis=1, keepdims=True)  # type: ignore[no-any-return]
