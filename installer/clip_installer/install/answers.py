"""What install, verify and uninstall print: for a person, or as one JSON object."""

from __future__ import annotations

import json
from collections.abc import Iterable
from dataclasses import replace
from typing import Any

import click

from clip_installer.errors import ConflictError, VerifyError
from clip_installer.install import flow as work
from clip_installer.install import output as report
from clip_installer.install.apply import was_interrupted
from clip_installer.install.checks.findings import problems
from clip_installer.install.checks.server import check_server, reload_functions
from clip_installer.install.checks.verify import verify_host, verify_server
from clip_installer.install.flow import Outcome, Proposal
from clip_installer.install.host_graphs import host_graphs
from clip_installer.install.records import load_records
from clip_installer.install.request import ROOT, InstallRequest
from clip_installer.models.source import opened_model
from clip_installer.planning.sizing import index_memory, worker_memory
from clip_installer.progress import say


def install(request: InstallRequest, *, dry_run: bool, diff: bool, as_json: bool) -> None:
    """Install, or plan to, and print the plan and what came of it.

    Raises:
        ClipUdfError: It cannot be done, or must not, or was undone.
    """
    recovered = None if dry_run else work.undo_interrupted(request.config())
    with opened_model(request.model, request.engine, say) as bundle, host_graphs(request, bundle) as graphs:
        outcome = None
        if dry_run:
            proposal = work.propose(request, bundle, graphs)
            differences = list(report.diff_lines(proposal.plan)) if diff else []
        else:
            differences = list(report.diff_lines(work.propose(request, bundle, graphs).plan)) if diff else []
            proposal, outcome = work.install(request, bundle, graphs)
            outcome = replace(outcome, recovered=recovered)
        workers = worker_memory(
            bundle.manifest,
            request.pool_size,
            request.engine,
            threads=request.engine_threads,
            shared=graphs is not None,
        )
        index = index_memory(proposal.schema.parameters, request.rows) if proposal.schema else None
        if as_json:
            _print_json(
                {
                    "dry_run": dry_run,
                    "changed": outcome.changed if outcome else proposal.plan.changed,
                    **report.proposal_object(proposal, workers, index),
                    **(report.outcome_object(outcome) if outcome else {}),
                    **({"diff": "\n".join(differences)} if diff else {}),
                }
            )
            return
        if dry_run or (outcome and outcome.plan.changed):
            _print(report.plan_lines(proposal, workers, index))
        _print(differences)
        if dry_run and not diff:
            _print(report.content_lines(proposal.plan))
        _print_sql(request, proposal, outcome, dry_run)
        _print_outcome(proposal, outcome)


def _print_sql(request: InstallRequest, proposal: Proposal, outcome: Outcome | None, dry_run: bool) -> None:
    schema = proposal.schema
    if schema is not None and (dry_run or (request.connection is None and outcome and outcome.plan.changed)):
        title = "\nSQL, run once the files work" if request.connection else "\nSQL for you to run (no --url was given)"
        _print(report.sql_lines(title, [statement.sql for statement in schema.statements]))
        _print(report.sql_lines("\nAfter the data is loaded", [statement.sql for statement in schema.index_statements]))
    if request.connection is None and (dry_run or (outcome and outcome.plan.changed)):
        _print(report.sql_lines("\nTo check it on the server", report.smoke_statements(proposal)))


def _print_outcome(proposal: Proposal, outcome: Outcome | None) -> None:
    name = proposal.installation.bundle.manifest.name
    first = proposal.installation.sql_names[0]
    if outcome is None:
        _print(
            [
                "",
                "Nothing was changed: this was a dry run." if proposal.plan.changed else "Nothing would change.",
            ]
        )
        return
    if outcome.recovered:
        _print(["", f"First, it {outcome.recovered}."])
    _print(["", "Checks", *report.finding_lines(outcome.findings)])
    for path in outcome.plan.kept():
        _print([f"Kept as it was edited: {outcome.plan.config.on_disk(path)} (--diff shows, --force replaces)"])
    if not outcome.changed:
        _print(["", f"Nothing changed: {name} is installed as asked."])
    else:
        staged = outcome.plan.config.destdir
        done = f"Installed {name}. Try: SELECT {first}('cat')" if staged == ROOT else f"Staged {name} below {staged}."
        _print(["", done])


def verify(request: InstallRequest, suffix: str | None, *, as_json: bool) -> None:
    """Check the model of ``suffix`` (None: every one) and print what was found.

    Raises:
        ClipUdfError: Nothing is installed, or something is wrong with it.
    """
    config = request.config()
    models = [model for model in load_records(config).models if suffix in (None, model.suffix)]
    if not models:
        under = f" under the suffix {suffix!r}" if suffix is not None else ""
        raise ConflictError(f"nothing is installed{under} for {config.on_disk(config.main_file)}")
    if was_interrupted(config):
        raise ConflictError("an install was interrupted here; run install-udfs again: it undoes that first")
    user = work.removal_user(request, config)
    findings = [finding for model in models for finding in verify_host(config, model, user)]
    if request.connection is not None:
        database = request.connection.connect()
        reload_functions(database)
        findings += check_server(database)
        findings += [finding for model in models for finding in verify_server(config, model, database)]
    wrong = problems(findings)
    if as_json:
        _print_json(
            {
                "ok": not wrong,
                "models": [{"name": model.model, "suffix": model.suffix} for model in models],
                "findings": [report.finding_object(finding) for finding in findings],
            }
        )
    else:
        _print(report.finding_lines(findings))
    if wrong:
        raise VerifyError(f"{len(wrong)} of {len(findings)} checks failed, the first: {wrong[0]}")


def uninstall(
    request: InstallRequest, suffix: str | None, *, every: bool, dry_run: bool, diff: bool, as_json: bool
) -> None:
    """Remove the model of ``suffix``, the only one, or ``every`` one, or plan to; print what goes and stays.

    Raises:
        ClipUdfError: It cannot be done, or must not, or was undone.
    """
    config = request.config()
    recovered = None if dry_run else work.undo_interrupted(config)
    chosen = work.suffixes_to_remove(config, suffix, every=every)
    plan, models = work.propose_removal(config, work.removal_user(request, config), chosen, force=request.force)
    differences = list(report.diff_lines(plan)) if diff else []
    outcome = None
    if not dry_run:
        outcome, models = work.remove(request, suffix, every=every)
        plan = outcome.plan
    drops = [drop for model in models for drop in model.drops]
    if as_json:
        _print_json(
            {
                "dry_run": dry_run,
                "changed": outcome.changed if outcome else plan.changed,
                "models": [{"name": model.model, "suffix": model.suffix} for model in models],
                "recovered": recovered,
                **report.plan_object(plan),
                "drops": drops,
                **({"diff": "\n".join(differences)} if diff else {}),
            }
        )
        return
    if recovered:
        _print([f"First, it {recovered}."])
    if not plan.changed:
        _print([f"Nothing changed: nothing is installed for {config.on_disk(config.main_file)}."])
        return
    _print(report.file_lines(plan))
    _print(differences)
    if drops:
        _print(report.sql_lines("\nTables and data stay. To drop the views and indexes as well:", drops))
    if dry_run:
        _print(["", "Nothing was changed: this was a dry run."])
    elif request.connection is None:
        _print(
            [
                "",
                "Removed. A running server forgets the functions by itself, or with SYSTEM RELOAD FUNCTIONS.",
            ]
        )
    else:
        _print(["", "Removed."])


def _print(lines: Iterable[str]) -> None:
    for line in lines:
        click.echo(line)


def _print_json(values: dict[str, Any]) -> None:
    click.echo(json.dumps(values, ensure_ascii=False))
