"""The search page in an install's plan."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from hashlib import sha256
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from lxml import etree

from clip_installer.clickhouse.address import parse_url
from clip_installer.clickhouse.connection import ConnectionOptions
from clip_installer.errors import SqlError
from clip_installer.install.checks.search_page import (
    PageDelivery,
    check_delivery,
    check_handlers,
    check_page,
    check_served,
    choose_delivery,
    plan_handlers,
)
from clip_installer.install.records.records import OwnFile, Records
from clip_installer.server.config import ServerConfig
from clip_installer.tables.search_page.deployment import deploy_page, plan_page
from clip_installer.tables.search_page.page import MARK
from tests.server_trees import make_config
from tests.unit.installer.tables.search_page.test_page import Server, rendered

MANIFEST: Any = SimpleNamespace()
THEIRS = "<clickhouse><http_handlers><rule><url>{}</url></rule>{}</http_handlers></clickhouse>"


class Settled(SimpleNamespace):
    """A request, as far as the search page goes."""

    suffix = ""

    def search_page(self, manifest: Any, database: str) -> Any:
        return rendered(table=f"{database}.laion") if self.wanted else None


def asked(*, wanted: bool, before: bool | None) -> Any:
    """A request now, and what the installation asked for before; None where there is none."""
    recorded = None if before is None else SimpleNamespace(options={"search-page": before})
    return Settled(wanted=wanted, before=recorded)


def wanted_on(root: Path, handlers: str | None = None, file: bytes | None = None, **drop_ins: str) -> Any:
    """A request for a page on the configuration below ``root``; ``file`` is the installed page, unchanged."""
    directory = make_config(root, **{f"config.d__{name}.xml": text for name, text in drop_ins.items()})
    before, records = None, Records()
    if file is not None:
        path = directory / "config.d/clip_page.xml"
        path.parent.mkdir(exist_ok=True)
        path.write_bytes(file)
        own = OwnFile(path, sha256(file).hexdigest())
        before = SimpleNamespace(suffix="", files=(own,), options={"search-page": True})
        records = Records(models=(before,))  # type: ignore[arg-type]
    target = SimpleNamespace(config=ServerConfig.read(directory), records=records)
    return Settled(wanted=True, before=before, target=target, options={"page-handlers": handlers})


def delivered(settled: Any, database: Any) -> PageDelivery:
    delivery = choose_delivery(settled, MANIFEST, database)
    assert delivery is not None
    return delivery


def plan(server: Any, settled: Any) -> set[str]:
    return {step.action for step in plan_handlers(settled, MANIFEST, server, "sql")}


@pytest.mark.parametrize(
    ("knows_handlers", "option", "by", "reason"),
    [
        (True, None, "sql", "this is ClickHouse 25.8.1, which has CREATE HANDLER"),
        (False, None, "config", "this is ClickHouse 25.8.1, and CREATE HANDLER needs 26.8"),
        (True, "config", "config", "--page-handlers config"),
        (False, "sql", "sql", "--page-handlers sql"),
    ],
)
def test_the_server_decides_the_way_unless_the_user_does(
    tmp_path: Path, knows_handlers: bool, option: str | None, by: str, reason: str
) -> None:
    """And the plan says why."""
    delivery = delivered(wanted_on(tmp_path, option), Server(handlers=knows_handlers))
    assert (delivery.by, delivery.reason) == (by, reason)
    assert (delivery.file is None) is (by == "sql")


def test_a_page_in_the_configuration_stays_there(tmp_path: Path) -> None:
    """On a server that can create handlers by now, and as it is where no server says which database it is for."""
    old = b"<clickhouse/>"
    settled = wanted_on(tmp_path, file=old)
    assert delivered(settled, Server()).by == "config"
    without_server = delivered(settled, None)
    assert without_server.file is not None
    assert without_server.file.content == old
    assert delivered(wanted_on(tmp_path / "new"), None).by == "sql"


def test_the_file_has_every_handler_and_keeps_the_servers_own_endpoints(tmp_path: Path) -> None:
    """Except where somebody has closed those on purpose."""
    for closed in (False, True):
        others = {"theirs": THEIRS.format("/theirs", "")} if closed else {}
        file = delivered(wanted_on(tmp_path / str(closed), "config", **others), Server()).file
        assert file is not None
        assert file.path.name == "clip_page.xml"
        root = etree.fromstring(file.content)
        assert len(root.findall("http_handlers/rule")) == len(rendered().handlers)
        assert (root.find("http_handlers/defaults") is None) is closed


def test_somebody_elses_rule_is_a_problem_before_the_change(tmp_path: Path) -> None:
    """With the file that has it; the page that is installed already is ours."""
    settled = wanted_on(tmp_path, "config", theirs=THEIRS.format("/clip/text", "<defaults/>"), file=b"<clickhouse/>")
    (finding,) = check_delivery(settled, delivered(settled, Server()), Server())  # type: ignore[arg-type]
    assert (finding.level, finding.subject) == ("problem", "search page")
    file = settled.target.config.directory / "config.d/theirs.xml"
    assert finding.message == f"/clip/text: {file} has a rule for /clip/text"
    every = wanted_on(tmp_path / "every", theirs=THEIRS.replace("<url>{}</url>", "").format("<defaults/>"))
    found = list(check_delivery(every, delivered(every, Server()), None))
    assert len(found) == len(rendered().handlers)
    assert "without <url>, for every address" in found[0].message


def test_expressions_of_rules_are_matched_by_the_server(tmp_path: Path) -> None:
    """Python could take forever for one, and knows others; an expression that no server takes serves nothing."""

    class Matching(Server):
        def value(self, statement: str) -> Any:
            if "match(" not in statement:
                return super().value(statement)
            if "(?:(/)$)" in statement:
                raise SqlError("cannot compile")
            assert "'^(?:/clip/t.*)$'" in statement
            return ["/clip/text"]

    rules = THEIRS.format("regex:/clip/t.*", "<defaults/>"), THEIRS.format("regex:(/)$", "<defaults/>")
    settled = wanted_on(tmp_path, theirs=rules[0], others=rules[1])
    delivery = delivered(settled, Matching())
    (finding,) = check_delivery(settled, delivery, Matching())  # type: ignore[arg-type]
    assert finding.message.endswith("theirs.xml has a rule for regex:/clip/t.*")
    assert list(check_delivery(settled, delivery, None)) == []


def test_a_query_that_the_server_cannot_parse_is_never_written(tmp_path: Path) -> None:
    """It would not start again."""

    class Older(Server):
        def value(self, statement: str) -> Any:
            return 2 if "formatQuery" in statement else super().value(statement)

    settled = wanted_on(tmp_path, "config")
    (finding,) = check_delivery(settled, delivered(settled, Older()), Older())  # type: ignore[arg-type]
    assert (finding.level, finding.message.partition(":")[0]) == ("problem", "/clip/about")


@pytest.fixture
def endpoint() -> Iterator[Any]:
    """An HTTP server that answers every request with the headers in its ``headers``."""

    class Answer(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            self.server.asked = self.headers["Authorization"]  # type: ignore[attr-defined]
            self.send_response(200)
            for name, value in self.server.headers.items():  # type: ignore[attr-defined]
                self.send_header(name, value)
            self.end_headers()

        def log_message(self, *arguments: object) -> None:
            pass

    server: Any = HTTPServer(("127.0.0.1", 0), Answer)
    server.headers = {}
    threading.Thread(target=server.serve_forever, daemon=True).start()
    yield server
    server.shutdown()
    server.server_close()


def test_a_page_that_is_not_served_yet_says_how_to_have_it_served(endpoint: Any) -> None:
    """By the mark in the page's headers; only what is served now is served."""
    file, page = Path("/etc/clickhouse-server/config.d/clip_page.xml"), rendered()
    connection = ConnectionOptions(parse_url(f"http://me:secret@127.0.0.1:{endpoint.server_port}"))
    finding = check_served(connection, page, file)
    assert (finding.level, "it is not served yet" in finding.message) == ("note", True)
    assert endpoint.asked == "Basic bWU6c2VjcmV0"
    endpoint.headers = {MARK: "0" * 12}
    assert "another version of it is served" in check_served(connection, page, file).message
    endpoint.headers = {MARK: page.handlers[0].digest}
    assert check_served(connection, page, file).level == "ok"
    assert check_served(None, page, file).level == "note"
    gone = ConnectionOptions(parse_url("http://127.0.0.1:1"))
    assert "it is not served yet" in check_served(gone, page, file).message


def test_a_page_is_created_kept_or_removed_as_requested() -> None:
    """Requested: created once. No longer requested: removed. Never requested: left to whoever created it."""
    server: Any = Server()
    assert plan(server, asked(wanted=False, before=None)) == set()
    assert plan(server, asked(wanted=True, before=None)) == {"create"}
    deploy_page(server, plan_page(server, rendered(table="default.laion")))
    assert plan(server, asked(wanted=True, before=True)) == {"unchanged"}
    assert plan(server, asked(wanted=False, before=True)) == {"remove"}
    assert plan(server, asked(wanted=False, before=False)) == set()
    in_configuration = plan_handlers(asked(wanted=True, before=True), MANIFEST, server, "config")
    assert {step.action for step in in_configuration} == {"remove"}


def test_somebody_elses_address_is_a_problem_before_the_change() -> None:
    """With the handler's name, and what to do."""
    server: Any = Server()
    server.command("CREATE HANDLER theirs URL '/clip/text' METHODS (GET) AS\nSELECT 1")
    (finding,) = check_handlers(plan_page(server, rendered()))
    assert (finding.level, finding.subject) == ("problem", "search page")
    assert finding.message == "/clip/text: the handler theirs has this address"
    assert "--suffix" in finding.remedy


def test_an_installed_page_is_compared_handler_by_handler() -> None:
    """A dropped or changed handler is named; a server without the feature says so."""
    server: Any = Server()
    deploy_page(server, plan_page(server, rendered()))
    assert [one.level for one in check_page(server, rendered())] == ["ok"]
    del server.handlers["clip_page_row"]
    (finding,) = check_page(server, rendered())
    assert (finding.level, finding.message.partition(":")[0]) == ("problem", "/clip/row")
    old: Any = Server(handlers=False)
    assert [one.level for one in check_page(old, rendered())] == ["problem"]
