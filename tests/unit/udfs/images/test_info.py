"""Facts about an image file."""

from __future__ import annotations

from datetime import datetime
from io import BytesIO

import pytest
from PIL import Image, ImageFilter

from clip_udfs.errors import ValueRefused
from clip_udfs.images.answers import ImageInfo
from clip_udfs.images.info import image_info, perceptual_hash
from tests.models.pictures import drawing

PIXELS = 10**7
# What phash of ImageHash 4.3.2 gives for these drawings.
IMAGE_HASH = [0xB20D72CD22C74E37, 0xA40A5D669A6D9976, 0x9528A93BC6D93746, 0xB403742FD22DC63D]


def written(image: Image.Image, kind: str = "PNG", **options: object) -> bytes:
    content = BytesIO()
    image.save(content, kind, **options)
    return content.getvalue()


def photograph(turn: int, taken: str) -> bytes:
    exif = Image.Exif()
    exif[0x0112] = turn
    exif.get_ifd(0x8769)[0x9003] = taken
    return written(drawing(400, 300, 1), "JPEG", exif=exif)


def test_a_photograph_tells_its_size_format_orientation_and_time() -> None:
    """Width and height are the stored ones."""
    info = image_info(photograph(6, "2024:02:29 23:59:58"), PIXELS)
    assert (info.width, info.height, info.format, info.mode, info.orientation) == (400, 300, "JPEG", "RGB", 6)
    assert info.taken == datetime(2024, 2, 29, 23, 59, 58)
    assert info.reason == ""


@pytest.mark.parametrize(
    "taken", ["", "0000:00:00 00:00:00", "    :  :     :  :  ", "1700:01:01 00:00:00", "yesterday"]
)
def test_a_camera_without_a_clock_has_no_time(taken: str) -> None:
    """Nor has one whose year ClickHouse could not hold."""
    assert image_info(photograph(1, taken), PIXELS).taken is None


@pytest.mark.parametrize("number", range(len(IMAGE_HASH)))
def test_the_hash_is_that_of_image_hash(number: int) -> None:
    """So existing hashes can be compared with these."""
    assert perceptual_hash(drawing(400 + 40 * number, 300, number)) == IMAGE_HASH[number]


def test_near_copies_have_near_hashes() -> None:
    """Resized, blurred, rotated by a camera or saved again: few bits differ. A different image: many."""
    image = drawing(400, 300, 1)
    first = image_info(written(image), PIXELS).hash
    turned = image.transpose(Image.Transpose.ROTATE_90)
    exif = Image.Exif()
    exif[0x0112] = 6
    copies = [
        written(image, "JPEG", quality=40),
        written(image.resize((200, 150))),
        written(image.filter(ImageFilter.GaussianBlur(2))),
        written(turned, "JPEG", exif=exif),
    ]
    assert max((image_info(copy, PIXELS).hash ^ first).bit_count() for copy in copies) <= 6
    assert (image_info(written(drawing(400, 300, 2)), PIXELS).hash ^ first).bit_count() > 16


def test_transparent_counts_as_white() -> None:
    """So a drawing has the same hash with and without a background."""
    clear = Image.new("RGBA", (64, 64), (0, 0, 0, 0))
    clear.paste((0, 0, 0, 255), (8, 16, 40, 48))
    white = Image.alpha_composite(Image.new("RGBA", clear.size, "white"), clear).convert("RGB")
    assert image_info(written(clear), PIXELS).hash == image_info(written(white), PIXELS).hash


def test_a_damaged_image_is_detected() -> None:
    """Although its header is good."""
    with pytest.raises(ValueRefused, match="damaged image"):
        image_info(written(Image.radial_gradient("L"), "JPEG")[:2000], PIXELS)


def test_a_refused_image_has_only_a_reason() -> None:
    """As try_image_info returns it."""
    assert ImageInfo(reason="why") == ImageInfo(0, 0, "", "", 0, None, 0, "why")
