"""What is refused before anything changes, each with its cause and what to do."""

from __future__ import annotations

import os
import shutil
from collections.abc import Sequence
from pathlib import Path
from types import SimpleNamespace

import pytest

from clip_installer.clickhouse.database import Database
from clip_installer.install.checks.dependents import dependents
from clip_installer.install.checks.findings import problems
from clip_installer.install.checks.preflight import check_cluster, check_host, check_rights
from clip_installer.install.plan.plan import Plan
from clip_installer.tables.deploy import Schema
from clip_installer.tables.schema import SchemaParameters
from tests.server_trees import make_bundle, make_config, make_plan


@pytest.fixture
def plan(tmp_path: Path) -> Plan:
    """The plan of a first install."""
    return make_plan(make_config(tmp_path / "server"), make_bundle(tmp_path / "bundle"))


class Server(Database):
    """A server that answers by a part of the statement; no client behind it."""

    def __init__(self, **answers: Sequence[Sequence[object]]) -> None:
        self.answers = answers

    def rows(self, statement: str, *_: object, **__: object) -> list[Sequence[object]]:
        return next((list(rows) for part, rows in self.answers.items() if part in statement.replace(" ", "_")), [])


@pytest.mark.parametrize(
    ("flag", "said", "way_out"),
    [
        (os.ST_RDONLY, "mounted read-only", "findmnt --target"),
        (os.ST_NOEXEC, "mounted noexec", "mount -o remount,exec"),
    ],
)
def test_scripts_on_a_file_system_that_cannot_have_them(
    plan: Plan, monkeypatch: pytest.MonkeyPatch, flag: int, said: str, way_out: str
) -> None:
    """The mount is named before a file is written."""
    roomy = SimpleNamespace(f_flag=flag, f_frsize=4096, f_blocks=1 << 30, f_bfree=1 << 30, f_bavail=1 << 30)
    monkeypatch.setattr(os, "statvfs", lambda _: roomy)
    (found,) = problems(check_host(plan))
    assert said in found.message
    assert way_out in found.remedy


def test_a_disk_that_is_too_small(plan: Plan, monkeypatch: pytest.MonkeyPatch) -> None:
    """The message has the free and the needed size."""
    monkeypatch.setattr(shutil, "disk_usage", lambda _: SimpleNamespace(free=1000))
    found = problems(check_host(plan))
    assert found
    assert all("1000 B free" in one.message for one in found)


def test_a_read_only_user_and_a_missing_grant() -> None:
    """The remedy is the statement that an administrator runs."""
    schema = Schema.render(SchemaParameters(table="db.laion"))
    user = {"currentUser": [("ana",)]}
    (found,) = problems(check_rights(Server(**user, readonly=[("1",)]), schema))
    assert "ana is read-only" in found.message
    answers = {**user, "readonly": [("0",)], "CREATE_VIEW": [(0,)], "GRANT": [(1,)]}
    (found,) = problems(check_rights(Server(**answers), schema))
    assert (found.message, found.remedy) == (
        "the user ana may not create the views",
        "GRANT CREATE VIEW ON db.* TO ana",
    )


def test_an_unknown_cluster_names_those_that_there_are() -> None:
    """One line, before any DDL."""
    found = check_cluster(Server(clusters=[("main",), ("test",)]), "mian")
    assert (found.level, found.remedy) == ("problem", "--cluster can be: main, test")
    assert check_cluster(Server(clusters=[("main",)]), "main").level == "ok"


def test_what_depends_on_a_function_and_what_breaks_without_it() -> None:
    """A column of a table breaks inserts; a view is only reported."""
    columns = [("db", "t", "v", "MATERIALIZED", "encode_text"), ("db", "u", "w", "ALIAS", "encode_text")]
    tables = [("db", "t", "MergeTree", "encode_text"), ("db", "theirs", "View", "encode_text")]
    server = Server(**{"system.columns": columns, "system.tables": tables})
    found = {str(one): one.breaks for one in dependents(server, ["encode_text"])}
    assert found == {
        "the MATERIALIZED column v of db.t calls encode_text": True,
        "the ALIAS column w of db.u calls encode_text": False,
        "the view of db.theirs calls encode_text": False,
    }
