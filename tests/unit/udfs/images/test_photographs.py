"""Photographs as people have them: sideways, in HEIC, in CMYK, with several frames or pages."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from io import BytesIO
from pathlib import Path

import numpy as np
import pillow_heif
import pytest
from PIL import ExifTags, Image, ImageOps

from clip_udfs.bundle import Bundle
from clip_udfs.errors import SettingsError, ValueRefused
from clip_udfs.functions import FUNCTIONS
from clip_udfs.images import work
from clip_udfs.images.decoder_pool import DecoderPool
from clip_udfs.images.preprocessing import decode
from clip_udfs.manifest import ImageManifest
from clip_udfs.settings import DEFAULT_IMAGE_FORMATS, WorkerSettings

MOST = 1 << 24


def picture(seed: int = 1, size: tuple[int, int] = (90, 60)) -> Image.Image:
    """Smooth noise, so that no two turns of it are alike."""
    noise = np.random.default_rng(seed).integers(0, 255, (6, 9, 3), np.uint8)
    return Image.fromarray(noise).resize(size, Image.Resampling.BICUBIC)


def saved(image: Image.Image, kind: str, **options: object) -> bytes:
    written = BytesIO()
    image.save(written, kind, **options)
    return written.getvalue()


def marked(image: Image.Image, orientation: int, kind: str = "PNG") -> bytes:
    exif = Image.Exif()
    exif[ExifTags.Base.Orientation] = orientation
    return saved(image, kind, exif=exif)


@pytest.fixture(scope="module")
def manifest(tiny_bundle: Path) -> ImageManifest:
    return Bundle.open(tiny_bundle).manifest.image


@pytest.mark.parametrize("orientation", range(1, 9))
@pytest.mark.parametrize("mode", ["shortest", "longest", "squash"])
def test_a_sideways_image_is_seen_as_if_it_had_been_stored_upright(
    manifest: ImageManifest, orientation: int, mode: str
) -> None:
    content = marked(picture(), orientation)
    resized = replace(manifest, resize_mode=mode)
    upright = saved(ImageOps.exif_transpose(Image.open(BytesIO(content))), "PNG")
    assert np.array_equal(decode(content, resized, MOST, turned=True), decode(upright, resized, MOST))


@pytest.mark.parametrize("orientation", [3, 6])
def test_by_default_an_image_is_read_as_by_open_clip(manifest: ImageManifest, orientation: int) -> None:
    stored = decode(saved(picture(), "PNG"), manifest, MOST)
    assert np.array_equal(decode(marked(picture(), orientation), manifest, MOST), stored)
    assert not np.array_equal(decode(marked(picture(), orientation), manifest, MOST, turned=True), stored)


def test_a_large_jpeg_is_turned_when_it_is_decoded_at_a_fraction_too(manifest: ImageManifest) -> None:
    content = marked(picture(size=(4000, 3000)), 6, "JPEG")
    exact = decode(content, manifest, MOST, turned=True).astype(int)
    scaled = decode(content, manifest, MOST, turned=True, scaled=True).astype(int)
    assert np.abs(exact - scaled).mean() < 3


@pytest.mark.parametrize(
    ("kind", "options"),
    [
        ("GIF", {"save_all": True}),
        ("WEBP", {"save_all": True, "lossless": True}),
        ("PNG", {"save_all": True}),
        ("TIFF", {"save_all": True}),
        ("AVIF", {"save_all": True, "quality": 100, "subsampling": "4:4:4"}),
    ],
)
def test_of_several_frames_or_pages_the_first_is_seen(
    manifest: ImageManifest, kind: str, options: dict[str, object]
) -> None:
    first, others = picture(1), [picture(2), picture(3)]
    several = decode(saved(first, kind, append_images=others, **options), manifest, MOST).astype(int)
    alone = decode(saved(first, kind, **{**options, "save_all": False}), manifest, MOST).astype(int)
    assert np.abs(several - alone).mean() < 6  # a palette or a quantiser may choose differently


def test_a_cmyk_image_is_seen_in_about_the_colours_of_its_rgb(manifest: ImageManifest) -> None:
    cmyk = decode(saved(picture().convert("CMYK"), "JPEG", quality=100), manifest, MOST).astype(int)
    assert np.abs(cmyk - decode(saved(picture(), "PNG"), manifest, MOST).astype(int)).mean() < 4


@pytest.fixture
def decoders(tiny_bundle: Path) -> Iterator[DecoderPool]:
    settings = WorkerSettings(tiny_bundle, image_formats=(*DEFAULT_IMAGE_FORMATS, "HEIF"), exif_orientation=True)
    pool = work.start_decoders(FUNCTIONS["encode_image_bytes"], settings, Bundle.open(tiny_bundle), ())
    yield pool
    pool.close()


def heic(image: Image.Image) -> bytes:
    written = BytesIO()
    pillow_heif.from_pillow(image).save(written, quality=100, chroma=444)
    return written.getvalue()


def test_heic_is_read_in_a_confined_decoder_where_it_is_asked_for(
    manifest: ImageManifest, decoders: DecoderPool
) -> None:
    seen = np.frombuffer(decoders.run(heic(picture())), np.uint8).astype(int)
    expected = decode(saved(picture(), "PNG"), manifest, MOST).astype(int).ravel()
    assert np.abs(seen - expected).mean() < 4
    with pytest.raises(ValueRefused, match=r"damaged|not an image"):
        decoders.run(heic(picture())[:600])


def test_by_default_heic_is_refused_with_what_to_do(manifest: ImageManifest) -> None:
    with pytest.raises(
        ValueRefused, match=r"the image is HEIC, only JPEG, .* are read: convert it, or install with --formats"
    ):
        decode(heic(picture()), manifest, MOST)


def test_heic_without_its_package_is_refused_as_the_worker_starts(
    tiny_bundle: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(work, "find_spec", lambda name: None)
    settings = WorkerSettings(tiny_bundle, image_formats=("HEIF",))
    with pytest.raises(SettingsError, match=r"clickhouse-clip-udfs\[heif\]"):
        work.start_decoders(FUNCTIONS["encode_image_bytes"], settings, None, ())
