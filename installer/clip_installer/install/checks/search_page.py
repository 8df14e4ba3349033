"""The search page in a plan: how its handlers are created, who else has its addresses, and whether it is served."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from hashlib import sha256
from pathlib import Path
from typing import TYPE_CHECKING, Literal

from clip_installer.clickhouse.http import response_headers
from clip_installer.clickhouse.sql import literal
from clip_installer.errors import ConflictError, SqlError
from clip_installer.install.checks.findings import Finding, note, ok, problem
from clip_installer.install.disk.disk import Disk
from clip_installer.install.files.placement import page_drop_in
from clip_installer.install.files.render import search_page_xml
from clip_installer.install.files.wanted import READABLE, WantedFile
from clip_installer.server.http_handlers import HttpHandlers, HttpRule, http_handlers
from clip_installer.tables.search_page.deployment import HandlerStep, has_handlers, plan_page, plan_page_removal
from clip_installer.tables.search_page.page import MARK, address_of
from clip_udfs.errors import printable

if TYPE_CHECKING:
    from clip_installer.clickhouse.connection import ConnectionOptions
    from clip_installer.clickhouse.database import Database
    from clip_installer.install.request.request import SettledRequest
    from clip_installer.tables.search_page.page import SearchPage
    from clip_udfs.manifest import Manifest

_SUBJECT = "search page"
_DATABASE = "default"
_MOST_BYTES = 1 << 20


@dataclass(frozen=True)
class PageDelivery:
    """A search page, and how its handlers are created.

    Attributes:
        page: The page.
        by: ``sql``, or ``config`` for a file in the server's ``config.d``.
        reason: Why this way, for the plan.
        file: That file; None if they are created by SQL.
    """

    page: SearchPage
    by: Literal["sql", "config"]
    reason: str
    file: WantedFile | None = None


def choose_delivery(settled: SettledRequest, manifest: Manifest, database: Database | None) -> PageDelivery | None:
    """How the page's handlers are created; None if no page is wanted.

    A page that is in the configuration stays there, also on a server that has learnt ``CREATE HANDLER`` meanwhile.

    Raises:
        SqlError: The user may not read the system tables.
    """
    schema = _DATABASE if database is None else str(database.value("SELECT currentDatabase()"))
    page = settled.search_page(manifest, schema)
    if page is None:
        return None
    by, reason = _way(settled, database)
    if by == "sql":
        return PageDelivery(page, "sql", reason)
    path = page_drop_in(settled.target.config, settled.suffix)
    content = _unchanged(settled, path) if database is None else None
    if content is None:
        content = search_page_xml(page, defaults=not _others(settled).closed).encode()
    return PageDelivery(page, "config", reason, WantedFile(path, READABLE, f"serves {page.url}", content))


def plan_handlers(
    settled: SettledRequest, manifest: Manifest, database: Database, by: str | None
) -> tuple[HandlerStep, ...]:
    """What an install does to handlers created by SQL: create them, or remove those that it created before.

    A page created by ``clip-udfs search-page`` does not belong to the installation, and stays.
    """
    page = settled.search_page(manifest, str(database.value("SELECT currentDatabase()")))
    if page is not None and by == "sql":
        return tuple(plan_page(database, page))
    before = settled.before
    if before is not None and before.options.get("search-page"):
        return tuple(plan_page_removal(database, address_of(settled.suffix)))
    return ()


def check_handlers(handlers: Sequence[HandlerStep]) -> Iterator[Finding]:
    """Whether a handler created by SQL has one of the addresses."""
    for step in handlers:
        if step.action == "refused":
            what, _, way_out = step.reason.partition("; ")
            yield problem(_SUBJECT, f"{step.url}: {what}", way_out)


def check_delivery(settled: SettledRequest, delivery: PageDelivery, database: Database | None) -> Iterator[Finding]:
    """Whether somebody else's rule in the configuration has one of the addresses, and the server understands our file.

    A server does not start on a configuration with a query that it cannot parse.
    """
    page, others = delivery.page, _others(settled)
    for rule in others.rules:
        what = f"for {printable(rule.url)}" if rule.url else "without <url>, for every address"
        for url in _served(rule, page, database):
            yield problem(
                _SUBJECT,
                f"{url}: {rule.file} has a rule {what}",
                "change or remove that rule, or install this model with --suffix NAME",
            )
    if delivery.file is None or database is None:
        return
    queries = ", ".join(literal(handler.query) for handler in page.handlers)
    unreadable = database.value(f"SELECT arrayFirstIndex(q -> isNull(formatQueryOrNull(q)), [{queries}])")
    if unreadable:
        handler = page.handlers[int(unreadable) - 1]
        yield problem(
            _SUBJECT,
            f"{handler.url}: this server cannot parse the query, and would not start with it",
            "install with --no-search-page",
        )


def check_served(connection: ConnectionOptions | None, page: SearchPage, file: Path | None) -> Finding:
    """Whether the server serves the page as this version creates it; a note if ``file`` waits for it to be reloaded."""
    address = connection.address if connection is not None else None
    if address is None:
        return note(
            _SUBJECT, f"{page.url} is in {file}; a server reads it when it starts, or with SYSTEM RELOAD CONFIG"
        )
    served = response_headers(address, page.url).get(MARK)
    if served == page.handlers[0].digest:
        return ok(_SUBJECT, f"{address}{page.url} is served, by {file}")
    state = "another version of it is served" if served else "it is not served yet"
    return note(_SUBJECT, f"{page.url} is in {file}, and {state}: restart the server, or run SYSTEM RELOAD CONFIG")


def check_page(database: Database, page: SearchPage) -> Iterator[Finding]:
    """Whether the server has every handler of the page as this version creates it by SQL."""
    try:
        wrong = [step for step in plan_page(database, page) if step.action != "unchanged"]
    except ConflictError as error:
        yield problem(_SUBJECT, str(error), "install with --no-search-page")
        return
    if wrong:
        yield problem(_SUBJECT, f"{wrong[0].url}: {wrong[0].reason}", "run install-udfs again")
    else:
        yield ok(_SUBJECT, f"all {len(page.handlers)} handlers below {page.url} are as they were installed")


def _way(settled: SettledRequest, database: Database | None) -> tuple[Literal["sql", "config"], str]:
    asked = settled.options["page-handlers"]
    if asked is not None:
        return ("config" if asked == "config" else "sql"), f"--page-handlers {asked}"
    path = page_drop_in(settled.target.config, settled.suffix)
    if settled.before is not None and any(file.path == path for file in settled.before.files):
        return "config", "as installed; --page-handlers sql changes that"
    if database is None:
        return "sql", "the default"
    version = f"this is ClickHouse {database.value('SELECT version()')}"
    if has_handlers(database):
        return "sql", f"{version}, which has CREATE HANDLER"
    return "config", f"{version}, and CREATE HANDLER needs 26.8"


def _others(settled: SettledRequest) -> HttpHandlers:
    """The rules of everybody else."""
    target = settled.target
    suffixes = [settled.suffix, *(model.suffix for model in target.records.models)]
    return http_handlers(target.config, [page_drop_in(target.config, suffix) for suffix in suffixes])


def _served(rule: HttpRule, page: SearchPage, database: Database | None) -> list[str]:
    """The page's addresses that ``rule`` serves; those of a regular expression only the server can tell."""
    if rule.expression is None:
        return [handler.url for handler in page.handlers if rule.serves(handler.url, handler.method)]
    if database is None:
        return []
    urls = ", ".join(
        literal(handler.url) for handler in page.handlers if not rule.methods or handler.method in rule.methods
    )
    try:
        found = database.value(
            f"SELECT arrayFilter(url -> match(url, {literal(f'^(?:{rule.expression})$')}), [{urls}]::Array(String))"
        )
    except SqlError:  # no expression of RE2's, with which no server runs
        return []
    return [str(url) for url in found]


def _unchanged(settled: SettledRequest, path: Path) -> bytes | None:
    """The installed file, if nobody edited it: which database its queries name, only the server knows."""
    known = settled.target.records.owner_of(path)
    content = Disk(settled.target.config).read(path, _MOST_BYTES)
    if known is None or content is None or sha256(content).hexdigest() != known[1].sha256:
        return None
    return content
