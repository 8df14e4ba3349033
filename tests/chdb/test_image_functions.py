"""The functions that need no model, in SQL, with both wire formats."""

from __future__ import annotations

from collections.abc import Iterator
from io import BytesIO
from pathlib import Path

import pytest
from PIL import Image

from clip_udfs.settings import FORMATS
from tests.chdb.conftest import ServerTree, make_tree
from tests.chdb.driver import Engine, QueryFailed
from tests.models.pictures import drawing

QUOTED = "it's a \\ new\nline.png"


def photograph() -> bytes:
    content, exif = BytesIO(), Image.Exif()
    exif[0x0112] = 6
    exif.get_ifd(0x8769)[0x9003] = "1955:11:05 06:15:00"
    drawing(400, 300, 1).save(content, "JPEG", exif=exif)
    return content.getvalue()


@pytest.fixture(scope="module", params=FORMATS)
def images(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Engine]:
    """An engine with the functions, a photograph and a text file below the image root."""
    tree: ServerTree = make_tree(tmp_path_factory.mktemp("images"))
    (tree.pictures / "photo.jpg").write_bytes(photograph())
    (tree.pictures / QUOTED).write_text("no picture")
    (Path(tree.pictures).parent / "outside.jpg").write_bytes(photograph())
    tree.install("--image-root", str(tree.pictures), "--wire-format", request.param, "--no-ddl")
    engine = tree.engine()
    yield engine
    assert engine.close() == 0


def test_a_thumbnail_by_path_and_by_content_is_the_same_image(images: Engine) -> None:
    """It is WebP, upright, and as small as asked for."""
    by_path = bytes.fromhex(images.value("SELECT hex(thumbnail('photo.jpg', 128))"))
    content = photograph().hex()
    assert images.value(f"SELECT hex(thumbnail_bytes(unhex('{content}'), 128))") == by_path.hex().upper()
    assert images.value(f"SELECT hex(try_thumbnail_bytes(unhex('{content}'), 128))") == by_path.hex().upper()
    image = Image.open(BytesIO(by_path))
    assert (image.format, image.size) == ("WEBP", (96, 128))


def test_the_size_may_differ_from_row_to_row(images: Engine) -> None:
    """And rows come back in their order."""
    found = images.rows(
        "SELECT n, (image_info_bytes(thumbnail('photo.jpg', toUInt32(n * 10 + 10))) AS i).height"
        " FROM (SELECT arrayJoin(range(30)) AS n) ORDER BY n"
    )
    assert [(int(n), int(height)) for n, height in found] == [(n, n * 10 + 10) for n in range(30)]


def test_image_info_is_a_named_tuple(images: Engine) -> None:
    """Its elements are read by name, and times before 1970 are supported."""
    assert images.rows(
        "SELECT i.width, i.height, i.format, i.mode, i.orientation, toString(i.taken), i.hash > 0, i.reason"
        " FROM (SELECT image_info('photo.jpg') AS i)"
    ) == [(400, 300, "JPEG", "RGB", 6, "1955-11-05 06:15:00", 1, "")]
    assert images.value("SELECT toTypeName(image_info('photo.jpg').taken)") == "Nullable(DateTime64(0, 'UTC'))"


@pytest.mark.parametrize(
    ("call", "reason"),
    [
        ("thumbnail('none.jpg', 64)", "thumbnail: row 1: 'none.jpg': no such file"),
        ("thumbnail('../outside.jpg', 64)", "thumbnail: row 1: '../outside.jpg': "),
        ("thumbnail('photo.jpg', 5000)", "thumbnail: row 1: 'photo.jpg': a thumbnail of 5000 pixels: the size can be"),
        ("thumbnail_bytes('text', 64)", "thumbnail_bytes: row 1: 4 bytes: not an image"),
        ("image_info('/etc/passwd')", "image_info: row 1: '/etc/passwd': outside the directories"),
        ("image_info_bytes('')", "image_info_bytes: row 1: 0 bytes: the file is empty"),
    ],
)
def test_a_strict_function_names_function_row_value_and_reason(images: Engine, call: str, reason: str) -> None:
    """Like encode_image; the next query works."""
    with pytest.raises(QueryFailed) as failed:
        images.rows(f"SELECT {call}")
    assert reason in str(failed.value)
    assert images.value("SELECT length(thumbnail('photo.jpg', 32)) > 0") == 1


def test_a_try_function_answers_an_empty_value_and_says_why_where_it_can(images: Engine) -> None:
    """NULL is refused like any other bad value, and a reason with quotes survives both formats."""
    names = ", ".join(f"unhex('{name.encode().hex()}')" for name in ("photo.jpg", "none.jpg", QUOTED))
    assert images.rows(
        f"SELECT length(try_thumbnail(p, 32)) > 0, (try_image_info(p) AS i).width, i.reason"
        f" FROM (SELECT arrayJoin([{names}, NULL]) AS p)"
    ) == [
        (1, 400, ""),
        (0, 0, "'none.jpg': no such file in the directories that encode_image may read"),
        (
            0,
            0,
            "'it's a \\ new\\nline.png': not an image in a format that is read (JPEG, PNG, WEBP, GIF, BMP, TIFF, AVIF)",
        ),
        (0, 0, "NULL cannot be encoded"),
    ]
