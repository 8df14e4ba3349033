"""``clip-udfs search-page`` on a server that knows handlers."""

from __future__ import annotations

import json
from collections.abc import Callable
from contextlib import AbstractContextManager, nullcontext
from typing import Any

import pytest
from click.testing import CliRunner
from lxml import etree

from clip_installer.clickhouse.connection import ConnectionOptions
from clip_installer.commands.installation.search_page import search_page
from clip_installer.errors import ConflictError, UsageProblem
from tests.unit.installer.tables.search_page.test_page import Server

Run = Callable[..., Any]
COMMENT = "CLIP vectors of tiny, 512 numbers, bundle 0123456789ab"


class Tables(Server):
    """A server with handlers, and tables with comments."""

    def __init__(self, *tables: str) -> None:
        super().__init__()
        self._tables = tables

    def exists(self, table: str) -> bool:
        return table in self._tables

    def value(self, statement: str) -> Any:
        if "comment" in statement:
            return COMMENT
        return "shop" if "currentDatabase" in statement else super().value(statement)


@pytest.fixture
def server() -> Tables:
    return Tables("laion", "search_by_text", "laion_b", "search_by_text_b")


@pytest.fixture
def run(server: Tables, monkeypatch: pytest.MonkeyPatch) -> Run:
    def connect(self: ConnectionOptions) -> AbstractContextManager[Tables]:
        return nullcontext(server)

    monkeypatch.setattr(ConnectionOptions, "connect", connect)

    def invoke(*arguments: str) -> str:
        done = CliRunner().invoke(search_page, ["--url", "http://localhost", *arguments], catch_exceptions=False)
        assert done.exit_code == 0, done.output
        return done.output

    return invoke


def test_it_says_what_it_did_and_does_it_once(run: Run, server: Tables) -> None:
    """The address is printed last."""
    assert run().endswith("The search page is at /clip of the server's HTTP port.\n")
    assert run().endswith("Nothing changed.\n")
    about = server.handlers["clip_page_about"][1]
    assert "'tiny' AS model" in about
    assert "FROM shop.laion" in about


def test_a_dry_run_shows_every_statement_and_changes_nothing(run: Run, server: Tables) -> None:
    """The page itself is shortened."""
    said = run("--dry-run")
    assert server.handlers == {}
    assert said.count("CREATE HANDLER") == len(json.loads(run("--json", "--dry-run"))["handlers"])
    assert len(said) < 30_000


def test_pages_of_two_models_stand_beside_each_other(run: Run, server: Tables) -> None:
    """Each can be removed separately, and nothing is left."""
    run()
    run("--table", "laion_b", "--suffix", "b")
    assert run("--remove").endswith("The search page was removed.\n")
    assert {url.partition("/clip")[2].partition("/")[0] for url, _ in server.handlers.values()} == {"_b"}
    run("--remove", "--suffix", "b")
    assert server.handlers == {}
    assert "there is no search page at /clip_b" in run("--remove", "--suffix", "b", "--table", "laion_b")


def test_a_configuration_file_is_printed_as_it_is(run: Run, server: Tables) -> None:
    """So that it can be redirected into config.d."""
    assert etree.fromstring(run("--http-handlers")).tag == "clickhouse"
    assert server.handlers == {}


def test_the_statements_for_a_search_user_are_printed_and_not_run(run: Run, server: Tables) -> None:
    """With the page's own table and views, and how to remove the user."""
    said = run("--search-user", "search")
    assert "GRANT SELECT ON shop.search_by_text TO search;\n" in said
    assert said.endswith("-- DROP SETTINGS PROFILE IF EXISTS search;\n")
    assert server.handlers == {}


def test_what_is_missing_is_named(run: Run) -> None:
    """A table, the views of a suffix, or one of two options too many."""
    with pytest.raises(ConflictError, match="there is no other on this server"):
        run("--table", "other")
    with pytest.raises(ConflictError, match="there is no search_by_text_c on this server"):
        run("--suffix", "c")
    with pytest.raises(UsageProblem, match="choose one"):
        run("--remove", "--http-handlers")
