"""Which files encode_image reads, and how it refuses the others."""

from __future__ import annotations

import os
import signal
import socket
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from clip_udfs.errors import SettingsError, ValueRefused
from clip_udfs.images import confinement
from clip_udfs.images.confinement import LEADS_OUT, OUTSIDE, Roots
from tests.server_trees import open_the_way
from tests.users import CLICKHOUSE, as_root


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
    assert roots.read("./sub/./a.png") == b"picture a"
    assert roots.read("b.png") == b"picture b"


def test_outside_is_refused_in_the_same_words_whether_it_exists_or_not(place: Path) -> None:
    roots = Roots([place / "root"], 100)
    (place / "root/link.png").symlink_to(place / "secret.png")
    (place / "root/dangling.png").symlink_to(place / "nothing.png")
    (place / "root/up").symlink_to(place)
    (place / "root-beside").mkdir()
    (place / "root-beside/x.png").write_bytes(b"x")
    for path in (
        f"{place}/secret.png",
        f"{place}/nothing.png",
        f"{place}/root-beside/x.png",
        "/etc/passwd",
        "/proc/self/environ",
        "/dev/zero",
        "/proc/self/root/etc/passwd",
    ):
        assert refusal(roots, path) == OUTSIDE, path
    for path in ("link.png", "dangling.png", "up/secret.png", "up/nothing.png"):
        assert refusal(roots, path) == LEADS_OUT, path


def test_two_dots_are_refused_wherever_they_lead(place: Path) -> None:
    """If they were followed, success would reveal that the directory exists, and the error whether it is a file."""
    roots = Roots([place / "root"], 100)
    (place / "root/up").symlink_to(place / "second")
    (place / "root/astray").symlink_to(place / "nowhere")
    dots = "the path contains '..': write it without"
    for there in ("second", "nowhere", "secret.png"):
        assert refusal(roots, f"../{there}/../root/sub/a.png") == dots
        assert refusal(roots, f"{place}/{there}/../root/sub/a.png") == dots
        assert refusal(roots, f"sub/../../{there}/../root/sub/a.png") == dots
    assert refusal(roots, "up/../root/sub/a.png") == refusal(roots, "astray/../root/sub/a.png") == dots
    assert refusal(roots, "../secret.png") == refusal(roots, "sub/../sub/a.png") == dots


def test_a_link_that_leads_out_says_so_whether_its_end_exists_or_not(place: Path) -> None:
    """The message does not name its target, but says what to do."""
    roots = Roots([place / "root"], 100)
    (place / "root/up").symlink_to(place / "second")
    (place / "root/astray").symlink_to(place / "nowhere")
    (place / "second/back").symlink_to(place / "root")
    (place / "root/chain.png").symlink_to("up/back/sub/a.png")
    (place / "root/twice").symlink_to("../root/sub")
    (place / "root/loop").symlink_to("loop")
    for path in ("up/back/sub/a.png", "up/none/sub/a.png", "chain.png"):
        assert refusal(roots, path) == LEADS_OUT
    assert roots.read("twice/a.png") == b"picture a"
    assert refusal(roots, "loop") != LEADS_OUT
    assert refusal(roots, "up/b.png") == refusal(roots, "up/none.png") == refusal(roots, "astray/b.png") == LEADS_OUT
    assert "--image-root" in LEADS_OUT


@pytest.mark.parametrize(
    ("value", "way"),
    [
        ("https://example.org/cat.jpg", "FROM url('…', RawBLOB)"),
        ("S3://bucket/cat.jpg", "FROM s3('…', RawBLOB)"),
        ("file:///pictures/cat.jpg", "leave out 'file://'"),
        ("data:image/png;base64,iVBORw0KGgo=", "base64Decode"),
        ("/9j/4AAQSkZJRgABAQAAAQABAAD/2wBDAAgGBgcGBQgHBwcJCQgKDBQNDAsLDBkS", "base64Decode"),
    ],
)
def test_anything_but_a_path_is_refused_with_what_to_use(place: Path, value: str, way: str) -> None:
    assert way in refusal(Roots([place / "root"], 100), value)


def test_a_space_around_a_path_is_named(place: Path) -> None:
    (place / "root/ spaced.png").write_bytes(b"x")
    roots = Roots([place / "root"], 100)
    assert refusal(roots, " sub/a.png").endswith("begins or ends with a space")
    assert refusal(roots, "sub/a.png\n").endswith("begins or ends with a space")
    assert roots.read(" spaced.png") == b"x"


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
    (place / "root/way-to-fifo").symlink_to("fifo.png")
    listener = socket.socket(socket.AF_UNIX)
    listener.bind(str(place / "root/s"))
    assert refusal(roots, "fifo.png") == "is not a regular file"
    assert refusal(roots, "way-to-fifo") == "is not a regular file"
    assert refusal(roots, "s") == "is not a regular file"
    assert refusal(roots, "sub") == "is a directory"
    assert refusal(roots, ".") == "is a directory"
    listener.close()


@contextmanager
def swapped(first: Path, second: Path, name: Path) -> Iterator[None]:
    """While the body runs, ``name`` is now a link to ``first``, now one to ``second``, as fast as can be."""
    done = threading.Event()

    def swap() -> None:
        links = [name.with_suffix(f".{number}") for number in range(2)]
        while not done.is_set():
            for link, target in zip(links, (first, second), strict=True):
                link.symlink_to(target)
                link.replace(name)

    thread = threading.Thread(target=swap)
    thread.start()
    try:
        yield
    finally:
        done.set()
        thread.join()


@pytest.mark.parametrize("parent", [False, True], ids=["the file", "its directory"])
def test_a_swap_between_check_and_use_never_lets_anything_out(place: Path, parent: bool) -> None:
    (place / "outside").mkdir()
    (place / "outside/a.png").write_bytes(b"secret")
    inside, outside = place / "root/sub", place / "outside"
    name, path = place / "root/way", "way/a.png"
    if not parent:
        inside, outside, path = inside / "a.png", outside / "a.png", "way"
    name.symlink_to(inside)
    roots = Roots([place / "root"], 100)
    seen: dict[bytes | str, int] = {}
    with swapped(inside, outside, name):
        for _ in range(100_000):
            if len(seen) == 2 and sum(seen.values()) >= 2000:
                break
            try:
                outcome: bytes | str = roots.read(path)
            except ValueRefused as refused:
                outcome = str(refused)
            seen[outcome] = seen.get(outcome, 0) + 1
    assert set(seen) == {b"picture a", LEADS_OUT}


def test_what_is_opened_is_checked_and_not_only_the_name(place: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The race of the test above, always won by the attacker: the file is swapped after its name was resolved."""
    roots = Roots([place / "root"], 100)
    real = roots._followed

    def slow(path: str) -> str | None:
        found = real(path)
        (place / "root/sub/a.png").unlink(missing_ok=True)
        (place / "root/sub/a.png").symlink_to(place / "secret.png")
        return found

    monkeypatch.setattr(roots, "_followed", slow)
    assert refusal(roots, "sub/a.png") == LEADS_OUT


def test_a_file_that_the_server_s_user_may_not_read_is_refused(place: Path) -> None:
    (place / "root/sub/a.png").chmod(0)
    open_the_way(place)
    child = os.fork()
    if child == 0:
        status = 1
        try:
            if os.geteuid() == 0:
                os.setuid(65534)
            Roots([place / "root"], 100).read("sub/a.png")
        except ValueRefused as refused:
            status = 0 if str(refused) == "permission denied" else 2
        finally:
            os._exit(status)
    assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0


@as_root
def test_nothing_outside_is_read_while_another_user_exchanges_files_and_directories(place: Path) -> None:
    """Anything may change between checking and reading a path: the opened file is checked, not its name."""
    root, secret = place / "root", place / "secret.png"
    secret.chmod(0o600)
    os.chown(root, CLICKHOUSE, CLICKHOUSE)
    open_the_way(place)

    def exchange() -> None:
        (root / "real").mkdir()
        (root / "real/secret.png").write_bytes(b"picture")
        while True:
            for name, target in (("x.png", secret), ("d", place)):
                (root / "new").symlink_to(target)
                (root / "new").rename(root / name)
            (root / "new").write_bytes(b"picture")
            (root / "new").rename(root / "x.png")
            (root / "new").symlink_to("real")
            (root / "new").rename(root / "d")

    other = os.fork()
    if other == 0:
        try:
            os.setgroups([])
            os.setgid(CLICKHOUSE)
            os.setuid(CLICKHOUSE)
            exchange()
        finally:
            os._exit(1)
    seen = set()
    roots = Roots([root], 100)
    try:
        while True:
            for path in ("x.png", "d/secret.png"):
                try:
                    seen.add((path, roots.read(path)))
                except ValueRefused as refused:
                    seen.add((path, str(refused)))
            assert os.waitpid(other, os.WNOHANG) == (0, 0)
            if {(path, what) for path in ("x.png", "d/secret.png") for what in (b"picture", LEADS_OUT)} <= seen:
                break
    finally:
        os.kill(other, signal.SIGKILL)
        os.waitpid(other, 0)
    absent = "no such file in the directories that encode_image may read"
    assert {what for _, what in seen} <= {b"picture", LEADS_OUT, absent}


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


def test_without_proc_no_picture_directory_is_opened(place: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(confinement, "_DESCRIPTORS", place / "no-proc")
    with pytest.raises(SettingsError, match="mount /proc"):
        Roots([place / "root"], 100)


def test_no_descriptor_is_left_open(place: Path) -> None:
    roots = Roots([place / "root"], 100)
    before = len(list(Path("/proc/self/fd").iterdir()))
    for _ in range(20):
        roots.read("sub/a.png")
        refusal(roots, "sub")
        refusal(roots, "none")
    assert len(list(Path("/proc/self/fd").iterdir())) == before
