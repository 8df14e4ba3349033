"""Thumbnails."""

from __future__ import annotations

from io import BytesIO

import numpy as np
import PIL
import pytest
from PIL import Image

from clip_udfs.errors import ValueRefused
from clip_udfs.images.thumbnails import MAX_SIZE, thumbnail

PIXELS = 10**7


def written(image: Image.Image, kind: str = "PNG", **options: object) -> bytes:
    content = BytesIO()
    image.save(content, kind, **options)
    return content.getvalue()


def seen(content: bytes) -> Image.Image:
    image = Image.open(BytesIO(content))
    image.load()
    assert image.format == "WEBP"
    return image


@pytest.mark.parametrize(
    ("size", "expected"),
    [((400, 300), (200, 150)), ((300, 900), (67, 200)), ((40, 30), (40, 30)), ((1, 900), (1, 200))],
)
def test_the_longest_side_is_bounded_and_nothing_is_enlarged(size: tuple[int, int], expected: tuple[int, int]) -> None:
    """Sides keep their ratio, as far as whole pixels allow."""
    assert seen(thumbnail(written(Image.new("RGB", size, "red")), 200, PIXELS)).size == expected


@pytest.mark.parametrize("size", [0, MAX_SIZE + 1, 2**32 - 1])
def test_a_size_out_of_range_is_refused_by_name(size: int) -> None:
    """Also the one that a negative number wraps to."""
    with pytest.raises(ValueRefused, match=f"a thumbnail of {size} pixels: the size can be 1 to {MAX_SIZE}"):
        thumbnail(written(Image.new("RGB", (9, 9))), size, PIXELS)


MODES = ["1", "L", "LA", "P", "RGB", "RGBA", "CMYK", "I;16", "I", "F", "YCbCr", "LAB"]
if int(PIL.__version__.partition(".")[0]) < 13:
    MODES.remove("YCbCr")  # Pillow, as it was for Python 3.10, cannot read the TIFF that it writes of it


@pytest.mark.parametrize("mode", MODES)
def test_every_mode_of_pixels_has_a_thumbnail(mode: str) -> None:
    """A grey gradient stays one: black on one side, white on the other."""
    grey = Image.linear_gradient("L")
    if mode == "I;16":
        image = Image.fromarray(np.asarray(grey).astype(np.uint16) * 257)
    elif mode == "I":
        image = Image.fromarray(np.asarray(grey).astype(np.int32) * 257)
    elif mode == "LAB":
        image = Image.merge("LAB", (grey, Image.new("L", grey.size, 128), Image.new("L", grey.size, 128)))
    else:
        image = grey.convert("RGB").convert(mode) if mode != "F" else grey.convert("F")
    kind = "TIFF" if mode in ("CMYK", "F", "I", "YCbCr", "LAB") else "PNG"
    grey_again = np.asarray(seen(thumbnail(written(image, kind), 64, PIXELS)).convert("L")).astype(int)
    assert grey_again.shape == (64, 64)
    assert grey_again[2].mean() < 40
    assert grey_again[-3].mean() > 215


def test_transparency_is_kept_and_metadata_is_not() -> None:
    """Transparent parts stay transparent; the place of a photograph is not revealed."""
    image = Image.new("RGBA", (20, 20), (255, 0, 0, 0))
    assert seen(thumbnail(written(image), 64, PIXELS)).convert("RGBA").getpixel((5, 5))[3] == 0
    exif = Image.Exif()
    exif[0x010E] = "at home"
    content = written(Image.new("RGB", (20, 20)), "JPEG", exif=exif, icc_profile=b"profile " * 20)
    small = thumbnail(content, 64, PIXELS)
    assert b"at home" in content
    assert b"at home" not in small
    assert {"exif", "icc_profile"} & set(seen(small).info) == set()


@pytest.mark.parametrize("turn", range(1, 9))
def test_a_photograph_of_a_phone_is_upright(turn: int) -> None:
    """Each of the eight EXIF orientations shows the same: red on top, blue below."""
    upright = Image.new("RGB", (40, 80), "red")
    upright.paste("blue", (0, 40, 40, 80))
    # The transposition that undoes what the orientation asks for.
    undo = {2: 0, 3: 3, 4: 1, 5: 5, 6: 2, 7: 6, 8: 4}
    stored = upright.transpose(Image.Transpose(undo[turn])) if turn in undo else upright
    exif = Image.Exif()
    exif[0x0112] = turn
    shown = seen(thumbnail(written(stored, "JPEG", exif=exif), 40, PIXELS))
    assert shown.size == (20, 40)
    assert shown.getpixel((10, 5))[0] > 200
    assert shown.getpixel((10, 35))[2] > 200


def test_what_encode_image_refuses_has_no_thumbnail() -> None:
    """The limits and the words are the same."""
    with pytest.raises(ValueRefused, match="20 x 20 pixels, at most 100"):
        thumbnail(written(Image.new("RGB", (20, 20))), 64, 100)
    with pytest.raises(ValueRefused, match="not an image"):
        thumbnail(b"text", 64, PIXELS)
    with pytest.raises(ValueRefused, match="damaged image"):
        thumbnail(written(Image.radial_gradient("L"), "JPEG")[:2000], 64, PIXELS)


def test_an_animation_shows_its_first_frame() -> None:
    """One frame is enough."""
    frames = [Image.new("RGB", (20, 20), colour) for colour in ("red", "blue")]
    content = written(frames[0], "GIF", save_all=True, append_images=frames[1:])
    small = seen(thumbnail(content, 64, PIXELS))
    assert getattr(small, "n_frames", 1) == 1
    assert small.convert("RGB").getpixel((5, 5))[0] > 200


@pytest.mark.filterwarnings("ignore:Corrupt EXIF")  # as in the worker
def test_broken_exif_is_no_reason_to_refuse() -> None:
    """The pixels are good."""
    content = written(Image.new("RGB", (20, 20), "red"), "JPEG", exif=b"Exif\0\0II*\0\xff\xff\xff\x7fbroken")
    assert seen(thumbnail(content, 64, PIXELS)).size == (20, 20)
