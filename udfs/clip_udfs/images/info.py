"""Size, format and EXIF time of an image, and a perceptual hash that finds near copies."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from clip_udfs.images.answers import ImageInfo
from clip_udfs.images.exif import orientation, taken, upright
from clip_udfs.images.preprocessing import opened
from clip_udfs.images.thumbnails import reduced
from clip_udfs.settings import DEFAULT_IMAGE_FORMATS

# The hash is computed from 32 x 32 pixels; a JPEG is decoded at about eight times that, which changes at most a bit.
_SIDE, _KEPT = 32, 8
_DECODED = 128


def image_info(content: bytes, max_pixels: int, formats: Sequence[str] = DEFAULT_IMAGE_FORMATS) -> ImageInfo:
    """Size, format, EXIF and hash of an image; the hash needs decoding, so damage is detected.

    Raises:
        ValueRefused: The image is refused as by :func:`clip_udfs.images.preprocessing.decode`.
        MemoryError: There is not enough memory.
    """
    with opened(content, max_pixels, formats) as image:
        width, height = image.size
        kind, mode, turn, time = image.format or "", image.mode, orientation(image), taken(image)
        code = perceptual_hash(upright(reduced(image, _DECODED), turn))
        return ImageInfo(width, height, kind, mode, turn, time, code)


def perceptual_hash(image: Image.Image) -> int:
    """Which of the grey image's 64 lowest frequencies exceed their median, the lowest in the highest bit.

    Equal to ``phash`` of the package ImageHash. Transparent parts count as white.
    """
    if image.mode == "RGBA":
        image = Image.alpha_composite(Image.new("RGBA", image.size, (255, 255, 255, 255)), image)
    pixels = np.asarray(image.convert("L").resize((_SIDE, _SIDE), Image.Resampling.LANCZOS), np.float64)
    waves = _cosines()
    lowest = waves @ pixels @ waves.T
    # Nothing here may import anything while running, because decoders cannot open files: no np.median, no colour names.
    middle = np.sort(lowest, axis=None)[_KEPT**2 // 2 - 1 : _KEPT**2 // 2 + 1].mean()
    bits = (lowest > middle).ravel()
    return int.from_bytes(np.packbits(bits).tobytes(), "big")


def _cosines() -> NDArray[np.float64]:
    """The first rows of the discrete cosine transform (DCT-II) of ``_SIDE`` numbers, shape (_KEPT, _SIDE)."""
    frequency = np.arange(_KEPT)[:, None]
    place = 2 * np.arange(_SIDE)[None, :] + 1
    return np.cos(np.pi * frequency * place / (2 * _SIDE))
