"""Pixels equal open_clip's own, for every mode, shape and resize mode."""

from __future__ import annotations

from dataclasses import replace
from io import BytesIO

import numpy as np
import pytest
from open_clip.transform import PreprocessCfg, image_transform_v2
from PIL import Image

from clip_udfs.bundle import ImageManifest
from clip_udfs.images import decode
from tests.models.pictures import corpus

BASE = ImageManifest((64, 64), "shortest", "bicubic", 0, (0.0, 0.0, 0.0), (1.0, 1.0, 1.0))
pytestmark = pytest.mark.filterwarnings("ignore:Palette images with Transparency")

VARIANTS = {
    "shortest": BASE,
    "shortest-bilinear": replace(BASE, interpolation="bilinear"),
    "shortest-oblong": replace(BASE, size=(48, 80)),
    "squash": replace(BASE, resize_mode="squash", size=(50, 70)),
    "longest": replace(BASE, resize_mode="longest"),
    "longest-filled": replace(BASE, resize_mode="longest", fill_color=127),
}


@pytest.mark.parametrize("variant", VARIANTS)
def test_no_pixel_differs_from_open_clip(variant: str) -> None:
    manifest = VARIANTS[variant]
    theirs = image_transform_v2(
        PreprocessCfg(
            size=manifest.size,
            mean=manifest.mean,
            std=manifest.std,
            interpolation=manifest.interpolation,
            resize_mode=manifest.resize_mode,
            fill_color=manifest.fill_color,
        ),
        is_train=False,
    )
    different = []
    for name, content in corpus().items():
        wanted = (theirs(Image.open(BytesIO(content))).numpy() * 255).round().astype(np.uint8)
        if not np.array_equal(decode(content, manifest, 1 << 24), wanted.transpose(1, 2, 0)):
            different.append(name)
    assert different == []


@pytest.mark.parametrize("size", [(1, 10000), (10000, 1), (3, 20000)])
def test_a_sliver_is_cropped_before_it_is_enlarged(size: tuple[int, int]) -> None:
    import tracemalloc

    image = Image.linear_gradient("L").resize(size).convert("RGB")
    buffer = BytesIO()
    image.save(buffer, "PNG")
    tracemalloc.start()
    pixels = decode(buffer.getvalue(), replace(BASE, size=(224, 224)), 1 << 24)
    tracemalloc.stop()
    centre = image.resize((1, 1), box=(size[0] / 2 - 0.5, size[1] / 2 - 0.5, size[0] / 2 + 0.5, size[1] / 2 + 0.5))
    assert pixels.shape == (224, 224, 3)
    assert np.abs(pixels.astype(int) - np.asarray(centre).astype(int)).max() <= 2
