"""Pixels equal open_clip's own, for every mode, shape and resize mode."""

from __future__ import annotations

from dataclasses import replace
from io import BytesIO
from typing import Any

import numpy as np
import pytest
from open_clip.transform import PreprocessCfg, image_transform_v2
from PIL import Image

from clip_installer.models.build.preprocessing import image_manifest
from clip_udfs.images.preprocessing import decode
from clip_udfs.manifest import ImageManifest
from tests.models.pictures import corpus

BASE = ImageManifest((64, 64), "shortest", "bicubic", 0, (0.0, 0.0, 0.0), (1.0, 1.0, 1.0))
pytestmark = pytest.mark.filterwarnings("ignore:Palette images with Transparency")

# What open_clip's configurations may say, in its own words: each mode with each filter, square and not.
VARIANTS: dict[str, dict[str, Any]] = {
    "shortest": {},
    "shortest-bilinear": {"interpolation": "bilinear"},
    "shortest-any": {"interpolation": "random"},
    "shortest-oblong": {"size": (48, 80)},
    "shortest-upright-bilinear": {"size": (80, 48), "interpolation": "bilinear"},
    "squash": {"resize_mode": "squash", "size": (50, 70)},
    "squash-bilinear": {"resize_mode": "squash", "interpolation": "bilinear"},
    "longest": {"resize_mode": "longest"},
    "longest-bilinear": {"resize_mode": "longest", "interpolation": "bilinear"},
    "longest-filled": {"resize_mode": "longest", "fill_color": 127},
    "longest-oblong-filled": {"resize_mode": "longest", "size": (48, 80), "fill_color": 255},
}


@pytest.mark.parametrize("variant", VARIANTS)
def test_no_pixel_differs_from_open_clip(variant: str) -> None:
    config = PreprocessCfg(**{"size": 64, "mean": (0.0,) * 3, "std": (1.0,) * 3, **VARIANTS[variant]})
    theirs, manifest = image_transform_v2(config, is_train=False), image_manifest(config)
    different = []
    for name, content in corpus().items():
        wanted = (theirs(Image.open(BytesIO(content))).numpy() * 255).round().astype(np.uint8)
        if not np.array_equal(decode(content, manifest, 1 << 24), wanted.transpose(1, 2, 0)):
            different.append(name)
    assert different == []


def test_one_number_for_all_channels_is_said_of_each() -> None:
    manifest = image_manifest(PreprocessCfg(mean=0.5, std=0.25))
    assert (manifest.mean, manifest.std) == ((0.5,) * 3, (0.25,) * 3)


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
