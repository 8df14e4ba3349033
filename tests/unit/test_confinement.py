"""Which files encode_image reads, and in which words it refuses the others."""

from __future__ import annotations

import os
import socket
from pathlib import Path

import pytest

from clip_udfs.confinement import OUTSIDE, Roots
from clip_udfs.errors import SettingsError, ValueRefused


@pytest.fixture
def place(tmp_path: Path) -> Path:
    (tmp_path / "root/sub").mkdir(parents=True)
    (tmp_path / "second").mkdir()
    (tmp_path / "root/sub/a.png").write_bytes(b"picture a")
    (tmp_path / "second/b.png").write_bytes(b"picture b")
    (tmp_path / "secret.png").write_bytes(b"secret")
    return tmp_path


def refusal(roots: Roots, path: str) -> str:
    with pytest.raises(ValueRefused) as refused:
        roots.read(path)
    return str(refused.value)


def test_relative_and_absolute_paths_inside_the_roots(place: Path) -> None:
    roots = Roots([place / "root", place / "second"], 100)
    assert roots.read("sub/a.png") == b"picture a"
    assert roots.read(f"{place}/root/sub/a.png") == b"picture a"
    assert roots.read("sub/../sub/./a.png") == b"picture a"
    assert roots.read("b.png") == b"picture b"


def test_outside_is_refused_in_the_same_words_whether_it_exists_or_not(place: Path) -> None:
    roots = Roots([place / "root"], 100)
    (place / "root/link.png").symlink_to(place / "secret.png")
    (place / "root/dangling.png").symlink_to(place / "nothing.png")
    (place / "root/up").symlink_to(place)
    (place / "root-beside").mkdir()
    (place / "root-beside/x.png").write_bytes(b"x")
    for path in (
        "../secret.png",
        "../nothing.png",
        f"{place}/secret.png",
        f"{place}/nothing.png",
        "link.png",
        "dangling.png",
        "up/secret.png",
        "up/nothing.png",
        f"{place}/root-beside/x.png",
        "/etc/passwd",
        "/proc/self/environ",
        "/dev/zero",
        "/proc/self/root/etc/passwd",
    ):
        assert refusal(roots, path) == OUTSIDE, path


def test_links_that_stay_inside_and_a_root_that_is_a_link_work(place: Path) -> None:
    (place / "root/link.png").symlink_to("sub/a.png")
    (place / "alias").symlink_to(place / "root")
    roots = Roots([place / "alias"], 100)
    assert roots.read("link.png") == b"picture a"
    assert roots.read(f"{place}/alias/link.png") == b"picture a"
    assert roots.read(f"{place}/root/link.png") == b"picture a"


def test_what_is_not_a_regular_file_is_refused_without_hanging(place: Path) -> None:
    roots = Roots([place / "root"], 100)
    os.mkfifo(place / "root/fifo.png")
    listener = socket.socket(socket.AF_UNIX)
    listener.bind(str(place / "root/s"))
    assert refusal(roots, "fifo.png") == "is not a regular file"
    assert refusal(roots, "s") == "is not a regular file"
    assert refusal(roots, "sub") == "is a directory"
    assert refusal(roots, ".") == "is a directory"
    listener.close()


def test_size_absence_and_impossible_names(place: Path) -> None:
    roots = Roots([place / "root", place / "second"], 8)
    assert refusal(roots, "sub/a.png") == "the file has 9 bytes, at most 8 are read"
    assert "no such file" in refusal(roots, "sub/none.png")
    assert refusal(roots, "") == "the path is empty"
    assert "NUL" in refusal(roots, "a\0b")
    assert refusal(roots, "x" * 5000) == "file name too long"
    assert "no such file" in refusal(roots, "sub/a.png/b")


def test_settings_without_a_usable_root_are_refused(place: Path) -> None:
    with pytest.raises(SettingsError, match="--image-root"):
        Roots([], 100)
    with pytest.raises(SettingsError, match="nowhere"):
        Roots([place / "nowhere"], 100)


def test_no_descriptor_is_left_open(place: Path) -> None:
    roots = Roots([place / "root"], 100)
    before = len(list(Path("/proc/self/fd").iterdir()))
    for _ in range(20):
        roots.read("sub/a.png")
        refusal(roots, "sub")
        refusal(roots, "none")
    assert len(list(Path("/proc/self/fd").iterdir())) == before
