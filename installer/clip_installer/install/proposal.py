"""An install that is planned and checked, and its outcome."""

from __future__ import annotations

from dataclasses import dataclass

from clip_installer.errors import ConflictError
from clip_installer.install.checks.findings import Finding, problems
from clip_installer.install.checks.search_page import PageDelivery
from clip_installer.install.files.wanted import Installation
from clip_installer.install.plan.plan import Plan
from clip_installer.install.request.options import Change
from clip_installer.install.request.request import SettledRequest
from clip_installer.tables.deploy import ObjectStep, Schema
from clip_installer.tables.guard import TableCheck
from clip_installer.tables.search_page.deployment import HandlerStep


@dataclass(frozen=True)
class Proposal:
    """An install that was planned and checked; nothing was changed.

    Attributes:
        settled: The settled request.
        installation: The model as it should be.
        schema: Its schema; None if none is wanted.
        plan: The changes of files.
        objects: The changes of tables and views; empty without a server.
        delivery: The search page, and how its handlers are created; None if none is wanted.
        handlers: The changes of the handlers that are created by SQL.
        table: The result of the check of the table; None without a server or a table.
        options: The options whose value changes.
        findings: The results of the checks.
    """

    settled: SettledRequest
    installation: Installation
    schema: Schema | None
    plan: Plan
    objects: tuple[ObjectStep, ...]
    delivery: PageDelivery | None
    handlers: tuple[HandlerStep, ...]
    table: TableCheck | None
    options: tuple[Change, ...]
    findings: tuple[Finding, ...]

    @property
    def replaced(self) -> str | None:
        """Name of the other model that has the suffix so far; None if there is none."""
        before = self.settled.before
        name = self.installation.bundle.manifest.name
        return before.model if before is not None and before.model != name else None

    @property
    def schema_changes(self) -> bool:
        """Whether a statement would be run."""
        outdated = self.table is not None and self.table.outdated_comment is not None
        return outdated or any(step.changes for step in self.objects)

    @property
    def changed(self) -> bool:
        """Whether anything would change."""
        return self.plan.changed or self.schema_changes or any(step.changes for step in self.handlers)

    def require_possible(self) -> None:
        """Refuse to continue if a check failed.

        Raises:
            ConflictError: One did; the message has the first problem, and the number of others.
        """
        wrong = problems(self.findings)
        if wrong:
            more = f" (and {len(wrong) - 1} more, listed by --dry-run)" if len(wrong) > 1 else ""
            raise ConflictError(f"{wrong[0]}{more}; nothing was changed")


@dataclass(frozen=True)
class Outcome:
    """What an install or a removal did.

    Attributes:
        plan: The changes of files.
        findings: The results of the checks.
        objects: The tables and views that were created or replaced.
        recovered: How a killed installer's changes were recovered first; None if there were none.
    """

    plan: Plan
    findings: tuple[Finding, ...]
    objects: tuple[ObjectStep, ...] = ()
    recovered: str | None = None
    schema_changed: bool = False
    page_changed: bool = False

    @property
    def changed(self) -> bool:
        """Whether anything was changed."""
        return self.plan.changed or self.schema_changed or self.page_changed or self.recovered is not None
