"""Deploys the search page: compare the server's handlers, plan, then change all of them or none."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

from clip_installer.errors import ApplyError, ConflictError, SqlError
from clip_installer.tables.label import label_of_comment, table_comment
from clip_installer.tables.layout import layout_of
from clip_installer.tables.schema import SchemaParameters
from clip_installer.tables.search_page.page import MARKED, Handler, SearchPage

if TYPE_CHECKING:
    from clip_installer.clickhouse.database import Database


@dataclass(frozen=True)
class HandlerStep:
    """What happens to one handler.

    Attributes:
        action: ``create`` it, ``replace`` it, ``remove`` it, leave it ``unchanged``, or be ``refused``.
        name: Its name.
        url: Its address.
        reason: Why, in a few words.
        statement: The statement that makes it; '' where it is removed or refused.
        before: The statement that created the existing one; '' if there is none.
    """

    action: Literal["create", "replace", "remove", "unchanged", "refused"]
    name: str
    url: str
    reason: str
    statement: str = ""
    before: str = ""

    @property
    def changes(self) -> bool:
        """Whether the step runs a statement."""
        return self.action in ("create", "replace", "remove")

    @property
    def shown(self) -> str:
        """The statement as printed: of the page itself, only the beginning."""
        if not self.statement:
            return f"DROP HANDLER {self.name}"
        begin, quote, rest = self.statement.partition("'<!doctype html>")
        return f"{begin}{quote}… ({len(rest):,} characters)' AS page\n…" if quote else self.statement


def has_handlers(database: Database) -> bool:
    """Whether the server supports handlers created by SQL."""
    return bool(database.value("SELECT count() FROM system.tables WHERE database = 'system' AND name = 'handlers'"))


def page_of(database: Database, table: str, suffix: str) -> SearchPage:
    """The page for ``table``, for the model that its COMMENT names.

    Raises:
        ConflictError: There is no such table, or no search views with the suffix.
    """
    named = table.rpartition(".")[0]
    schema = named or str(database.value("SELECT currentDatabase()"))
    layout = layout_of(database, table)
    parameters = SchemaParameters(table=table, suffix=suffix, layout=layout)
    for name in (table, parameters.view_name(layout.view_name("search_by_text"))):
        if not database.exists(name):
            raise ConflictError(f"there is no {name} on this server; install-udfs --url makes the table and its views")
    label = label_of_comment(table_comment(database, table))
    return SearchPage.render(parameters, schema, label.name if label else "")


def plan_page(database: Database, page: SearchPage) -> list[HandlerStep]:
    """What :func:`deploy_page` would do, based on what the server has; changes nothing.

    Raises:
        ConflictError: The server does not support handlers created by SQL.
        SqlError: The user may not read the system tables.
    """
    if not has_handlers(database):
        version = database.value("SELECT version()")
        raise ConflictError(
            f"creating handlers by SQL needs ClickHouse 26.8, and this is {version}; install-udfs --search-page"
            " --page-handlers config makes the same as a file for its config.d, and clip-udfs search-page"
            " --http-handlers prints it"
        )
    there = {
        name: (url, made) for name, url, made in database.rows("SELECT name, url, create_query FROM system.handlers")
    }
    by_url = {url: name for name, (url, _) in there.items()}
    steps = []
    for handler in page.handlers:
        if (other := by_url.get(handler.url, handler.name)) != handler.name:
            reason = f"the handler {other} has this address; drop it, or install this model with --suffix NAME"
            steps.append(HandlerStep("refused", handler.name, handler.url, reason))
            continue
        before = there[handler.name][1] if handler.name in there else ""
        steps.append(_step(handler, before))
    wanted = {handler.name for handler in page.handlers}
    return steps + [step for step in plan_page_removal(database, page.address) if step.name not in wanted]


def plan_page_removal(database: Database, address: str) -> list[HandlerStep]:
    """Steps that remove the page's existing handlers at ``address``; none if the server does not support handlers."""
    if not has_handlers(database):
        return []
    found = database.rows("SELECT name, url, create_query FROM system.handlers ORDER BY name")
    return [
        HandlerStep("remove", name, url, "belongs to the search page", before=made)
        for name, url, made in found
        if MARKED.search(made) and (url == address or url.startswith(f"{address}/"))
    ]


def deploy_page(database: Database, steps: Sequence[HandlerStep]) -> bool:
    """Create, replace and remove handlers; if one fails, all are restored.

    Returns:
        Whether anything was changed.

    Raises:
        ConflictError: A step is refused.
        ApplyError: ClickHouse refused a statement; the message names the handler and the reason.
    """
    for step in steps:
        if step.action == "refused":
            raise ConflictError(f"{step.url}: {step.reason}")
    undo: list[str] = []
    try:
        for step in steps:
            if step.changes:
                undo.append(step.before)
                undo.append(f"DROP HANDLER IF EXISTS {step.name}")
                database.command(f"DROP HANDLER IF EXISTS {step.name}")
                if step.statement:
                    database.command(step.statement)
    except BaseException as error:
        for statement in reversed(undo):
            if statement:
                database.command(statement)
        if isinstance(error, SqlError):
            raise ApplyError(f"search page, {step.url}: {error}") from error
        raise
    return bool(undo)


def _step(handler: Handler, before: str) -> HandlerStep:
    if not before:
        return HandlerStep("create", handler.name, handler.url, handler.purpose, handler.statement)
    found = MARKED.search(before)
    if found is None:
        reason = f"a handler {handler.name} that install-udfs did not make is there; drop or rename it"
        return HandlerStep("refused", handler.name, handler.url, reason)
    if found[1] == handler.digest:
        return HandlerStep("unchanged", handler.name, handler.url, handler.purpose, handler.statement, before)
    reason = "another query than this version and model have"
    return HandlerStep("replace", handler.name, handler.url, reason, handler.statement, before)
