"""From an image file to a small image for a browser."""

from __future__ import annotations

from collections.abc import Sequence
from io import BytesIO

import numpy as np
from PIL import Image

from clip_udfs.errors import ValueRefused
from clip_udfs.images.exif import orientation, upright
from clip_udfs.images.preprocessing import opened
from clip_udfs.settings import DEFAULT_IMAGE_FORMATS

MAX_SIZE = 1024
_QUALITY = 80
# Effort of the WebP encoder, 0 to 6: above 2, files shrink by a few percent and take twice as long.
_METHOD = 2


def thumbnail(content: bytes, size: int, max_pixels: int, formats: Sequence[str] = DEFAULT_IMAGE_FORMATS) -> bytes:
    """The first frame of an image as WebP, upright, at most ``size`` pixels wide and high, never enlarged.

    Transparency is kept. Metadata is not: neither EXIF, which may contain places and names, nor colour profiles.

    Args:
        content: The file's bytes.
        size: The longest side in pixels, 1 to :data:`MAX_SIZE`.
        max_pixels: Largest width x height that is decoded; checked in the header, before memory is spent.
        formats: Formats that are read.

    Raises:
        ValueRefused: The size is out of range, or the image is refused as by
            :func:`clip_udfs.images.preprocessing.decode`.
        MemoryError: There is not enough memory.
    """
    if not 1 <= size <= MAX_SIZE:
        raise ValueRefused(f"a thumbnail of {size} pixels: the size can be 1 to {MAX_SIZE}")
    with opened(content, max_pixels, formats) as image:
        turn = orientation(image)
        written = BytesIO()
        upright(reduced(image, size), turn).save(written, "WEBP", quality=_QUALITY, method=_METHOD)
        return written.getvalue()


def reduced(image: Image.Image, size: int) -> Image.Image:
    """The image as RGB, with any alpha, at most ``size`` pixels wide and high; a JPEG is reduced by its decoder."""
    image.draft("RGB", (2 * size, 2 * size))
    small = _in_eight_bits(image)
    small.thumbnail((size, size), Image.Resampling.LANCZOS, reducing_gap=2.0)
    small.info.clear()  # or the WebP would keep the EXIF block and the colour profile
    return small


def _in_eight_bits(image: Image.Image) -> Image.Image:
    if image.mode.startswith("I;16") or image.mode == "I":
        return Image.fromarray((np.asarray(image).clip(0, 65_535) // 257).astype(np.uint8)).convert("RGB")
    if image.mode == "F":
        return Image.fromarray(np.nan_to_num(np.asarray(image)).clip(0, 255).astype(np.uint8)).convert("RGB")
    return image.convert("RGBA" if image.has_transparency_data else "RGB")
