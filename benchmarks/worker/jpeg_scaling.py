"""How large a JPEG must be for scaled decoding: ``python -m benchmarks.worker.jpeg_scaling [BUNDLE…]``.

A JPEG can be decoded at a half, a quarter or an eighth of its size, which saves most of the work for a large one, and
changes the pixels a little. For each multiple of the model's input that must remain after scaling, it prints the share
of scaled images, the smallest cosine with the vector of the exactly decoded image, and the time to decode and resize.

:data:`clip_udfs.images.preprocessing.MIN_SCALED` is the smallest multiple at which photographs stay above 0.9995 with
ViT-B-32 and with the built-in model. Patterns as fine as a pixel do not with the latter, whose input is small.
"""

from __future__ import annotations

import sys
import time
from collections.abc import Sequence
from io import BytesIO
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from benchmarks import material
from clip_udfs.bundle import Bundle
from clip_udfs.encoders.onnx import OnnxEncoder
from clip_udfs.images.preprocessing import scale_down, transform

MULTIPLES = (1, 2, 3, 4, 6, 8)
LARGE = (4032, 3024)
PHOTOS, LARGE_PHOTOS = 32, 2
PATTERNS = ((1600, 1200), (3200, 2400))


def photos() -> list[bytes]:
    """JPEGs of the bench's sizes."""
    place = Path(__file__).parents[1] / "out" / "pictures"
    return [path.read_bytes() for path in material.pictures(place, PHOTOS)]


def large_photos(count: int) -> list[bytes]:
    """JPEGs of twelve megapixels, with the grain of a sensor."""
    random = np.random.default_rng(17)
    contents = []
    for _ in range(count):
        scene = np.asarray(material.scene(random).resize(LARGE, Image.Resampling.BICUBIC), np.float32)
        grain = random.standard_normal((*scene.shape[:2], 1), np.float32) * 4
        contents.append(_jpeg(np.clip(scene + grain, 0, 255).astype(np.uint8), 92))
    return contents


def patterns(size: tuple[int, int]) -> list[bytes]:
    """Images that are hard to scale: rings that get finer outwards, stripes of a few pixels, noise."""
    across, down = np.meshgrid(np.arange(size[0]), np.arange(size[1]))
    rings = np.cos((across**2 + down**2) / 900)
    stripes = np.sign(np.sin(across * 2.1) * np.sin(down * 0.9))
    noise = np.random.default_rng(5).standard_normal(across.shape) / 3
    return [
        _jpeg(np.repeat(np.clip(128 + 100 * plane, 0, 255).astype(np.uint8)[..., None], 3, 2), 90)
        for plane in (rings, stripes, noise)
    ]


def measure(bundle: Bundle, contents: Sequence[bytes]) -> list[dict[str, float]]:
    """For each of :data:`MULTIPLES`: share of scaled images, smallest cosine, milliseconds per image."""
    encoder = OnnxEncoder(bundle, "image", 0)

    def vectors(pixels: Sequence[NDArray[np.uint8]]) -> NDArray[np.float32]:
        found = np.concatenate([encoder.encode(np.stack(pixels[at : at + 8])) for at in range(0, len(pixels), 8)])
        return found / np.linalg.norm(found, axis=1, keepdims=True)

    exact, _, exact_seconds = _decoded(bundle, contents, None)
    expected = vectors(exact)
    rows = [{"multiple": float("inf"), "share": 0.0, "cosine": 1.0, "milliseconds": exact_seconds * 1e3}]
    for multiple in MULTIPLES:
        pixels, scaled, seconds = _decoded(bundle, contents, multiple)
        cosine = (vectors(pixels) * expected).sum(axis=1)
        rows.append(
            {
                "multiple": multiple,
                "share": scaled / len(contents),
                "cosine": float(cosine.min()),
                "milliseconds": seconds * 1e3,
            }
        )
    return rows


def _decoded(
    bundle: Bundle, contents: Sequence[bytes], multiple: int | None
) -> tuple[list[NDArray[np.uint8]], int, float]:
    pixels, scaled = [], 0
    start = time.perf_counter()
    for content in contents:
        with Image.open(BytesIO(content)) as image:
            size = extent = image.size
            if multiple is not None:
                extent = scale_down(image, bundle.manifest.image, multiple)
            scaled += image.size != size
            pixels.append(np.asarray(transform(image, bundle.manifest.image, extent).convert("RGB")))
    return pixels, scaled, (time.perf_counter() - start) / len(contents)


def _jpeg(pixels: NDArray[np.uint8], quality: int) -> bytes:
    buffer = BytesIO()
    Image.fromarray(pixels).save(buffer, "JPEG", quality=quality)
    return buffer.getvalue()


def main(*bundles: str) -> None:
    """Measure each bundle and print a table."""
    groups = {
        "photo sizes": photos(),
        "12 megapixels": large_photos(LARGE_PHOTOS),
        "patterns": [one for size in PATTERNS for one in patterns(size)],
    }
    lines = ["| model | pictures | left after scaling | scaled | smallest cosine | ms a picture |", "|---" * 6 + "|"]
    for directory in bundles:
        bundle = Bundle.open(Path(directory))
        for name, contents in groups.items():
            for row in measure(bundle, contents):
                left = "not scaled" if row["multiple"] == float("inf") else f"{row['multiple']:g}x the input"
                lines.append(
                    f"| {bundle.manifest.name} | {name} | {left} | {row['share']:.0%} | {row['cosine']:.6f} | "
                    f"{row['milliseconds']:.1f} |"
                )
    sys.stdout.write("\n".join(lines) + "\n")


if __name__ == "__main__":
    main(*sys.argv[1:])
