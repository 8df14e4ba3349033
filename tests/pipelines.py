"""A function's pipeline in the process of a test: no ClickHouse, no pipe, no decoders in processes of their own."""

from __future__ import annotations

from typing import cast

from clip_udfs.bundle import Bundle
from clip_udfs.functions import Function
from clip_udfs.images.budget import BlockBudget
from clip_udfs.images.decoder_pool import DecoderPool
from clip_udfs.images.preprocessing import preprocess
from clip_udfs.pipe.pipeline import Pipeline
from clip_udfs.settings import WorkerSettings
from clip_udfs.worker import open_pipeline


class _DecodesHere:
    """What a pipeline uses of a :class:`DecoderPool`: the real one forks, which a process with threads must not."""

    def __init__(self, settings: WorkerSettings, bundle: Bundle) -> None:
        self.budget = BlockBudget(settings.max_image_seconds)
        self._settings = settings
        self._image = bundle.manifest.image

    def run(self, content: bytes, argument: int = 0) -> bytes:
        settings = self._settings
        scaled = settings.jpeg_decoding == "scaled"
        return preprocess(
            content,
            self._image,
            settings.max_image_pixels,
            scaled=scaled,
            turned=settings.exif_orientation,
            formats=settings.image_formats,
        ).tobytes()


def pipeline_of(function: Function, settings: WorkerSettings) -> Pipeline:
    """The pipeline of ``function`` with the model that ``settings`` name."""
    bundle = Bundle.open(settings.bundle)
    decoders = cast(DecoderPool, _DecodesHere(settings, bundle)) if function.source != "text" else None
    return open_pipeline(function, settings, bundle, decoders)
