"""Does a bundle give open_clip's vectors? Asked while building, with texts and pictures of every awkward kind."""

from __future__ import annotations

import base64
import json
from collections.abc import Callable
from dataclasses import dataclass
from io import BytesIO
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageDraw

from clip_installer.errors import ModelError
from clip_installer.model_builder.source import SourceModel, quiet
from clip_udfs.bundle import GOLDEN, Bundle
from clip_udfs.encoders import open_encoder
from clip_udfs.images import decode
from clip_udfs.settings import WorkerSettings
from clip_udfs.tokenizer import Tokenizer

MIN_COSINE = 0.99999
MAX_DIFFERENCE = 1e-4

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
    """How far a bundle's vectors are from open_clip's.

    Attributes:
        rows: Values that were compared.
        min_cosine: Smallest cosine of a pair.
        max_difference: Largest absolute difference of a component of the normalised vectors.
    """

    rows: int
    min_cosine: float
    max_difference: float


def golden_pictures() -> list[bytes]:
    """Small pictures drawn here, one of each mode that decoders and preprocessing treat apart, as PNG bytes."""
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


def write_golden(source: SourceModel, directory: Path) -> None:
    """Write ``golden.json``: texts and pictures with the vectors that open_clip gives them.

    The installer asks the deployed functions for the same vectors.
    """
    texts = source.encode_texts(list(TEXTS)).numpy()
    contents = golden_pictures()
    images = source.encode_images([Image.open(BytesIO(content)) for content in contents]).numpy()
    golden = {
        "texts": [{"text": text, "vector": vector.tolist()} for text, vector in zip(TEXTS, texts, strict=True)],
        "images": [
            {"png_base64": base64.b64encode(content).decode(), "vector": vector.tolist()}
            for content, vector in zip(contents, images, strict=True)
        ],
    }
    (directory / GOLDEN).write_text(json.dumps(golden, ensure_ascii=False) + "\n", encoding="utf-8")


def compare(source: SourceModel, bundle: Bundle, engine: str) -> dict[str, Parity]:
    """Encode texts and pictures through the bundle as the worker would, and by open_clip.

    Returns:
        The distance of each tower.

    Raises:
        ModelError: A tower is not open_clip's.
    """
    settings = WorkerSettings(bundle.directory, engine=engine, device="cpu")
    manifest = bundle.manifest
    tokenizer = Tokenizer(bundle.file("tokenizer.json"), manifest.text)
    contents = golden_pictures()
    with quiet():
        text_encoder = open_encoder(settings, bundle, "text")
        image_encoder = open_encoder(settings, bundle, "image")
    pairs: dict[str, tuple[Callable[[], NDArray[np.float32]], NDArray[np.float32]]] = {
        "text": (
            lambda: text_encoder.encode(tokenizer.pad(tokenizer(TEXTS))),
            source.encode_texts(list(TEXTS)).numpy(),
        ),
        "image": (
            lambda: image_encoder.encode(np.stack([decode(one, manifest.image, 1 << 24) for one in contents])),
            source.encode_images([Image.open(BytesIO(one)) for one in contents]).numpy(),
        ),
    }
    found = {}
    for tower, (ours, theirs) in pairs.items():
        found[tower] = parity = distance(ours(), theirs)
        if parity.min_cosine < MIN_COSINE or parity.max_difference > MAX_DIFFERENCE:
            raise ModelError(
                f"the {tower} tower does not equal open_clip's: cosine {parity.min_cosine:.6f}, largest difference "
                f"{parity.max_difference:.2e} (allowed: {MIN_COSINE}, {MAX_DIFFERENCE:.0e}); nothing was written"
            )
    return found


def distance(ours: NDArray[np.float32], theirs: NDArray[np.float32]) -> Parity:
    """Compare rows of raw vectors with rows of normalised ones, both float32 (rows, dimension)."""
    unit = ours / np.linalg.norm(ours, axis=1, keepdims=True)
    return Parity(len(ours), float((unit * theirs).sum(axis=1).min()), float(np.abs(unit - theirs).max()))
