"""Large JPEGs decoded at a fraction of their size: only where it hardly changes the vector."""

from __future__ import annotations

import math
from dataclasses import replace
from io import BytesIO
from pathlib import Path

import numpy as np
import pytest
from PIL import Image, JpegImagePlugin

from benchmarks import material
from clip_installer.resources import builtin_models
from clip_udfs.bundle import Bundle
from clip_udfs.encoders.onnx import OnnxEncoder
from clip_udfs.errors import ValueRefused
from clip_udfs.functions import FUNCTIONS
from clip_udfs.images.preprocessing import MIN_SCALED, decode, scale_down
from clip_udfs.manifest import ImageManifest
from clip_udfs.settings import WorkerSettings
from tests.pipelines import pipeline_of

INPUT = ImageManifest((64, 64), "shortest", "bicubic", 0, (0.0, 0.0, 0.0), (1.0, 1.0, 1.0))
LIMIT = 1 << 24


def jpeg(size: tuple[int, int], mode: str = "RGB", **options: object) -> bytes:
    """A smooth picture with something in each corner and in the middle."""
    across, down = np.meshgrid(np.linspace(0, 1, size[0]), np.linspace(0, 1, size[1]))
    planes = [128 + 100 * np.sin(a * across * 9 + b * down * 7) for a, b in ((1, 2), (2, 1), (1, -1))]
    buffer = BytesIO()
    Image.fromarray(np.stack(planes, 2).astype(np.uint8)).convert(mode).save(buffer, "JPEG", quality=95, **options)
    return buffer.getvalue()


def test_vectors_of_the_built_in_model_stay_above_0_9995(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(material, "_SCENES", 1)
    bundle = Bundle.open(builtin_models() / "emoji")
    sizes = [min(size) for size in material.SIZES]
    paths = material.pictures(tmp_path, 2 * len(sizes))
    contents = [path.read_bytes() for path, size in zip(paths, sizes * 2, strict=True) if size >= 768]
    encoder = OnnxEncoder(bundle, "image", 1)
    vectors = []
    for scaled in (False, True):
        found = encoder.encode(np.stack([decode(one, bundle.manifest.image, LIMIT, scaled=scaled) for one in contents]))
        vectors.append(found / np.linalg.norm(found, axis=1, keepdims=True))
    cosines = (vectors[0] * vectors[1]).sum(axis=1)
    assert len(cosines) >= 5
    assert cosines.min() > 0.9995
    assert not np.array_equal(vectors[0], vectors[1])  # they were scaled


@pytest.mark.parametrize(
    ("size", "multiple", "left"),
    [
        ((767, 900), 6, (767, 900)),  # a half is less than six times the input
        ((768, 900), 6, (384, 450)),
        ((1535, 1540), 6, (768, 770)),
        ((1536, 1536), 6, (384, 384)),
        ((1100, 1030), 1, (138, 129)),  # an eighth, rounded up; no less is possible
        ((128, 128), 1, (64, 64)),
    ],
)
def test_how_far_a_picture_is_scaled(size: tuple[int, int], multiple: float, left: tuple[int, int]) -> None:
    with Image.open(BytesIO(jpeg(size))) as image:
        extent = scale_down(image, INPUT, multiple)
        assert image.size == left
        factor = math.ceil(size[0] / left[0])
        assert extent == (size[0] / factor, size[1] / factor)


@pytest.mark.parametrize("resize_mode", ["shortest", "squash", "longest"])
@pytest.mark.parametrize("size", [(1601, 1203), (1203, 1601), (3333, 1111)])
def test_scaling_does_not_shift_the_crop(resize_mode: str, size: tuple[int, int]) -> None:
    """The crop stays in place: the decoder's rounding is not part of the image."""
    content, manifest = jpeg(size), replace(INPUT, resize_mode=resize_mode)
    exact = decode(content, manifest, LIMIT).astype(int)
    with Image.open(BytesIO(content)) as image:
        scale_down(image, manifest, MIN_SCALED)
        assert image.size != size
    assert np.abs(decode(content, manifest, LIMIT, scaled=True) - exact).max() <= 2


@pytest.mark.parametrize(("mode", "options"), [("L", {}), ("CMYK", {}), ("RGB", {"progressive": True})])
def test_every_kind_of_jpeg(mode: str, options: dict[str, object]) -> None:
    content = jpeg((1600, 1200), mode, **options)
    exact = decode(content, INPUT, LIMIT).astype(int)
    assert np.abs(decode(content, INPUT, LIMIT, scaled=True) - exact).max() <= 3


def test_other_formats_are_not_scaled() -> None:
    buffer = BytesIO()
    Image.open(BytesIO(jpeg((1600, 1200)))).save(buffer, "PNG")
    content = buffer.getvalue()
    assert np.array_equal(decode(content, INPUT, LIMIT, scaled=True), decode(content, INPUT, LIMIT))


def test_the_limit_is_on_the_whole_picture() -> None:
    with pytest.raises(ValueRefused, match="1600 x 1200 pixels"):
        decode(jpeg((1600, 1200)), INPUT, 1600 * 1200 - 1, scaled=True)


@pytest.mark.parametrize(("jpeg_decoding", "drafts"), [("exact", 0), ("scaled", 1)])
def test_a_worker_follows_the_setting(monkeypatch: pytest.MonkeyPatch, jpeg_decoding: str, drafts: int) -> None:
    asked = []
    original = JpegImagePlugin.JpegImageFile.draft

    def draft(image: JpegImagePlugin.JpegImageFile, mode: str, size: tuple[int, int]) -> object:
        asked.append(size)
        return original(image, mode, size)

    monkeypatch.setattr(JpegImagePlugin.JpegImageFile, "draft", draft)
    settings = WorkerSettings(Path(builtin_models() / "emoji"), jpeg_decoding=jpeg_decoding, threads=1)
    pipeline = pipeline_of(FUNCTIONS["encode_image_bytes"], settings)
    (vectors,) = pipeline.encode(iter([jpeg((1600, 1200))]))
    assert vectors.present.all()
    assert len(asked) == drafts
