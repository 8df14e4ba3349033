"""The records: read back as written, and refused if damaged or if they name something impossible here."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from clip_installer.errors import ConfigurationError
from clip_installer.install.disk.disk import Disk
from clip_installer.install.records.records import Backup, InstalledModel, OwnFile, Records, load_records, records_path
from clip_installer.server.config import ServerConfig
from tests.server_trees import make_config


@pytest.fixture
def disk(tmp_path: Path) -> Disk:
    """A server with nothing installed."""
    return Disk(ServerConfig.read(make_config(tmp_path / "server")))


def model(disk: Disk) -> InstalledModel:
    definition = disk.config.directory / "encode_text_x_function.xml"
    return InstalledModel(
        suffix="x",
        model="m",
        version="1",
        python="/ä b/python",
        functions=("encode_text_x",),
        files=(OwnFile(definition, "0" * 64), OwnFile(disk.places.home / "m/bundle/torch/a.bin", "1" * 64)),
        backups=(Backup(definition, disk.places.state / "replaced" / "00-x"),),
        drops=("DROP VIEW v",),
        user="clickhouse",
        revision="0123456789ab",
        options={"pool-size": 4, "image-root": ["/a"], "functions": {"encode_text": {"pool-size": 1}}},
        effective={"pool-size": "4"},
    )


def write(disk: Disk, content: str) -> None:
    path = disk.here(records_path(disk))
    path.parent.mkdir(mode=0o700, exist_ok=True)  # pytest before 9.2 gives the folder of a test that passed again
    path.write_text(content, encoding="utf-8")


def test_round_trip(disk: Disk) -> None:
    one = model(disk)
    records = Records().with_model(disk.config.main_file, one, [disk.places.home, disk.places.home / "m"])
    write(disk, records.to_json())
    assert load_records(disk.config) == records
    assert records.owner_of(one.files[0].path) == (one, one.files[0])
    assert records.owner_of(Path("/other")) is None
    assert records.user == "clickhouse"


def test_nothing_installed(disk: Disk) -> None:
    assert load_records(disk.config) == Records()
    assert Records().with_model(Path("/c"), model(disk), []).without(["x"]) == Records()


@pytest.mark.parametrize(
    ("content", "said"),
    [
        ("{", "is not JSON"),
        ("[]", "is not a JSON object"),
        ('{"format_version": 2}', "lacks the key 'server'"),
        ('{"format_version": 3}', "has format version 3"),
        ('{"format_version": NaN}', "NaN is not a number"),
        ('{"format_version": 2, "format_version": 2}', "a key is there twice"),
        ("[" * 100_000, "nested more than"),
        ('{"format_version": ' + "9" * 5000 + "}", "is not JSON"),
        ('{"format_version": "\\u001b[31m"}', '"\\u001b[31m"'),
    ],
)
def test_damaged(disk: Disk, content: str, said: str) -> None:
    """One line names the file and what is wrong with it, whatever its content."""
    write(disk, content)
    with pytest.raises(ConfigurationError) as refused:
        load_records(disk.config)
    message = str(refused.value)
    assert said in message
    assert message.isprintable()
    assert str(disk.here(records_path(disk))) in message


def file(path: str) -> Callable[[dict[str, Any]], None]:
    def falsify(values: dict[str, Any]) -> None:
        values["models"][0]["files"][0]["path"] = path

    return falsify


def directory(path: str) -> Callable[[dict[str, Any]], None]:
    def falsify(values: dict[str, Any]) -> None:
        values["directories"].append(path)

    return falsify


def backup(key: str, path: str) -> Callable[[dict[str, Any]], None]:
    def falsify(values: dict[str, Any]) -> None:
        values["models"][0]["backups"][0][key] = path

    return falsify


def named(name: str) -> Callable[[dict[str, Any]], None]:
    def falsify(values: dict[str, Any]) -> None:
        values["models"][0]["model"] = name

    return falsify


@pytest.mark.parametrize(
    "falsify",
    [
        file("/etc/shadow"),
        file("relative"),
        file("@/../etc/encode_text_function.xml"),
        file("@/encode_text.xml"),
        file("@/etc/../../x_function.xml"),
        file("@/var/user_scripts/their_script.sh"),
        file("@/var/user_scripts/clip_udfs/m"),
        file("@/var/user_scripts/clip_udfs/m/other"),
        file("@/var/user_scripts/clip_udfs/../their_function.xml"),
        file("@/var/user_scripts/clip_udfs/.state/launch"),
        backup("path", "/etc/passwd"),
        backup("kept", "/etc/shadow"),
        backup("kept", "@/etc/config.xml"),
        directory("/etc/cron.d"),
        directory("@/var/metadata"),
        directory("@/var/user_scripts/clip_udfs/../theirs"),
        directory("var"),
        named(".."),
        named("replaced"),
        named("a/b"),
    ],
)
def test_what_no_installation_for_this_server_can_have_is_refused(
    disk: Disk, tmp_path: Path, falsify: Callable[[dict[str, Any]], None]
) -> None:
    """So edited or falsified records cannot cause other files to be removed."""
    values = json.loads(Records().with_model(disk.config.main_file, model(disk), [disk.places.home]).to_json())
    falsify(values)
    write(disk, json.dumps(values).replace("@", str(tmp_path / "server")))
    with pytest.raises(ConfigurationError, match=r"installed\.json"):
        load_records(disk.config)
