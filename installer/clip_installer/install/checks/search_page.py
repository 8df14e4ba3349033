"""The search page in a plan, and the check of an installed one."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING

from clip_installer.errors import ConflictError
from clip_installer.install.checks.findings import Finding, ok, problem
from clip_installer.tables.search_page.deployment import HandlerStep, plan_page, plan_page_removal
from clip_installer.tables.search_page.page import address_of

if TYPE_CHECKING:
    from clip_installer.clickhouse.database import Database
    from clip_installer.install.request.request import SettledRequest
    from clip_installer.tables.search_page.page import SearchPage
    from clip_udfs.manifest import Manifest


def plan_handlers(settled: SettledRequest, manifest: Manifest, database: Database) -> tuple[HandlerStep, ...]:
    """What an install does to the search page's handlers: create them, or remove those that it created before.

    A page created by ``clip-udfs search-page`` does not belong to the installation, and stays.
    """
    page = settled.search_page(manifest, str(database.value("SELECT currentDatabase()")))
    if page is not None:
        return tuple(plan_page(database, page))
    before = settled.before
    if before is not None and before.options.get("search-page"):
        return tuple(plan_page_removal(database, address_of(settled.suffix)))
    return ()


def check_handlers(handlers: Sequence[HandlerStep]) -> Iterator[Finding]:
    """Whether somebody else has one of the addresses."""
    for step in handlers:
        if step.action == "refused":
            what, _, way_out = step.reason.partition("; ")
            yield problem("search page", f"{step.url}: {what}", way_out)


def check_page(database: Database, page: SearchPage) -> Iterator[Finding]:
    """Whether the server has every handler of the page as this version creates it."""
    try:
        wrong = [step for step in plan_page(database, page) if step.action != "unchanged"]
    except ConflictError as error:
        yield problem("search page", str(error), "install with --no-search-page")
        return
    if wrong:
        yield problem("search page", f"{wrong[0].url}: {wrong[0].reason}", "run install-udfs again")
    else:
        yield ok("search page", f"all {len(page.handlers)} handlers below {page.url} are as they were installed")
