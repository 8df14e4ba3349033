"""Manifests, bundles, records and journals that somebody else may have written: what is tried on each, and from what.

Each function takes the bytes of a case and says what is wrong with the outcome: ``""`` for nothing, and whether the
case was accepted. What is refused is refused in one printable line; what is accepted leads nowhere else.
"""

from __future__ import annotations

import json
import os
import tempfile
from collections.abc import Callable
from functools import cache
from hashlib import sha256
from pathlib import Path
from typing import Any

from clip_installer.install.disk.disk import Disk
from clip_installer.install.records.records import Backup, InstalledModel, OwnFile, Records
from clip_installer.install.transaction.change import Change
from clip_installer.install.transaction.journal import Adopted, Transaction
from clip_installer.server.config import ServerConfig
from clip_udfs.bundle import Bundle
from clip_udfs.errors import ClipUdfError, printable
from clip_udfs.integrity import vouched
from clip_udfs.manifest import MANIFEST, Manifest
from tests.server_trees import make_bundle, make_config

# What a bundle's file can be in the place of a file.
KINDS = ("file", "link", "link to a directory", "second name", "pipe", "directory", "absent")
_SECRET = b"weights of somebody else"


def sound_records(disk: Disk) -> tuple[Records, Transaction]:
    """Records and a journal that are in order."""
    definition, home = disk.config.directory / "encode_text_function.xml", disk.places.home
    kept = disk.places.state / "replaced" / "0-a"
    files = (OwnFile(definition, "0" * 64), OwnFile(home / "m" / "launch", "1" * 64))
    model = InstalledModel("", "m", "1", "/python", ("encode_text",), files, (Backup(definition, kept),))
    hidden = definition.with_name(".clip-udfs-0123456789abcdef.old")
    changes = (Change(definition, hidden, hidden.with_suffix(".new"), existed=True),)
    transaction = Transaction(changes, (home,), (home,), (Adopted(home, 1, 1, 0o755),), "swapping")
    return Records().with_model(disk.config.main_file, model, [home]), transaction


def sound_bundle() -> dict[str, Any]:
    """A bundle as a case describes it: its manifest, and the kind and content of each file."""
    with tempfile.TemporaryDirectory() as place:
        directory = make_bundle(Path(place) / "bundle").directory
        manifest = json.loads((directory / MANIFEST).read_bytes())
        files = {name: ["file", (directory / name).read_text()] for name in manifest["files"]}
    return {"manifest": manifest, "files": files}


def records(content: bytes, disk: Disk) -> tuple[str, bool]:
    """Accepted records name no path outside the installation's places."""
    found = _parsed(lambda: Records.from_json(content, disk))
    if isinstance(found, str):
        return found, False
    paths = [*found.directories, *(file.path for model in found.models for file in model.files)]
    paths += [path for model in found.models for backup in model.backups for path in (backup.path, backup.kept)]
    return _outside(disk, paths), True


def journal(content: bytes, disk: Disk) -> tuple[str, bool]:
    """An accepted journal changes no file outside the installation's places; what it hides has names of its own."""
    found = _parsed(lambda: Transaction.from_json(content, disk))
    if isinstance(found, str):
        return found, False
    paths = [*found.directories, *found.obsolete, *(one.path for one in found.adopted)]
    paths += [change.target for change in found.changes]
    for change in found.changes:
        for hidden in filter(None, (change.saved, change.staged)):
            if not hidden.name.startswith(".clip-udfs-") or hidden.parent not in change.target.parents:
                return f"hides a file as {hidden}", True
    return _outside(disk, paths), True


def manifest(content: bytes) -> tuple[str, bool]:
    """An accepted manifest is the same when it is written and read again."""
    found = _parsed(lambda: Manifest.from_json(content, "manifest.json"))
    if isinstance(found, str):
        return found, False
    again = Manifest.from_json(found.to_json().encode(), "manifest.json")
    return ("" if again == found else f"{again} is not {found}"), True


def bundle(content: bytes) -> tuple[str, bool]:
    """An accepted bundle consists of regular files of its own with their SHA-256."""
    with tempfile.TemporaryDirectory() as place:
        directory = _laid_out(content, Path(place))
        if directory is None:
            return "", False
        found = _parsed(lambda: _opened(directory))
        if isinstance(found, str):
            return found, False
        for name, record in found.manifest.files.items():
            path = directory / name
            outside = path.is_symlink() or path.resolve() != directory.resolve() / name or not path.is_file()
            if outside or sha256(path.read_bytes()).hexdigest() != record.sha256:
                return f"accepts {name}, which is not what the manifest says", True
    return "", True


@cache
def a_server() -> Disk:
    """A server with nothing installed, for the life of this process."""
    place = tempfile.TemporaryDirectory(prefix="clip-udfs-fuzz-")
    _kept.append(place)
    return Disk(ServerConfig.read(make_config(Path(place.name))))


def sound_documents() -> tuple[bytes, bytes]:
    """Records and a journal that are in order, for any process: each has another server, whose place is ``@`` here."""
    records, journal = sound_records(a_server())
    return records.to_json().encode().replace(_place(), b"@"), journal.to_json().replace(_place(), b"@")


def here(content: bytes) -> bytes:
    """A case made of :func:`sound_documents`, for this process's server."""
    return content.replace(b"@", _place())


def _place() -> bytes:
    a_server()
    return _kept[0].name.encode()


_kept: list[tempfile.TemporaryDirectory[str]] = []


def _parsed(parse: Callable[[], Any]) -> Any:
    """What was parsed, or what is wrong with the refusal, ``""`` for nothing."""
    try:
        return parse()
    except ClipUdfError as error:
        return "" if str(error) == printable(str(error)) else f"refused in {str(error)!r}"


def _outside(disk: Disk, paths: list[Path]) -> str:
    outside = [path for path in paths if not (disk.places.holds_file(path) or disk.places.holds_directory(path))]
    return f"names {outside[0]}" if outside else ""


def _opened(directory: Path) -> Bundle:
    opened = Bundle.open(directory)
    with vouched(opened.records(*opened.manifest.files)):
        pass
    return opened


def _laid_out(content: bytes, place: Path) -> Path | None:
    """The bundle that a case describes, on the disk; None where it describes none."""
    try:
        case = json.loads(content)
        files = [(name, *case["files"][name]) for name in sound_files() if name in case["files"]]
        text = json.dumps(case["manifest"])
    except (ValueError, TypeError, KeyError, RecursionError):
        return None
    directory, elsewhere = place / "bundle", place / "elsewhere"
    directory.mkdir()
    elsewhere.mkdir()
    (directory / MANIFEST).write_text(text)
    for name, *described in files:
        kind, held = (*described, "file", "")[:2] if described else ("file", "")
        data = held.encode("utf-8", "replace") if isinstance(held, str) else _SECRET
        _make(directory / name, elsewhere / name, str(kind), data)
    return directory


def _make(path: Path, elsewhere: Path, kind: str, data: bytes) -> None:
    if kind == "pipe":
        os.mkfifo(path)
    elif kind == "directory":
        path.mkdir()
    elif kind == "link to a directory":
        path.symlink_to(elsewhere.parent)
    elif kind in ("link", "second name"):
        elsewhere.write_bytes(data)
        (path.symlink_to if kind == "link" else path.hardlink_to)(elsewhere)
    elif kind != "absent":
        path.write_bytes(data)


@cache
def sound_files() -> tuple[str, ...]:
    """The names of the files of :func:`sound_bundle`."""
    return tuple(sound_bundle()["files"])
