"""An uninstall: list what depends on the functions, remove their definitions, then the workers' files."""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass
from functools import partial

from clip_installer.clickhouse.database import Database
from clip_installer.clickhouse.sql import literal
from clip_installer.errors import CheckFailed, ConflictError, SqlError
from clip_installer.install.checks.dependents import Dependent, dependents
from clip_installer.install.checks.server import reload_functions
from clip_installer.install.flow import refuse_interrupted
from clip_installer.install.old_workers import Say, wait_for_queries
from clip_installer.install.plan.plan import Plan
from clip_installer.install.plan.planning import plan_removal
from clip_installer.install.proposal import Outcome
from clip_installer.install.records.records import InstalledModel
from clip_installer.install.request.target import Target
from clip_installer.install.transaction.apply import applied
from clip_installer.tables.search_page.deployment import HandlerStep, deploy_page, plan_page_removal
from clip_installer.tables.search_page.page import address_of


@dataclass(frozen=True)
class Removal:
    """An uninstall that was planned; nothing was changed.

    Attributes:
        target: The server.
        models: The models to remove.
        plan: The changes of files.
        dependents: What depends on their functions; empty without a server.
        handlers: The handlers of their search pages, which go with them.
        force: Whether dependents may break.
    """

    target: Target
    models: tuple[InstalledModel, ...]
    plan: Plan
    dependents: tuple[Dependent, ...]
    handlers: tuple[HandlerStep, ...]
    force: bool

    @property
    def drops(self) -> list[str]:
        """Statements that drop the models' views and indexes, except those of remaining models."""
        gone = [model.suffix for model in self.models]
        kept = {drop for model in self.target.records.without(gone).models for drop in model.drops}
        return [
            drop for drop in dict.fromkeys(drop for model in self.models for drop in model.drops) if drop not in kept
        ]

    def require_possible(self) -> None:
        """Refuse to break a table's columns without ``force``.

        Raises:
            ConflictError: Names what would break.
        """
        breaking = [one for one in self.dependents if one.breaks]
        if breaking and not self.force:
            more = f" (and {len(breaking) - 1} more, listed by --dry-run)" if len(breaking) > 1 else ""
            raise ConflictError(
                f"{breaking[0]}{more}: inserts into it would fail once the function is gone; drop or change it first,"
                " or remove the functions anyway with --force"
            )


def propose_removal(
    target: Target, suffix: str | None, *, every: bool, force: bool, database: Database | None
) -> Removal:
    """Plan the removal of the model with ``suffix`` (None: the only one, or ``every`` one); changes nothing.

    Raises:
        ConflictError: It is ambiguous, or one of its files was edited.
    """
    refuse_interrupted(target.config)
    suffixes = _chosen(target, suffix, every=every)
    models = tuple(model for model in target.records.models if model.suffix in suffixes)
    names = [name for model in models for name in model.functions]
    found = tuple(dependents(database, names)) if database is not None and names else ()
    pages = [] if database is None else [plan_page_removal(database, address_of(model.suffix)) for model in models]
    handlers = tuple(step for page in pages for step in page)
    return Removal(target, models, plan_removal(target, suffixes, force=force), found, handlers, force)


def carry_out_removal(removal: Removal, database: Database | None, say: Say, recovered: str | None) -> Outcome:
    """Carry out the removal, restoring replaced files; if a step fails, everything is rolled back.

    Raises:
        ClipUdfError: It was refused, or undone; the message says which.
    """
    removal.require_possible()
    plan = removal.plan
    reload = None if database is None or not plan.changed else partial(reload_functions, database)
    with applied(plan, reload=reload):
        if database is not None and reload is not None:
            say("reloading the functions")
            if plan.changes_configuration():
                with suppress(SqlError):  # the server reads it within seconds by itself
                    database.command("SYSTEM RELOAD CONFIG")
            reload()
            for model in removal.models:
                _require_gone(database, model)
                deploy_page(database, plan_page_removal(database, address_of(model.suffix)))
                wait_for_queries(database, model.functions, say)
    return Outcome(plan, (), recovered=recovered)


def _chosen(target: Target, suffix: str | None, *, every: bool) -> Sequence[str]:
    installed = [model.suffix for model in target.records.models]
    if suffix is not None:
        return [suffix] if suffix in installed else []
    if len(installed) > 1 and not every:
        names = ", ".join(f"--suffix '{one}'" for one in installed)
        raise ConflictError(f"{len(installed)} models are installed; say which one to remove, {names}, or --all")
    return installed


def _require_gone(database: Database, model: InstalledModel) -> None:
    names = ", ".join(literal(name) for name in model.functions)
    query = f"SELECT name FROM system.functions WHERE name IN ({names}) AND origin = 'ExecutableUserDefined' LIMIT 1"
    left = database.value(query)
    if left:
        raise CheckFailed(f"the server still has {left}; is it the server of that configuration?")
