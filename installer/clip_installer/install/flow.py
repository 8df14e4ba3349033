"""An install: settle what is asked, plan it, check all that can be checked, swap, reload, confirm, then delete.

Nothing that serves queries is touched before every check that needs no change has passed. New workers are put beside
the old ones; definitions follow; the server reloads them and is asked whether it has them; then the old workers go.
"""

from __future__ import annotations

import re
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path

from clip_installer.clickhouse.database import Database
from clip_installer.clickhouse.sql import literal
from clip_installer.errors import CheckFailed, ConflictError
from clip_installer.install.checks.findings import Finding, ok, problem, problems
from clip_installer.install.checks.host import check_files
from clip_installer.install.checks.preflight import (
    check_cluster,
    check_host,
    check_names,
    check_objects,
    check_rights,
)
from clip_installer.install.checks.search_page import check_handlers, plan_handlers
from clip_installer.install.checks.server import check_server, reload_functions
from clip_installer.install.checks.verify import verify_host, verify_server
from clip_installer.install.files.wanted import Installation
from clip_installer.install.model.staged import StagedModel
from clip_installer.install.plan.plan import Plan, plan_install
from clip_installer.install.request.options import Change, changes
from clip_installer.install.request.request import SettledRequest
from clip_installer.install.transaction.apply import applied, was_interrupted
from clip_installer.server.config import ServerConfig
from clip_installer.tables.deploy import ObjectStep, Schema, deploy, plan_schema
from clip_installer.tables.guard import TableCheck, check_table, labelled
from clip_installer.tables.search_page.deployment import HandlerStep, deploy_page
from clip_udfs.bundle import Bundle

Say = Callable[[str], None]
# A server that is not told to reload reads its definitions every 5 seconds.
_POLL_SECONDS = 12
_DRAIN_SECONDS = 60


@dataclass(frozen=True)
class Proposal:
    """An install that was planned and checked; nothing was changed.

    Attributes:
        settled: What was asked for, now and before.
        installation: The model as it shall be.
        schema: Its schema; None where none is wanted.
        plan: The changes of files.
        objects: The changes of tables and views; empty where no server is asked.
        handlers: The changes of the search page; empty where none is wanted, or no server is asked.
        table: What a look at the table has shown; None without a server, or a table.
        options: The options whose value changes.
        findings: The checks that were made.
    """

    settled: SettledRequest
    installation: Installation
    schema: Schema | None
    plan: Plan
    objects: tuple[ObjectStep, ...]
    handlers: tuple[HandlerStep, ...]
    table: TableCheck | None
    options: tuple[Change, ...]
    findings: tuple[Finding, ...]

    @property
    def replaced(self) -> str | None:
        """Name of another model that has the suffix until now; None where there is none."""
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
        """Whether anything would not be as it is."""
        return self.plan.changed or self.schema_changes or any(step.changes for step in self.handlers)

    def require_possible(self) -> None:
        """Refuse to go on where a check failed.

        Raises:
            ConflictError: Names the first problem, and how many more there are.
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
        findings: The checks that were made.
        objects: The tables and views that were made or replaced.
        recovered: What was done before about a killed installer; None where there was nothing.
    """

    plan: Plan
    findings: tuple[Finding, ...]
    objects: tuple[ObjectStep, ...] = ()
    recovered: str | None = None
    schema_changed: bool = False
    page_changed: bool = False

    @property
    def changed(self) -> bool:
        """Whether anything is not as it was."""
        return self.plan.changed or self.schema_changed or self.page_changed or self.recovered is not None


def propose(
    settled: SettledRequest, bundle: Bundle, graphs: Path | None, database: Database | None, say: Say
) -> Proposal:
    """Plan an install of ``bundle``, with ``graphs`` prepared for this machine, and check it; changes nothing.

    Problems that a check finds are among the findings, so that a plan can show all of them.

    Raises:
        ClipUdfError: It cannot be planned.
    """
    target = settled.target
    refuse_interrupted(target.config)
    installation = settled.installation(bundle, graphs)
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
        handlers = plan_handlers(settled, bundle.manifest, database)
        findings += check_handlers(handlers)
    before = settled.before.effective if settled.before is not None else None
    differing = tuple(changes(before, effective)) if before is not None else ()
    return Proposal(settled, installation, schema, plan, objects, handlers, table, differing, tuple(findings))


def carry_out(proposal: Proposal, database: Database | None, say: Say, recovered: str | None = None) -> Outcome:
    """Make the changes of ``proposal`` and prove that they work; when any step fails, everything is as it was.

    Raises:
        ClipUdfError: It was refused, or undone; the message says which.
    """
    proposal.require_possible()
    plan = proposal.plan
    model = plan.records.find(proposal.settled.suffix)
    assert model is not None
    findings: list[Finding] = []
    connection = proposal.settled.request.connection
    objects, handlers, table = proposal.objects, proposal.handlers, proposal.table
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
            database = connection.connect()  # chDB, which reads new configuration files only as it starts
            if proposal.schema is not None:
                objects, table = _look_at_schema(
                    proposal.settled, proposal.installation, proposal.schema, database, findings
                )
            handlers = plan_handlers(proposal.settled, proposal.installation.bundle.manifest, database)
        if database is not None:
            if plan.changed and not started_now:
                _reload(database, plan, say)
            say("checking the functions in the server")
            _require(findings, list(verify_server(config, model, database, edited=plan.edited())))
            if proposal.schema is not None:
                say("creating tables and views")
                with labelled(database, proposal.schema.parameters, table):
                    deploy(database, objects)
            page_changed = deploy_page(database, handlers)
        if plan.changed:
            _wait_for_old_workers(proposal, database, say)
    made = tuple(step for step in objects if step.changes)
    relabelled = table is not None and table.outdated_comment is not None
    return Outcome(plan, tuple(findings), made, recovered, bool(made) or relabelled, page_changed)


def refuse_interrupted(config: ServerConfig) -> None:
    """Refuse to plan on what a killed installer left.

    Raises:
        ConflictError: There is such.
    """
    if was_interrupted(config):
        raise ConflictError(
            f"an install was interrupted on {config.on_disk(config.directory)}, and what is there now is neither"
            " old nor new; run install-udfs without --dry-run or --verify: it rolls that back first"
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
    """The configuration as it is now: a drop-in may have changed it."""
    return ServerConfig.read(proposal.settled.request.server_config, destdir=proposal.plan.config.destdir)


def _require(findings: list[Finding], found: list[Finding]) -> None:
    findings.extend(found)
    wrong = problems(found)
    if wrong:
        more = f" (and {len(wrong) - 1} more)" if len(wrong) > 1 else ""
        raise CheckFailed(f"{wrong[0]}{more}")


def _reload(database: Database, plan: Plan, say: Say) -> None:
    say("reloading the functions")
    if any(plan.config.main_file.with_suffix(".d") in step.path.parents for step in plan.steps if step.changes):
        database.command("SYSTEM RELOAD CONFIG")
    reload_functions(database)


def _wait_for_old_workers(proposal: Proposal, database: Database | None, say: Say) -> None:
    """Let the old launchers live until no query can start one: they are removed after this."""
    before, config = proposal.settled.before, proposal.plan.config
    if before is None or before.revision == proposal.installation.placement.revision or proposal.settled.staged:
        return
    if database is not None:
        wait_for_queries(database, before.functions, say)
    elif server_runs(config):
        say(f"waiting {_POLL_SECONDS} s: a running server reads its definitions every 5 s")
        time.sleep(_POLL_SECONDS)


def wait_for_queries(database: Database, functions: Sequence[str], say: Say) -> None:
    """Wait until the queries that run now, and may still start old workers, have ended; for a minute at most.

    A query keeps the pool that it began with, and starts another worker of it when all are busy.
    """
    names = " OR ".join(f"position(query, {literal(name)}) > 0" for name in functions)
    running = f"SELECT query_id FROM system.processes WHERE ({names}) AND query_id != queryID() AND is_initial_query"
    waited_for = {row[0] for row in database.rows(running)}
    deadline = time.monotonic() + _DRAIN_SECONDS
    while waited_for and time.monotonic() < deadline:
        say(f"waiting for {len(waited_for)} queries that use the old workers")
        time.sleep(0.2)
        waited_for &= {row[0] for row in database.rows(running)}


def server_runs(config: ServerConfig) -> bool:
    """Whether a server works on the data of this configuration, by the process id in its ``status`` file."""
    try:
        found = re.search(r"^PID: (\d+)", (config.on_disk(config.path) / "status").read_text(), re.MULTILINE)
    except OSError:
        return False
    return found is not None and Path(f"/proc/{found[1]}").exists()
