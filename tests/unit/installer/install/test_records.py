"""The records: read back as written, refused when damaged."""

from __future__ import annotations

from pathlib import Path

import pytest

from clip_installer.errors import ConfigurationError
from clip_installer.install.records import Backup, InstalledModel, OwnFile, Records

MODEL = InstalledModel(
    suffix="x",
    model="m",
    version="1",
    python="/python",
    functions=("encode_text_x",),
    files=(OwnFile(Path("/etc/ä b.xml"), "00"),),
    backups=(Backup(Path("/etc/ä b.xml"), Path("/kept")),),
    drops=("DROP VIEW v",),
    schema="11",
)


def test_round_trip(tmp_path: Path) -> None:
    records = Records().with_model(Path("/etc/config.xml"), MODEL, [Path("/a"), Path("/a/b")])
    (tmp_path / "manifest.json").write_text(records.to_json(), encoding="utf-8")
    assert Records.load(tmp_path / "manifest.json") == records
    assert records.owner_of(Path("/etc/ä b.xml")) == (MODEL, MODEL.files[0])
    assert records.owner_of(Path("/other")) is None


def test_nothing_installed(tmp_path: Path) -> None:
    assert Records.load(tmp_path / "no" / "manifest.json") == Records()
    assert Records().with_model(Path("/c"), MODEL, []).without(["x"]) == Records()


@pytest.mark.parametrize(
    ("content", "said"),
    [
        ("{", "not the records' file"),
        ("[]", "not the records' file"),
        ('{"format_version": 1}', "not the records' file"),
        ('{"format_version": 2}', "format version 2"),
    ],
)
def test_damaged(tmp_path: Path, content: str, said: str) -> None:
    (tmp_path / "manifest.json").write_text(content)
    with pytest.raises(ConfigurationError, match=said):
        Records.load(tmp_path / "manifest.json")
