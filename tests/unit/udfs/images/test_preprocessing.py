"""Broken, odd or hostile images give pixels or a clear refusal, in bounded memory."""

from __future__ import annotations

import re
from collections.abc import Iterator
from functools import partial
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from clip_udfs.errors import SettingsError, ValueRefused
from clip_udfs.images.preprocessing import FORMATS
from clip_udfs.images.preprocessing import decode as decode_usual
from clip_udfs.manifest import ImageManifest
from clip_udfs.settings import IMAGE_FORMATS, WorkerSettings
from tests.broken_pictures import DAMAGED, EPS, HTML, encoded, odd_but_whole, png, refused
from tests.fuzz.__main__ import ALLOWED_MEMORY, ALLOWED_SECONDS, judged
from tests.fuzz.target import MAX_PIXELS, MODES, Target

pytestmark = pytest.mark.filterwarnings("ignore")  # Pillow's remarks on odd files, which the worker ignores too

decode = partial(decode_usual, formats=IMAGE_FORMATS)
WHOLE = odd_but_whole()
REFUSED = refused()


def manifest(mode: str = "shortest") -> ImageManifest:
    return ImageManifest((24, 24), mode, "bicubic", 0, (0, 0, 0), (1, 1, 1))


@pytest.mark.parametrize("name", WHOLE)
def test_an_odd_picture_has_pixels_in_every_mode(name: str) -> None:
    for mode in MODES:
        pixels = decode(WHOLE[name], manifest(mode), MAX_PIXELS)
        assert (pixels.shape, pixels.dtype) == ((24, 24, 3), np.uint8), mode


@pytest.mark.parametrize("name", REFUSED)
def test_a_file_that_is_no_sound_picture_is_refused_in_plain_words(name: str) -> None:
    content, wanted = REFUSED[name]
    with pytest.raises(ValueRefused, match=f"^({wanted})") as refusal:
        decode(content, manifest(), MAX_PIXELS)
    message = str(refusal.value)
    assert "secret" not in message
    assert re.fullmatch(r"[\x20-\x7e]{10,140}", message)


@pytest.fixture(scope="module")
def target() -> Iterator[Target]:
    child = Target(ALLOWED_SECONDS)
    yield child
    child.close()


def test_none_of_them_takes_memory_beyond_the_limit(target: Target) -> None:
    for name, content in (*WHOLE.items(), *((name, content) for name, (content, _) in REFUSED.items())):
        outcome = judged(target.attempt("image", content), len(content))
        assert outcome.kind == ("answered" if name in WHOLE else "refused"), (name, outcome)


def test_the_measure_of_memory_sees_what_a_picture_takes(target: Target) -> None:
    """Otherwise the test above would prove nothing: a megapixel with alpha takes 4 MB, and 8 while resizing."""
    outcome = target.attempt("image", encoded(Image.new("RGBA", (1024, 1024), (1, 2, 3, 4)), "PNG"))
    assert outcome.kind == "answered"
    assert 4e6 < outcome.peak < ALLOWED_MEMORY


def test_the_first_frame_of_an_animation_is_used() -> None:
    frames = [Image.new("RGB", (8, 8), color) for color in ("red", "blue", "blue")]
    for kind in ("GIF", "PNG", "WEBP", "TIFF"):
        moving = encoded(frames[0], kind, save_all=True, append_images=frames[1:])
        red, green, blue = decode(moving, manifest(), MAX_PIXELS)[12, 12]
        assert (red > 200, green < 50, blue < 50) == (True, True, True), kind


def test_no_decoder_that_starts_a_program_is_among_those_that_are_used() -> None:
    assert not {"EPS", "PDF", "WMF", "PSD", "ICNS", "ICO", "TGA", "IPTC", "FITS", "MPEG"} & set(FORMATS)


def test_a_lack_of_memory_is_not_blamed_on_the_image(monkeypatch: pytest.MonkeyPatch) -> None:
    for error in (MemoryError(), OSError("out of memory error when reading image file")):

        def load(image: object, error: Exception = error) -> None:
            raise error

        monkeypatch.setattr("PIL.PngImagePlugin.PngImageFile.load", load)
        with pytest.raises(MemoryError):
            decode(png(8, 8), manifest(), MAX_PIXELS)


def test_the_limit_of_pixels_is_exact_and_cannot_be_set_beyond_what_pillow_decodes() -> None:
    assert decode(png(8, 8), manifest(), 64).shape == (24, 24, 3)
    with pytest.raises(ValueRefused, match="is 8 x 8 pixels, at most 63 are decoded"):
        decode(png(8, 8), manifest(), 63)
    with pytest.raises(SettingsError, match="178956970 at most"):
        WorkerSettings(Path("bundle"), max_image_pixels=178_956_971)


STARTS = st.sampled_from([b"", *{content[:12] for content in (*WHOLE.values(), HTML, EPS)}])


@settings(deadline=None, max_examples=150)
@given(STARTS, st.binary(max_size=300))
def test_arbitrary_bytes_give_pixels_or_a_refusal(start: bytes, rest: bytes) -> None:
    try:
        assert decode(start + rest, manifest(), 4096).shape == (24, 24, 3)
    except ValueRefused as refusal:
        assert str(refusal)


@settings(deadline=None, max_examples=150)
@given(st.sampled_from(sorted(WHOLE)), st.integers(0, 400), st.binary(min_size=1, max_size=8))
def test_a_picture_with_some_bytes_changed_gives_pixels_or_a_refusal(name: str, place: int, change: bytes) -> None:
    content = WHOLE[name]
    try:
        decode(content[:place] + change + content[place + len(change) :], manifest(), MAX_PIXELS)
    except ValueRefused as refusal:
        assert str(refusal).startswith((DAMAGED, "not an image", "the image"))


@settings(deadline=None, max_examples=60)
@given(
    st.integers(1, 3000), st.integers(1, 3000), st.sampled_from(["L", "RGB", "RGBA", "P", "1"]), st.sampled_from(MODES)
)
def test_any_shape_fits(width: int, height: int, mode: str, resize: str) -> None:
    image = encoded(Image.new(mode, (width, height)), "PNG", compress_level=1)
    assert decode(image, manifest(resize), 9_000_000).shape == (24, 24, 3)
