"""From an image's bytes to the pixels that the image tower takes, equal to open_clip's preprocessing step for step.

open_clip resizes and crops in the image's own mode and converts to RGB afterwards; so does this module, because for
palette, alpha, 1-bit and 16-bit images the order changes the pixels. Like open_clip, it ignores EXIF orientation and
colour profiles, unless asked to turn images upright. The engine scales pixels to floats.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import replace
from io import BytesIO
from typing import TYPE_CHECKING

from PIL import (
    AvifImagePlugin,
    BmpImagePlugin,
    GifImagePlugin,
    Image,
    ImageCms,
    Jpeg2KImagePlugin,
    JpegImagePlugin,
    MpoImagePlugin,
    PngImagePlugin,
    PpmImagePlugin,
    TiffImagePlugin,
    UnidentifiedImageError,
    WebPImagePlugin,
)

from clip_udfs.errors import ValueRefused
from clip_udfs.images.containers import check_jpeg_scans, check_tiff_tags, unread_format, without_large_texts
from clip_udfs.images.exif import SIDEWAYS, orientation, upright
from clip_udfs.images.jpeg2000 import check_jpeg2000
from clip_udfs.manifest import ImageManifest
from clip_udfs.settings import DEFAULT_IMAGE_FORMATS, IMAGE_FORMATS

if TYPE_CHECKING:  # decoder processes do without NumPy
    import numpy as np
    from numpy.typing import NDArray

# Decoders that run inside the process. Excluded: EPS and similar, which start other programs; ICO, whose header does
# not state the size of its image; TGA, which has no signature and takes any file for an image.
_DECODERS = (
    JpegImagePlugin.JpegImageFile,
    PngImagePlugin.PngImageFile,
    WebPImagePlugin.WebPImageFile,
    GifImagePlugin.GifImageFile,
    BmpImagePlugin.BmpImageFile,
    TiffImagePlugin.TiffImageFile,
    AvifImagePlugin.AvifImageFile,
    PpmImagePlugin.PpmImageFile,
    Jpeg2KImagePlugin.Jpeg2KImageFile,
)
# A decoder whose C library this Pillow was built without does not register itself.
FORMATS = tuple(decoder.format for decoder in _DECODERS if decoder.format in Image.OPEN)
assert set(FORMATS) <= set(IMAGE_FORMATS)
assert ImageCms and MpoImagePlugin  # Pillow imports them for some images; a decoder, which can open no file, could not
AvifImagePlugin.DEFAULT_MAX_THREADS = 1  # as many images as there are decoders are decoded side by side anyway
_FILTERS = {"bicubic": Image.Resampling.BICUBIC, "bilinear": Image.Resampling.BILINEAR}

# Above this, an image is not resized as a whole before it is cropped: 1 x 10000 pixels would become 224 x 2240000.
_MAX_RESIZED_PIXELS = 16_777_216
# Pillow decodes run-length BMPs and plain PNMs in Python, at a microsecond per pixel.
_MAX_PIXELS_IN_PYTHON = 4_194_304
_TILE_WIDTH, _TILE_HEIGHT = 322, 323

# A JPEG decoded at a fraction of its size must still be this many times the model's input. With less, the cosine of
# photographs with their exact vectors falls below 0.9995: see benchmarks/worker/jpeg_scaling.py.
MIN_SCALED = 6.0

Extent = tuple[float, float]


def read_heif() -> None:
    """Enable HEIF; its decoder turns images upright itself, as the format demands."""
    import pillow_heif

    pillow_heif.options.DECODE_THREADS = 1
    pillow_heif.register_heif_opener(thumbnails=False)


def decode(
    content: bytes,
    manifest: ImageManifest,
    max_pixels: int,
    *,
    scaled: bool = False,
    turned: bool = False,
    formats: Sequence[str] = DEFAULT_IMAGE_FORMATS,
) -> NDArray[np.uint8]:
    """Like :func:`preprocess`, as uint8 of shape (height, width, 3)."""
    import numpy as np

    return np.asarray(preprocess(content, manifest, max_pixels, scaled=scaled, turned=turned, formats=formats))


def preprocess(
    content: bytes,
    manifest: ImageManifest,
    max_pixels: int,
    *,
    scaled: bool = False,
    turned: bool = False,
    formats: Sequence[str] = DEFAULT_IMAGE_FORMATS,
) -> Image.Image:
    """Decode the first frame of an image file, and resize and crop it as the model was trained.

    Args:
        content: The file's bytes.
        manifest: Size, resize mode and interpolation.
        max_pixels: Largest width x height that is decoded; checked in the header, before memory is spent.
        scaled: Decode a JPEG that is much larger than the model's input at a fraction of its size.
        turned: Turn the image upright first, by its EXIF orientation.
        formats: Those of :data:`IMAGE_FORMATS` that are read.

    Returns:
        An RGB image of the model's input size.

    Raises:
        ValueRefused: Not an image, damaged, or too large. The message reveals nothing of the file's content.
        MemoryError: There is not enough memory.
    """
    with opened(content, max_pixels, formats) as image:
        turn = orientation(image) if turned else 1
        lies = turn >= SIDEWAYS
        as_stored = replace(manifest, size=manifest.size[::-1]) if lies else manifest
        extent = scale_down(image, as_stored, MIN_SCALED) if scaled else image.size
        return transform(upright(image, turn), manifest, extent[::-1] if lies else extent).convert("RGB")


@contextmanager
def opened(content: bytes, max_pixels: int, formats: Sequence[str] = DEFAULT_IMAGE_FORMATS) -> Iterator[Image.Image]:
    """An image whose header passed the checks; errors of its decoder inside the block become a refusal.

    Raises:
        ValueRefused: See :func:`preprocess`.
        MemoryError: There is not enough memory.
    """
    if not content:
        raise ValueRefused("the file is empty")
    check_jpeg_scans(content)
    check_tiff_tags(content)
    try:
        file = BytesIO(without_large_texts(content))
        with Image.open(file, formats=[one for one in formats if one in Image.OPEN]) as image:
            _check_size(image, max_pixels)
            if image.format == "JPEG2000":
                check_jpeg2000(content)
            yield image
    except (ValueRefused, MemoryError):
        raise
    except Image.DecompressionBombError as error:
        raise ValueRefused(f"the image exceeds the limit of {max_pixels} pixels") from error
    except UnidentifiedImageError as error:
        raise _unidentified(content, formats) from error
    except Exception as error:  # a decoder may raise anything for a damaged file; the row fails, not the worker
        raise _refusal(error) from error


def _check_size(image: Image.Image, max_pixels: int) -> None:
    sizes = [image.size]
    if isinstance(image, TiffImagePlugin.TiffImageFile):
        # A tile is decoded whole, and it may be larger than its image.
        sizes.append((int(image.tag_v2.get(_TILE_WIDTH, 1)), int(image.tag_v2.get(_TILE_HEIGHT, 1))))
    for width, height in sizes:
        if width * height > max_pixels:
            raise ValueRefused(f"the image is {width} x {height} pixels, at most {max_pixels} are decoded")
    width, height = image.size
    slow = any(tile[0] in Image.DECODERS for tile in getattr(image, "tile", ()))
    if slow and width * height > _MAX_PIXELS_IN_PYTHON:
        raise ValueRefused(
            f"the image is {width} x {height} pixels, at most {_MAX_PIXELS_IN_PYTHON} are decoded of a run-length BMP "
            "or a plain PNM"
        )


def _unidentified(content: bytes, formats: Sequence[str]) -> ValueRefused:
    read = ", ".join(one for one in IMAGE_FORMATS if one in formats and one in Image.OPEN)
    if (name := unread_format(content)) is not None and name not in formats:
        known = name in IMAGE_FORMATS or name == "HEIC"
        way = "convert it, or install with --formats" if known else "convert it"
        return ValueRefused(f"the image is {name}, only {read} are read: {way}")
    return ValueRefused(f"not an image in a format that is read ({read})")


def _refusal(error: Exception) -> Exception:
    """The error to raise instead of a decoder's own, whose text may quote the file."""
    text = str(error)
    if text.startswith("out of memory"):
        return MemoryError()
    if isinstance(error, EOFError) or "truncated" in text:
        return ValueRefused("damaged image: it ends too early")
    return ValueRefused("damaged image: its decoder cannot read it")


def scale_down(image: Image.Image, manifest: ImageManifest, multiple: float) -> Extent:
    """Decode a JPEG at a half, a quarter or an eighth, if it is ``multiple`` times the model's input even then.

    It must not have been decoded yet. Other formats are left as they are.

    Returns:
        The extent of the original in the decoded image: the decoder may round it up by a fraction of a pixel.
    """
    height, width = manifest.size
    chosen = max if manifest.resize_mode == "longest" else min
    ratio = chosen(image.height / height, image.width / width) / multiple
    drafted = image.draft(image.mode, (math.ceil(image.width / ratio), math.ceil(image.height / ratio)))
    return image.size if drafted is None else drafted[1][2:]


def transform(image: Image.Image, manifest: ImageManifest, extent: Extent) -> Image.Image:
    """Resize and crop (or pad) the part of ``image`` from its corner to ``extent``, in the image's own mode.

    Source: ``torchvision.transforms.Resize`` and ``CenterCrop``, and open_clip's ``ResizeKeepRatio`` and
    ``CenterCropOrPad``, as ``open_clip.transform.image_transform`` composes them for evaluation.
    """
    height, width = manifest.size
    across, down = extent
    resample = _FILTERS[manifest.interpolation]
    if manifest.resize_mode == "squash":
        return _resize(image, extent, width, height, resample)
    if manifest.resize_mode == "longest":
        ratio = max(down / height, across / width)
        resized = _resize(image, extent, max(round(across / ratio), 1), max(round(down / ratio), 1), resample)
        return _crop_or_pad(resized, width, height, manifest.fill_color)
    if width == height:
        target = (width, int(width * down / across)) if across <= down else (int(height * across / down), height)
    else:
        ratio = min(down / height, across / width)
        target = round(across / ratio), round(down / ratio)
    return _resize_and_crop(image, extent, target, (width, height), resample)


def _resize(image: Image.Image, extent: Extent, width: int, height: int, resample: Image.Resampling) -> Image.Image:
    if image.size == extent == (width, height):
        return image
    return image.resize((width, height), resample, box=(0, 0, *extent))


def _resize_and_crop(
    image: Image.Image, extent: Extent, target: tuple[int, int], crop: tuple[int, int], resample: Image.Resampling
) -> Image.Image:
    left = round((target[0] - crop[0]) / 2.0)
    top = round((target[1] - crop[1]) / 2.0)
    if target[0] * target[1] <= _MAX_RESIZED_PIXELS:
        return _resize(image, extent, *target, resample).crop((left, top, left + crop[0], top + crop[1]))
    across, down = extent[0] / target[0], extent[1] / target[1]
    box = (left * across, top * down, (left + crop[0]) * across, (top + crop[1]) * down)
    box = (box[0], box[1], min(box[2], extent[0]), min(box[3], extent[1]))
    return image.resize(crop, resample, box=box)


def _crop_or_pad(image: Image.Image, width: int, height: int, fill: int) -> Image.Image:
    across, down = max(width - image.width, 0), max(height - image.height, 0)
    if across or down:
        padded = Image.new(image.mode, (image.width + across, image.height + down), _fill(image.mode, fill))
        padded.paste(image, (across // 2, down // 2))
        if image.mode == "P" and image.palette is not None:
            padded.putpalette(image.palette)
        image = padded
    left = round((image.width - width) / 2.0)
    top = round((image.height - height) / 2.0)
    return image.crop((left, top, left + width, top + height))


def _fill(mode: str, fill: int) -> int | tuple[int, ...]:
    bands = len(Image.new(mode, (1, 1)).getbands())
    return fill if bands == 1 else (fill,) * bands
