"""What a hostile statement learns about files that it must not read: one quick refusal, and none of their content."""

from __future__ import annotations

import os
import socket
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.broken_pictures import encoded
from tests.chdb.conftest import ServerTree
from tests.chdb.driver import Engine, QueryFailed
from tests.models.pictures import drawing

OUTSIDE = "outside the directories that encode_image may read"
LEADS_OUT = f"a symbolic link leads {OUTSIDE}: copy the file, or install with --image-root for where the link leads"
SECRET = b"secret-of-another-user"


@pytest.fixture(scope="module")
def beside(tree: ServerTree) -> Iterator[Path]:
    """A directory beside the pictures, with a picture and a secret; and ways from the pictures to it."""
    outside = tree.pictures.parent / "beside"
    outside.mkdir()
    (outside / "picture.png").write_bytes(encoded(drawing(20, 20), "PNG"))
    (outside / "secret.txt").write_bytes(SECRET)
    (tree.pictures / "good.png").write_bytes(encoded(drawing(30, 20), "PNG"))
    (tree.pictures / "page.jpg").write_bytes(b"P6 " + SECRET)
    (tree.pictures / "link.png").symlink_to(outside / "picture.png")
    (tree.pictures / "dangling.png").symlink_to(outside / "none.png")
    (tree.pictures / "up").symlink_to(outside)
    os.mkfifo(tree.pictures / "fifo.png")
    listener = socket.socket(socket.AF_UNIX)
    previous = Path.cwd()
    os.chdir(tree.pictures)  # the address of a socket is short
    listener.bind("socket.png")
    os.chdir(previous)
    yield outside
    listener.close()


def reason(engine: Engine, path: str) -> str:
    with pytest.raises(QueryFailed) as failed:
        engine.rows(f"SELECT encode_image('{path}')")
    message = str(failed.value)
    assert SECRET.decode() not in message
    line = message.split("Executable generates stderr: ", 1)[1].splitlines()[0]
    before = f"encode_image: row 1: '{path}': "
    assert line.startswith(before)
    return line.removeprefix(before)


def test_outside_is_outside_whether_it_exists_or_not(engine: Engine, tree: ServerTree, beside: Path) -> None:
    right = engine.value("SELECT encode_image('good.png')")
    for path in (
        f"{beside}/picture.png", f"{beside}/none.png", "/proc/self/environ", "/proc/self/cwd/none",
        "/dev/zero", "/etc/shadow",
    ):  # fmt: skip
        assert reason(engine, path).startswith(OUTSIDE), path
        assert engine.value(f"SELECT try_encode_image('{path}')") == []
    for path in ("link.png", "dangling.png", "up/picture.png", "up/none.png"):
        assert reason(engine, path) == LEADS_OUT, path
    for path in ("../beside/secret.txt", "../nowhere/../pictures/good.png", f"{tree.pictures}/up/../pictures/good.png"):
        assert reason(engine, path).startswith("the path contains '..'"), path
    assert engine.value("SELECT encode_image('good.png')") == right


def test_what_is_no_file_does_not_hang_and_what_is_no_picture_is_not_quoted(engine: Engine, beside: Path) -> None:
    right = engine.value("SELECT encode_image('good.png')")
    assert reason(engine, "fifo.png").startswith("is not a regular file")
    assert reason(engine, "socket.png").startswith("is not a regular file")
    assert reason(engine, "page.jpg").startswith(("not an image", "damaged image", "the image is PPM"))
    assert engine.value("SELECT encode_image('good.png')") == right
