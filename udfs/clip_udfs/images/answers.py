"""The answers of functions without a model, for the worker, which imports neither NumPy nor Pillow for them."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime


@dataclass(frozen=True)
class ImageInfo:
    """What :func:`clip_udfs.images.info.image_info` finds.

    Attributes:
        width: Width in pixels, as stored.
        height: Height in pixels, as stored.
        format: ``JPEG``, ``PNG`` and so on, as Pillow calls it.
        mode: Pillow's mode of the pixels, ``RGB`` or ``CMYK`` for example.
        orientation: EXIF orientation, 1 (upright) to 8; 5 to 8 swap width and height.
        taken: When it was taken, by the camera's clock; None if it does not say.
        hash: Perceptual hash, 64 bits: those of near copies differ in few bits.
        reason: Why the image was refused, with everything else 0, '' or None; '' if it was not.
    """

    width: int = 0
    height: int = 0
    format: str = ""
    mode: str = ""
    orientation: int = 0
    taken: datetime | None = None
    hash: int = 0
    reason: str = ""


# What a function without a model answers: a thumbnail's file, or what is known of an image.
ImageAnswer = bytes | ImageInfo
