"""Records and journals with any value exchanged for any other: accepted or refused in one line, never used blindly."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from clip_installer.install.disk.disk import Disk
from clip_installer.install.records.records import Backup, InstalledModel, OwnFile, Records
from clip_installer.install.transaction.transaction import Adopted, Change, Transaction
from clip_installer.server.config import ServerConfig
from clip_udfs.errors import ClipUdfError
from tests.server_trees import make_config

JSON = st.recursive(
    st.none()
    | st.booleans()
    | st.integers()
    | st.floats()
    | st.text(max_size=20)
    | st.sampled_from(["/etc/shadow", "/", "..", "/var/lib/../../etc/x_function.xml", "\x1b[2J", "~", "//"]),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=8), inner, max_size=4),
    max_leaves=8,
)


@pytest.fixture(scope="module")
def disk(tmp_path_factory: pytest.TempPathFactory) -> Disk:
    """A server with nothing installed."""
    return Disk(ServerConfig.read(make_config(tmp_path_factory.mktemp("server"))))


def exchanged(data: st.DataObject, values: Any) -> bytes:
    """``values`` with one value, somewhere, exchanged for any other."""
    place, key = values, data.draw(st.sampled_from(sorted(values)))
    while place[key] and isinstance(place[key], (dict, list)) and data.draw(st.integers(0, 3)):
        place = place[key]
        key = data.draw(st.sampled_from(sorted(place) if isinstance(place, dict) else range(len(place))))
    place[key] = data.draw(JSON)
    return json.dumps(values).encode()


def sound(disk: Disk) -> tuple[Records, Transaction]:
    """Records and a journal that are in order."""
    definition, home = disk.config.directory / "encode_text_function.xml", disk.places.home
    kept = disk.places.state / "replaced" / "0-a"
    files = (OwnFile(definition, "0" * 64), OwnFile(home / "m" / "launch", "1" * 64))
    model = InstalledModel("", "m", "1", "/python", ("encode_text",), files, (Backup(definition, kept),))
    hidden = definition.with_name(".clip-udfs-0123456789abcdef.old")
    changes = (Change(definition, hidden, hidden.with_suffix(".new"), existed=True),)
    transaction = Transaction(changes, (home,), (home,), (Adopted(home, 1, 1, 0o755),), "swapping")
    return Records().with_model(disk.config.main_file, model, [home]), transaction


def outside(disk: Disk, path: Path) -> bool:
    return not (disk.places.holds_file(path) or disk.places.holds_directory(path))


@settings(max_examples=300, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(data=st.data())
def test_any_records(disk: Disk, data: st.DataObject) -> None:
    """What is accepted names no path outside this installation's places."""
    content = exchanged(data, json.loads(sound(disk)[0].to_json()))
    try:
        records = Records.from_json(content, disk)
    except ClipUdfError as error:
        assert str(error).isprintable()
        return
    paths = [*records.directories, *(file.path for model in records.models for file in model.files)]
    paths += [path for model in records.models for backup in model.backups for path in (backup.path, backup.kept)]
    assert not [path for path in paths if outside(disk, path)]


@settings(max_examples=300, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(data=st.data())
def test_any_journal(disk: Disk, data: st.DataObject) -> None:
    """What is accepted changes no file outside this installation's places."""
    content = exchanged(data, json.loads(sound(disk)[1].to_json()))
    try:
        journal = Transaction.from_json(content, disk)
    except ClipUdfError as error:
        assert str(error).isprintable()
        return
    paths = [*journal.directories, *journal.obsolete, *(one.path for one in journal.adopted)]
    paths += [change.target for change in journal.changes]
    assert not [path for path in paths if outside(disk, path)]
    for change in journal.changes:
        for hidden in filter(None, (change.saved, change.staged)):
            assert hidden.name.startswith(".clip-udfs-")
            assert hidden.parent in change.target.parents
