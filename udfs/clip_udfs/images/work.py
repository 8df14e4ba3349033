"""What the decoders do for each function, and what the worker does with their results.

The worker itself parses no byte of an image: it reads the file (if the value is a path) and passes on the content.
"""

from __future__ import annotations

import json
import os
from collections.abc import Callable, Sequence
from dataclasses import asdict
from datetime import datetime
from importlib.util import find_spec
from typing import TYPE_CHECKING, TypeVar

from clip_udfs.errors import SettingsError, ValueRefused, shown
from clip_udfs.images.decoder_pool import DecoderPool
from clip_udfs.images.decoder_process import Limits, Work
from clip_udfs.images.hints import instead_of_content
from clip_udfs.settings import MOST_IMAGE_PIXELS

if TYPE_CHECKING:  # the decoders are forked before anything large is imported
    import numpy as np
    from numpy.typing import NDArray

    from clip_udfs.bundle import Bundle
    from clip_udfs.functions import Function
    from clip_udfs.images.answers import ImageInfo
    from clip_udfs.settings import WorkerSettings

_Result = TypeVar("_Result")
# Room for a thumbnail or for facts about an image, even if contents are limited to less.
_LEAST_REGION = 16 << 20


def start_decoders(
    function: Function, settings: WorkerSettings, bundle: Bundle | None, close: Sequence[int]
) -> DecoderPool:
    """Fork the processes that decode images for ``function``; a function that encodes needs ``bundle``.

    They close the descriptors in ``close``, whose end ClickHouse waits for.

    Raises:
        DecoderError: See :meth:`DecoderPool.start`.
        SettingsError: A format needs a package that is not installed.
    """
    if "HEIF" in settings.image_formats and find_spec("pillow_heif") is None:
        raise SettingsError(
            "image_formats has HEIF, and the package pillow-heif is missing: pip install 'clickhouse-clip-udfs[heif]'"
        )
    most, formats, scaled = settings.max_image_pixels, settings.image_formats, settings.jpeg_decoding == "scaled"

    def prepare() -> Work:
        if "HEIF" in formats:
            from clip_udfs.images.preprocessing import read_heif

            read_heif()
        if function.answer == "thumbnail":
            from clip_udfs.images.thumbnails import thumbnail

            return lambda content, size: thumbnail(content, size, most, formats)
        if function.answer == "info":
            from clip_udfs.images.info import image_info

            # Imports now what is imported late, because a decoder can open no file.
            image_info(_sample(), MOST_IMAGE_PIXELS)
            return lambda content, _: _to_json(image_info(content, most, formats))
        from clip_udfs.images.preprocessing import preprocess

        assert bundle is not None
        image, turned = bundle.manifest.image, settings.exif_orientation
        if turned:
            preprocess(_sample(), image, MOST_IMAGE_PIXELS, turned=True)  # as above, for EXIF
        return lambda content, _: preprocess(
            content, image, most, scaled=scaled, turned=turned, formats=formats
        ).tobytes()

    return DecoderPool.start(
        prepare,
        settings.decode_threads,
        max(settings.max_image_bytes, _LEAST_REGION),
        Limits(settings.max_image_seconds, settings.max_image_memory),
        close=close,
    )


def pixels(
    function: Function, settings: WorkerSettings, size: tuple[int, int], decoders: DecoderPool
) -> Callable[[bytes], NDArray[np.uint8]]:
    """From a row's value to the pixels of the model's input, uint8 of shape (height, width, 3)."""
    import numpy as np

    return _loader(function, settings, lambda content: np.frombuffer(decoders.run(content), np.uint8).reshape(*size, 3))


def thumbnail(function: Function, settings: WorkerSettings, decoders: DecoderPool) -> Callable[..., bytes]:
    """From a row's value and a size to a small WebP."""
    return _loader(function, settings, decoders.run)


def no_thumbnail(reason: str) -> bytes:
    """The answer of a ``try_`` function for a refused image."""
    return b""


def info(function: Function, settings: WorkerSettings, decoders: DecoderPool) -> Callable[..., ImageInfo]:
    """From a row's value to facts about the image."""
    return _loader(function, settings, lambda content: _from_json(decoders.run(content)))


def no_info(reason: str) -> ImageInfo:
    """The answer of a ``try_`` function for a refused image."""
    from clip_udfs.images.answers import ImageInfo

    return ImageInfo(reason=reason)


def _sample() -> bytes:
    """A small photograph with a date."""
    from io import BytesIO

    from PIL import ExifTags, Image

    exif = Image.Exif()
    exif[ExifTags.Base.DateTime] = "2026:01:01 00:00:00"
    written = BytesIO()
    Image.new("RGB", (8, 8)).save(written, "JPEG", exif=exif)
    return written.getvalue()


def _to_json(known: ImageInfo) -> bytes:
    time = None if known.taken is None else known.taken.isoformat()
    return json.dumps(asdict(known) | {"taken": time}).encode()


def _from_json(content: bytes) -> ImageInfo:
    from clip_udfs.images.answers import ImageInfo

    values = json.loads(content)
    time = values["taken"]
    return ImageInfo(**(values | {"taken": None if time is None else datetime.fromisoformat(time)}))


def _loader(function: Function, settings: WorkerSettings, use: Callable[..., _Result]) -> Callable[..., _Result]:
    """A function that applies ``use`` to the image of a row's value, and names that value in each refusal."""

    def load_bytes(content: bytes, *arguments: int) -> _Result:
        try:
            return use(content, *arguments)
        except ValueRefused as refused:
            reason = instead_of_content(content) or refused
            raise ValueRefused(f"{len(content)} bytes: {reason}") from refused

    if function.source == "bytes":
        return load_bytes
    from clip_udfs.images.confinement import Roots

    roots = Roots(settings.image_roots, settings.max_image_bytes)

    def load_file(value: bytes, *arguments: int) -> _Result:
        path = os.fsdecode(value)
        try:
            return use(roots.read(path), *arguments)
        except ValueRefused as refused:
            raise ValueRefused(f"{shown(path)}: {refused}") from refused

    return load_file
