"""An install: settle the request, plan, check, swap, reload, confirm, and only then remove the old.

Nothing that serves queries is touched until every check that needs no change has passed. New workers are installed
beside the old ones; the definitions are replaced and reloaded; the server must confirm that it has them; then the old
workers are removed.
"""

from __future__ import annotations

from contextlib import suppress
from dataclasses import replace
from functools import partial
from pathlib import Path

from clip_installer.clickhouse.database import Database
from clip_installer.errors import CheckFailed, ConflictError, SqlError
from clip_installer.install.checks.findings import Finding, ok, problem, problems
from clip_installer.install.checks.host import check_files
from clip_installer.install.checks.preflight import (
    check_cluster,
    check_host,
    check_names,
    check_objects,
    check_rights,
)
from clip_installer.install.checks.search_page import (
    check_delivery,
    check_handlers,
    check_served,
    choose_delivery,
    plan_handlers,
)
from clip_installer.install.checks.server import check_server, reload_functions
from clip_installer.install.checks.verify import verify_host, verify_server
from clip_installer.install.files.wanted import Installation
from clip_installer.install.model.staged import StagedModel
from clip_installer.install.old_workers import Say, wait_for_old_workers
from clip_installer.install.plan.planning import plan_install
from clip_installer.install.proposal import Outcome, Proposal
from clip_installer.install.request.options import changes
from clip_installer.install.request.request import SettledRequest
from clip_installer.install.transaction.apply import applied, was_interrupted
from clip_installer.server.config import ServerConfig
from clip_installer.tables.deploy import ObjectStep, Schema, deploy, plan_schema
from clip_installer.tables.guard import TableCheck, check_table, labelled
from clip_installer.tables.search_page.deployment import HandlerStep, deploy_page
from clip_udfs.bundle import Bundle


def propose(
    settled: SettledRequest, bundle: Bundle, graphs: Path | None, database: Database | None, say: Say
) -> Proposal:
    """Plan an install of ``bundle``, with ``graphs`` prepared for this machine, and check it; changes nothing.

    Problems become findings, so that a plan can show all of them.

    Raises:
        ClipUdfError: It cannot be planned.
    """
    target = settled.target
    refuse_interrupted(target.config)
    delivery = choose_delivery(settled, bundle.manifest, database)
    installation = replace(settled.installation(bundle, graphs), page=delivery.file if delivery else None)
    schema = settled.schema(bundle.manifest)
    effective = settled.effective(bundle.manifest)
    plan = plan_install(
        target,
        installation,
        options=settled.options,
        effective=effective,
        drops=schema.drops() if schema else (),
        force=settled.request.force,
    )
    findings = list(check_host(plan))
    if delivery is not None:
        findings += check_delivery(settled, delivery, database)
    objects: tuple[ObjectStep, ...] = ()
    handlers: tuple[HandlerStep, ...] = ()
    table = None
    if database is not None:
        say("checking the server")
        findings += check_server(database)
        findings += check_rights(database, schema)
        findings += check_names(database, installation)
        if schema is not None:
            objects, table = _look_at_schema(settled, installation, schema, database, findings)
        handlers = plan_handlers(settled, bundle.manifest, database, delivery.by if delivery else None)
        findings += check_handlers(handlers)
    before = settled.before.effective if settled.before is not None else None
    differing = tuple(changes(before, effective)) if before is not None else ()
    return Proposal(settled, installation, schema, plan, objects, delivery, handlers, table, differing, tuple(findings))


def carry_out(proposal: Proposal, database: Database | None, say: Say, recovered: str | None = None) -> Outcome:
    """Make the changes of ``proposal`` and prove that they work; if a step fails, everything is rolled back.

    Raises:
        ClipUdfError: It was refused, or undone; the message says which.
    """
    proposal.require_possible()
    plan = proposal.plan
    model = plan.records.find(proposal.settled.suffix)
    assert model is not None
    findings: list[Finding] = []
    connection = proposal.settled.request.connection
    objects, delivery, handlers, table = proposal.objects, proposal.delivery, proposal.handlers, proposal.table
    page_changed = False

    def prove() -> None:
        say("checking the workers")
        _require(findings, list(verify_host(plan.config, model, plan.user, edited=plan.edited(), installed=False)))

    reload = None if database is None or not plan.changed else partial(reload_functions, database)
    with applied(plan, prove=prove, reload=reload):
        config = _configuration(proposal)
        _require(findings, list(check_files(config, model, plan.user, plan.edited())))
        started_now = database is None and connection is not None
        if started_now:
            assert connection is not None
            database = connection.connect()  # chDB reads new configuration files only when it starts
            if proposal.schema is not None:
                objects, table = _look_at_schema(
                    proposal.settled, proposal.installation, proposal.schema, database, findings
                )
            manifest = proposal.installation.bundle.manifest
            handlers = plan_handlers(proposal.settled, manifest, database, delivery.by if delivery else None)
        if database is not None:
            if plan.changed and not started_now:
                _reload(database, proposal, say)
            say("checking the functions in the server")
            _require(findings, list(verify_server(config, model, database, edited=plan.edited())))
            if proposal.schema is not None:
                say("creating tables and views")
                with labelled(database, proposal.schema.parameters, table):
                    deploy(database, objects)
            page_changed = deploy_page(database, handlers)
            if delivery is not None and delivery.file is not None:
                findings.append(check_served(connection, delivery.page, config.on_disk(delivery.file.path)))
        if plan.changed:
            wait_for_old_workers(proposal, database, say)
    made = tuple(step for step in objects if step.changes)
    relabelled = table is not None and table.outdated_comment is not None
    return Outcome(plan, tuple(findings), made, recovered, bool(made) or relabelled, page_changed)


def refuse_interrupted(config: ServerConfig) -> None:
    """Refuse to plan while the changes of a killed installer are pending.

    Raises:
        ConflictError: They are.
    """
    if was_interrupted(config):
        raise ConflictError(
            f"an install was interrupted on {config.on_disk(config.directory)}, and what is there now is neither"
            " the old state nor the new one; run install-udfs without --dry-run or --verify: it rolls that back first"
        )


def _look_at_schema(
    settled: SettledRequest,
    installation: Installation,
    schema: Schema,
    database: Database,
    findings: list[Finding],
) -> tuple[tuple[ObjectStep, ...], TableCheck | None]:
    cluster = schema.parameters.cluster
    if cluster is not None:
        findings.append(check_cluster(database, cluster))
        if problems(findings):
            return (), None
    objects = tuple(plan_schema(database, schema, force=settled.request.force))
    findings.extend(check_objects(objects))
    others = [one.model for one in settled.target.records.models if one.suffix != settled.suffix]
    try:
        table = check_table(database, schema.parameters, others, StagedModel(installation))
    except ConflictError as error:
        what, _, way_out = str(error).partition("; ")
        findings.append(problem("table", what, way_out))
        return objects, None
    if table is not None:
        findings.append(ok("table", f"{schema.parameters.table} {table.text}"))
    return objects, table


def _configuration(proposal: Proposal) -> ServerConfig:
    """The current configuration: a drop-in may have changed it."""
    return ServerConfig.read(proposal.settled.request.server_config, destdir=proposal.plan.config.destdir)


def _require(findings: list[Finding], found: list[Finding]) -> None:
    findings.extend(found)
    wrong = problems(found)
    if wrong:
        more = f" (and {len(wrong) - 1} more)" if len(wrong) > 1 else ""
        raise CheckFailed(f"{wrong[0]}{more}")


def _reload(database: Database, proposal: Proposal, say: Say) -> None:
    say("reloading the functions")
    plan, drop_in = proposal.plan, proposal.installation.placement.drop_in
    if any(step.path == drop_in for step in plan.steps if step.changes):
        database.command("SYSTEM RELOAD CONFIG")
    elif plan.changes_configuration():
        # Only the search page depends on it, and the server reads it within seconds by itself.
        with suppress(SqlError):
            database.command("SYSTEM RELOAD CONFIG")
    reload_functions(database)
