"""When a worker believes the installer's record of hashed files, and when it hashes them itself."""

from __future__ import annotations

import json
import os
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest

from clip_udfs import integrity
from clip_udfs.bundle import Bundle
from clip_udfs.errors import BundleError
from clip_udfs.integrity import Digests, vouched
from clip_udfs.verified import VERIFIED, Identity, Verified, VerifiedFiles
from tests.server_trees import make_bundle

FILE = "text.weights"


@pytest.fixture
def bundle(tmp_path: Path) -> Bundle:
    """A bundle with the record that an installer would leave beside it."""
    made = make_bundle(tmp_path / "revision" / "bundle")
    record(made)
    return made


def record(bundle: Bundle) -> None:
    files = {
        name: Verified(one.sha256, Identity.of(bundle.file(name).stat())) for name, one in bundle.manifest.files.items()
    }
    (bundle.directory.parent / VERIFIED).write_text(VerifiedFiles(bundle.directory, files).to_json())


def hashed(bundle: Bundle, monkeypatch: pytest.MonkeyPatch) -> set[str]:
    """Names of the files that a worker hashes before it takes the bundle; the bundle must be sound."""
    seen: set[str] = set()
    compute = integrity.sha256

    def watched(path: Path) -> str:
        seen.add(path.name)
        return compute(path)

    monkeypatch.setattr(integrity, "sha256", watched)
    with vouched(bundle.records(*bundle.manifest.files), digests(bundle)):
        pass
    monkeypatch.setattr(integrity, "sha256", compute)
    return seen


def digests(bundle: Bundle) -> Digests:
    return Digests({}, VerifiedFiles.beside(bundle.directory).holds)


def test_a_file_that_was_not_touched_is_not_hashed(bundle: Bundle, monkeypatch: pytest.MonkeyPatch) -> None:
    assert hashed(bundle, monkeypatch) == set()
    (bundle.directory.parent / VERIFIED).unlink()
    assert hashed(bundle, monkeypatch) == set(bundle.manifest.files)


@pytest.mark.parametrize("limit", [0, 1 << 20], ids=["large", "small"])
def test_other_content_of_the_same_length_and_time_is_refused(
    bundle: Bundle, monkeypatch: pytest.MonkeyPatch, limit: int
) -> None:
    """Everything that a program can set is as before: only the kernel's own time of change tells."""
    monkeypatch.setattr(integrity, "_HASHED_MEANWHILE", limit)
    path = bundle.file(FILE)
    before = path.stat()
    path.write_bytes(b"WEIGHTS")
    os.utime(path, ns=(before.st_atime_ns, before.st_mtime_ns))
    after = path.stat()
    assert (after.st_ino, after.st_size, after.st_mtime_ns) == (before.st_ino, before.st_size, before.st_mtime_ns)
    with pytest.raises(BundleError, match=r"text\.weights was altered"), vouched(bundle.records(FILE), digests(bundle)):
        pass


def test_a_large_file_that_changes_while_it_is_loaded_is_refused(
    bundle: Bundle, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(integrity, "_HASHED_MEANWHILE", 0)
    with pytest.raises(BundleError, match=r"text\.weights was altered"), vouched(bundle.records(FILE), digests(bundle)):
        bundle.file(FILE).write_bytes(b"WEIGHTS")


def touch(path: Path) -> None:
    path.touch()


def change_mode(path: Path) -> None:
    path.chmod(0o600)


def restore_a_backup(path: Path) -> None:
    """The same content with the same times, as ``cp -a`` and tar put it back."""
    shutil.copy2(path, path.with_name("backup"))
    path.with_name("backup").replace(path)


def link_it_elsewhere(path: Path) -> None:
    """As backups by hard links do: the content could be changed under the other name."""
    path.with_name("second").hardlink_to(path)


@pytest.mark.parametrize("happens", [touch, change_mode, restore_a_backup, link_it_elsewhere])
def test_a_touched_file_is_hashed(
    bundle: Bundle, monkeypatch: pytest.MonkeyPatch, happens: Callable[[Path], None]
) -> None:
    happens(bundle.file(FILE))
    assert hashed(bundle, monkeypatch) == {FILE}


def test_a_copied_installation_is_hashed(bundle: Bundle, monkeypatch: pytest.MonkeyPatch) -> None:
    copy = shutil.copytree(bundle.directory.parent, bundle.directory.parent.with_name("copy"), symlinks=True)
    assert hashed(Bundle.open(copy / "bundle"), monkeypatch) == set(bundle.manifest.files)


def test_a_truncated_file_is_refused(bundle: Bundle) -> None:
    os.truncate(bundle.file(FILE), 3)
    with pytest.raises(BundleError, match="has 3 bytes, the manifest says 7"):
        Bundle.open(bundle.directory)
    with pytest.raises(BundleError, match="was altered"), vouched(bundle.records(FILE), digests(bundle)):
        pass


def test_a_link_in_the_place_of_a_file_is_hashed(bundle: Bundle, monkeypatch: pytest.MonkeyPatch) -> None:
    path = bundle.file(FILE)
    path.rename(path.with_name("real"))
    path.symlink_to("real")
    assert FILE in hashed(bundle, monkeypatch)


def test_a_record_of_another_model_vouches_for_nothing(bundle: Bundle, monkeypatch: pytest.MonkeyPatch) -> None:
    path = bundle.directory.parent / VERIFIED
    values = json.loads(path.read_text())
    values["files"][FILE]["sha256"] = "0" * 64
    path.write_text(json.dumps(values))
    assert hashed(bundle, monkeypatch) == {FILE}


@pytest.mark.parametrize("mode", [0o664, 0o646])
def test_a_record_that_others_can_write_is_not_believed(
    bundle: Bundle, monkeypatch: pytest.MonkeyPatch, mode: int
) -> None:
    (bundle.directory.parent / VERIFIED).chmod(mode)
    assert hashed(bundle, monkeypatch) == set(bundle.manifest.files)


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can give a file away")
def test_a_record_of_another_user_is_not_believed(bundle: Bundle, monkeypatch: pytest.MonkeyPatch) -> None:
    os.chown(bundle.directory.parent / VERIFIED, 65_534, 65_534)
    assert hashed(bundle, monkeypatch) == set(bundle.manifest.files)


@pytest.mark.parametrize(
    "content",
    ["", "[]", "{}", '{"format_version": 2, "files": {}}', '{"format_version": 1, "files": {"text.weights": {}}}', "["],
)
def test_a_damaged_record_is_ignored(bundle: Bundle, monkeypatch: pytest.MonkeyPatch, content: str) -> None:
    (bundle.directory.parent / VERIFIED).write_text(content)
    assert hashed(bundle, monkeypatch) == set(bundle.manifest.files)


@pytest.mark.parametrize("make", [os.mkfifo, os.mkdir, lambda path: path.symlink_to(path.with_name("elsewhere"))])
def test_a_record_that_is_no_file_is_ignored(
    bundle: Bundle, monkeypatch: pytest.MonkeyPatch, make: Callable[[Path], None]
) -> None:
    path = bundle.directory.parent / VERIFIED
    path.rename(path.with_name("elsewhere"))
    make(path)
    assert hashed(bundle, monkeypatch) == set(bundle.manifest.files)
