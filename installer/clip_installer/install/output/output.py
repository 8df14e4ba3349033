"""What install, verify and uninstall print, and when: for a person, or as one JSON object."""

from __future__ import annotations

import json
import os
import sys
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any

import click

from clip_installer.install.checks.findings import Finding, problems
from clip_installer.install.output import json_objects as objects
from clip_installer.install.output import lines
from clip_installer.install.output.differences import diff_lines
from clip_installer.install.proposal import Outcome, Proposal
from clip_installer.install.records.records import InstalledModel
from clip_installer.install.removal import Removal
from clip_installer.planning.sizing import PlannedMemory, decoding_memory, index_memory, worker_memory
from clip_installer.progress import Status


@dataclass(frozen=True)
class Output:
    """Where results go.

    Attributes:
        as_json: Print one JSON object, at the end.
        diff: Show differences to the files on the disk.
        status: Shows what is being done at the moment.
    """

    as_json: bool
    diff: bool
    status: Status

    def plan(self, proposal: Proposal, *, dry_run: bool) -> None:
        """Print a plan before anything is done; nothing if nothing would change."""
        if self.as_json or not (dry_run or proposal.changed or problems(proposal.findings)):
            return
        self._print(lines.plan_lines(proposal, _memory(proposal), style))
        if self.diff:
            self._print(["", *diff_lines(proposal.plan, style)])

    def proposed(self, proposal: Proposal) -> None:
        """The end of a dry run."""
        if self.as_json:
            self._print_json(
                {
                    "dry_run": True,
                    "changed": proposal.changed,
                    **objects.proposal_object(proposal, _memory(proposal)),
                    **({"diff": "\n".join(diff_lines(proposal.plan))} if self.diff else {}),
                }
            )
            return
        self._print_sql(proposal)
        said = "Nothing was changed: this was a dry run." if proposal.changed else "Nothing would change."
        self._print(["", said])

    def installed(self, proposal: Proposal, outcome: Outcome) -> None:
        """What an install did."""
        if self.as_json:
            self._print_json(
                {
                    "dry_run": False,
                    **objects.proposal_object(proposal, _memory(proposal)),
                    **objects.outcome_object(outcome, proposal.findings),
                }
            )
            return
        settled, name = proposal.settled, proposal.installation.bundle.manifest.name
        if settled.request.connection is None and outcome.plan.changed:
            self._print_sql(proposal)
        if outcome.recovered:
            self._print(["", f"First, {outcome.recovered}."])
        self._print(["", "Checks", *lines.finding_lines(outcome.findings, style)])
        for path in outcome.plan.kept():
            self._print([f"Kept as edited: {outcome.plan.config.on_disk(path)} (--diff shows it, --force replaces it)"])
        self._print(["", *lines.made_lines(outcome)])
        if not outcome.changed:
            done = f"Nothing changed: {name} is installed as asked."
        elif settled.staged:
            done = f"Staged {name} below {settled.request.destdir}."
        else:
            done = f"Installed {name}. Try: SELECT {proposal.installation.sql_names[0]}('cat')"
        self._print([done, *_page_lines(proposal)])

    def removal(self, removal: Removal, outcome: Outcome | None, *, connected: bool) -> None:
        """An uninstall, planned or done."""
        plan = removal.plan
        if self.as_json:
            values = objects.removal_object(removal, outcome)
            self._print_json(values | ({"diff": "\n".join(diff_lines(plan))} if self.diff else {}))
            return
        if outcome is not None and outcome.recovered:
            self._print([f"First, {outcome.recovered}."])
        if not plan.changed:
            self._print([f"Nothing changed: nothing is installed for {plan.config.on_disk(plan.config.main_file)}."])
            return
        self._print(lines.file_lines(plan, style))
        if self.diff:
            self._print(diff_lines(plan, style))
        self._print(lines.handler_lines(removal.handlers, style))
        self._print(lines.dependent_lines(removal))
        if removal.drops:
            self._print(
                lines.sql_lines("\nTables and data stay. To drop the views and indexes as well:", removal.drops)
            )
        self._print(["", lines.count_line(plan, handlers=removal.handlers)])
        if outcome is None:
            self._print(["Nothing was changed: this was a dry run."])
        elif connected:
            self._print(["Removed."])
        else:
            self._print(
                ["Removed. A running server forgets the functions within seconds, or with SYSTEM RELOAD FUNCTIONS."]
            )

    def verified(self, models: Sequence[InstalledModel], findings: Sequence[Finding]) -> None:
        """Print the findings of the checks of installed models."""
        if self.as_json:
            self._print_json(
                {
                    "ok": not problems(findings),
                    "models": [{"name": model.model, "suffix": model.suffix} for model in models],
                    "findings": [objects.finding_object(finding) for finding in findings],
                }
            )
            return
        self._print([*lines.finding_lines(findings, style), lines.verdict_line(findings)])

    def _print_sql(self, proposal: Proposal) -> None:
        schema, connected = proposal.schema, proposal.settled.request.connection is not None
        if schema is not None and not connected:
            statements = [statement.sql for statement in schema.statements]
            self._print(lines.sql_lines("\nSQL for you to run (no --url was given)", statements))
        elif changing := [step.made.statement.sql for step in proposal.objects if step.changes]:
            self._print(lines.sql_lines("\nSQL, run once the functions work", changing))
        if schema is not None and (not connected or proposal.schema_changes):
            after = [statement.sql for statement in schema.index_statements]
            self._print(lines.sql_lines("\nAfter the data is loaded", after))
        handlers = [step.shown for step in proposal.handlers if step.changes]
        if handlers:
            self._print(lines.sql_lines("\nSQL of the search page, run last", handlers))
        if not connected:
            self._print(lines.sql_lines("\nTo check it on the server", lines.smoke_statements(proposal)))

    def _print(self, shown: Iterable[str]) -> None:
        self.status.clear()
        for line in shown:
            click.echo(line)

    def _print_json(self, values: dict[str, Any]) -> None:
        self.status.clear()
        click.echo(json.dumps(values, ensure_ascii=False))


def style(text: str, colour: str) -> str:
    """``text`` in ``colour`` on a terminal, unless https://no-color.org forbids it."""
    if not colour or os.environ.get("NO_COLOR") or os.environ.get("TERM") == "dumb" or not sys.stdout.isatty():
        return text
    return click.style(text, fg=colour)


def _page_lines(proposal: Proposal) -> list[str]:
    delivery, connection = proposal.delivery, proposal.settled.request.connection
    if delivery is None:
        return []
    page = delivery.page
    if connection is None and delivery.file is None:
        return ["For the search page, run clip-udfs search-page --url with the address of the server."]
    if connection is None or connection.address is None:
        return [f"The search page is at {page.url} of the server's HTTP port."]
    return [f"The search page is at {connection.address}{page.url}"]


def _memory(proposal: Proposal) -> PlannedMemory:
    settled, installation = proposal.settled, proposal.installation
    workers = worker_memory(
        installation.bundle.manifest,
        installation.pool_sizes,
        settled.engine,
        threads=settled.engine_threads,
        shared=installation.graphs is not None,
    )
    return PlannedMemory(
        workers,
        decoding_memory(installation.settings, installation.pool_sizes, installation.own_settings),
        index_memory(proposal.schema.parameters, settled.rows) if proposal.schema else None,
    )
