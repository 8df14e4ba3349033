"""EXIF: an image's orientation and time."""

from __future__ import annotations

import re
from datetime import datetime

from PIL import ExifTags, Image

_TURNS = {
    2: Image.Transpose.FLIP_LEFT_RIGHT,
    3: Image.Transpose.ROTATE_180,
    4: Image.Transpose.FLIP_TOP_BOTTOM,
    5: Image.Transpose.TRANSPOSE,
    6: Image.Transpose.ROTATE_270,
    7: Image.Transpose.TRANSVERSE,
    8: Image.Transpose.ROTATE_90,
}
# From this orientation on, width and height are swapped.
SIDEWAYS = 5
_WRITTEN = re.compile(r"(\d{4}):(\d\d):(\d\d) (\d\d):(\d\d):(\d\d)")
# What DateTime64 can hold.
_FIRST_YEAR, _LAST_YEAR = 1900, 2299


def orientation(image: Image.Image) -> int:
    """The EXIF orientation, 1 (upright) to 8; 1 if there is none, or it cannot be read."""
    try:
        value = image.getexif().get(ExifTags.Base.Orientation, 1)
    except Exception:  # EXIF may contain anything; the pixels may still be good
        return 1
    return value if value in _TURNS else 1


def taken(image: Image.Image) -> datetime | None:
    """When the image was taken, by the camera's clock, whose time zone is unknown; None if it does not say."""
    try:
        exif = image.getexif()
        camera = exif.get_ifd(ExifTags.IFD.Exif)
        text = camera.get(ExifTags.Base.DateTimeOriginal) or exif.get(ExifTags.Base.DateTime)
        written = _WRITTEN.fullmatch(str(text).strip("\0 "))
        if written is None:
            return None
        # Not strptime, which imports modules when called: decoders can open no files.
        year, month, day, hour, minute, second = map(int, written.groups())
        time = datetime(year, month, day, hour, minute, second)
    except Exception:  # as above; cameras without a clock write spaces or zeros
        return None
    return time if _FIRST_YEAR <= time.year <= _LAST_YEAR else None


def upright(image: Image.Image, value: int) -> Image.Image:
    """The image, turned by the EXIF orientation ``value``."""
    return image.transpose(_TURNS[value]) if value in _TURNS else image
