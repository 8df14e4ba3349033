"""The search page in an install's plan."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

from clip_installer.install.checks.search_page import check_handlers, check_page, plan_handlers
from clip_installer.tables.search_page.deployment import deploy_page, plan_page
from tests.unit.installer.tables.search_page.test_page import Server, rendered


class Settled(SimpleNamespace):
    """A request, as far as the search page goes."""

    suffix = ""

    def search_page(self, manifest: Any, database: str) -> Any:
        return rendered() if self.wanted else None


def asked(*, wanted: bool, before: bool | None) -> Any:
    """A request now, and what the installation asked for before; None where there is none."""
    recorded = None if before is None else SimpleNamespace(options={"search-page": before})
    return Settled(wanted=wanted, before=recorded)


def plan(server: Any, settled: Any) -> set[str]:
    return {step.action for step in plan_handlers(settled, SimpleNamespace(), server)}


def test_a_page_is_created_kept_or_removed_as_requested() -> None:
    """Requested: created once. No longer requested: removed. Never requested: left to whoever created it."""
    server: Any = Server()
    assert plan(server, asked(wanted=False, before=None)) == set()
    assert plan(server, asked(wanted=True, before=None)) == {"create"}
    deploy_page(server, plan_page(server, rendered()))
    assert plan(server, asked(wanted=True, before=True)) == {"unchanged"}
    assert plan(server, asked(wanted=False, before=True)) == {"remove"}
    assert plan(server, asked(wanted=False, before=False)) == set()


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
