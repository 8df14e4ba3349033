"""Check of a search page: whether the server has all of its handlers."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING

from clip_installer.install.checks.findings import Finding, ok, problem
from clip_installer.tables.page_deployment import plan_page
from clip_installer.tables.search_page import SearchPage

if TYPE_CHECKING:
    from clip_installer.clickhouse.database import Database


def check_page(database: Database, page: SearchPage) -> Iterator[Finding]:
    """Whether the server has every handler of the page as this version makes it."""
    wrong = [step for step in plan_page(database, page) if step.action != "unchanged"]
    if wrong:
        yield problem("search page", f"{wrong[0].url}: {wrong[0].reason}", "run install-udfs again")
    else:
        yield ok("search page", f"all {len(page.handlers)} handlers below {page.url} are as they were installed")
