"""The whole of an install, and of a removal: lock, plan, change, prove, deploy the schema, or undo it all."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from clip_installer.clickhouse.sql import literal
from clip_installer.errors import ApplyError, ConflictError
from clip_installer.install.apply import applied, locked, was_interrupted
from clip_installer.install.checks.findings import Finding, problems
from clip_installer.install.checks.server import check_server, reload_functions
from clip_installer.install.checks.verify import verify_host, verify_server
from clip_installer.install.plan import Plan, plan_install, plan_removal
from clip_installer.install.records import InstalledModel, load_records
from clip_installer.install.request import InstallRequest
from clip_installer.install.wanted import Installation
from clip_installer.server.config import ServerConfig
from clip_installer.server.user import ServerUser
from clip_installer.tables.deploy import Schema, deploy, is_deployed
from clip_installer.tables.guard import fitting_table
from clip_udfs.bundle import Bundle

if TYPE_CHECKING:
    from clip_installer.clickhouse.database import Database


@dataclass(frozen=True)
class Proposal:
    """An install that was planned.

    Attributes:
        installation: The model as it shall be.
        schema: Its schema; None where none is wanted.
        plan: The changes of files.
        replaced: Name of another model that has the suffix until now; None where there is none.
    """

    installation: Installation
    schema: Schema | None
    plan: Plan
    replaced: str | None = None


@dataclass(frozen=True)
class Outcome:
    """What an install or a removal did.

    Attributes:
        plan: The changes of files.
        findings: The checks that were made.
        schema_changed: Whether DDL was run.
        recovered: What was done before about a killed installer; None where there was nothing.
    """

    plan: Plan
    findings: tuple[Finding, ...]
    schema_changed: bool = False
    recovered: str | None = None

    @property
    def changed(self) -> bool:
        """Whether anything is not as it was."""
        return self.plan.changed or self.schema_changed or self.recovered is not None


def undo_interrupted(config: ServerConfig) -> str | None:
    """Undo, or finish, what a killed installer left; what was done, in words, or None.

    Raises:
        ClipUdfError: Another installer is at work, or the undoing failed.
    """
    with locked(config) as recovered:
        return recovered


def propose(request: InstallRequest, bundle: Bundle, graphs: Path | None) -> Proposal:
    """Plan an install of ``bundle``, with ``graphs`` prepared for this machine; writes nothing.

    Raises:
        ClipUdfError: It cannot be done, or must not.
    """
    config = request.config()
    _refuse_interrupted(config)
    installation = request.installation(config, bundle, graphs)
    schema = request.schema(bundle.manifest)
    records = load_records(config)
    run = schema is not None and request.connection is not None
    plan = plan_install(
        config,
        records,
        request.server_user(config, records.user),
        installation,
        drops=schema.drops() if schema else (),
        deployed_schema=schema.digest if schema and run else None,
        force=request.force,
    )
    before = records.find(request.suffix)
    replaced = before.model if before and before.model != bundle.manifest.name else None
    return Proposal(installation, schema, plan, replaced)


def install(request: InstallRequest, bundle: Bundle, graphs: Path | None) -> tuple[Proposal, Outcome]:
    """Install ``bundle`` with ``graphs``, prove that it works; when any step fails, everything is as it was.

    Raises:
        ClipUdfError: It cannot be done, or must not, or was undone; the message says which.
    """
    config = request.config()
    with locked(config):
        recorded = load_records(config).find(request.suffix)
        proposal = propose(request, bundle, graphs)
        plan, schema = proposal.plan, proposal.schema
        model = plan.records.find(request.suffix)
        assert model is not None
        findings: list[Finding] = []
        schema_changed = False
        server = None
        if request.connection is not None and request.connection.is_server:
            server = request.connection.connect()
            _refuse_sql_functions(server, model)
        with _reloaded_after_failure(server), applied(plan):
            config = request.config()  # a drop-in may have changed it
            _require(findings, list(verify_host(config, model, plan.user)))
            database = server
            if request.connection is not None and database is None:
                # The embedded engine reads the configuration as it starts, so it starts on the new files.
                database = request.connection.connect()
            if database is not None:
                if server is not None and plan.changed:
                    _reload(server, plan)
                findings.extend(check_server(database))
                _require(findings, list(verify_server(config, model, database)))
                if schema is not None:
                    others = [one for one in plan.records.models if one.suffix != request.suffix]
                    schema_changed = _deploy(database, schema, recorded, others, force=request.force)
        return proposal, Outcome(plan, tuple(findings), schema_changed)


def propose_removal(
    config: ServerConfig, user: ServerUser, suffixes: Sequence[str], *, force: bool
) -> tuple[Plan, list[InstalledModel]]:
    """Plan the removal of the models of ``suffixes``; writes nothing.

    Raises:
        ConflictError: One of them is not installed, or a file of it was edited.
    """
    _refuse_interrupted(config)
    records = load_records(config)
    models = [model for suffix in suffixes if (model := records.find(suffix)) is not None]
    return plan_removal(config, records, user, suffixes, force=force), models


def remove(request: InstallRequest, suffix: str | None, *, every: bool) -> tuple[Outcome, list[InstalledModel]]:
    """Remove the model of ``suffix`` (None: the only one, or ``every`` one), restoring what they replaced.

    Raises:
        ClipUdfError: It cannot be done, or must not, or was undone; the message says which.
    """
    config = request.config()
    with locked(config):
        chosen = suffixes_to_remove(config, suffix, every=every)
        plan, models = propose_removal(config, removal_user(request, config), chosen, force=request.force)
        server = request.connection.connect() if request.connection and request.connection.is_server else None
        with _reloaded_after_failure(server), applied(plan):
            if server is not None and plan.changed:
                _reload(server, plan)
                for model in models:
                    _require_gone(server, model)
        return Outcome(plan, ()), models


def removal_user(request: InstallRequest, config: ServerConfig) -> ServerUser:
    """The user that the server runs as, for a removal.

    Raises:
        ConfigurationError: That user does not exist, or is not known.
    """
    return request.server_user(config, load_records(config).user)


def suffixes_to_remove(config: ServerConfig, suffix: str | None, *, every: bool) -> list[str]:
    """The suffixes that an uninstall means: the given one, every one, or that of the only model.

    Raises:
        ConflictError: None is given and several models are installed.
    """
    installed = [model.suffix for model in load_records(config).models]
    if suffix is not None:
        return [suffix] if suffix in installed else []
    if len(installed) > 1 and not every:
        names = ", ".join(f"--suffix '{one}'" for one in installed)
        raise ConflictError(f"{len(installed)} models are installed; say which one to remove, {names}, or --all")
    return installed


def _refuse_interrupted(config: ServerConfig) -> None:
    if was_interrupted(config):
        raise ConflictError(
            f"an install was interrupted on {config.on_disk(config.directory)}, and what is there now is neither"
            " old nor new; run install-udfs without --dry-run: it undoes that first"
        )


@contextmanager
def _reloaded_after_failure(database: Database | None) -> Iterator[None]:
    try:
        yield
    except BaseException:
        if database is not None:
            reload_functions(database)
        raise


def _require(findings: list[Finding], found: list[Finding]) -> None:
    findings.extend(found)
    wrong = problems(found)
    if wrong:
        more = f" (and {len(wrong) - 1} more)" if len(wrong) > 1 else ""
        raise ApplyError(f"{wrong[0]}{more}")


def _reload(database: Database, plan: Plan) -> None:
    if any(plan.config.main_file.with_suffix(".d") in step.path.parents for step in plan.steps if step.changes):
        database.command("SYSTEM RELOAD CONFIG")
    reload_functions(database)


def _deploy(
    database: Database,
    schema: Schema,
    recorded: InstalledModel | None,
    others: Sequence[InstalledModel],
    *,
    force: bool,
) -> bool:
    before = recorded.schema if recorded else ""
    if is_deployed(database, schema, before):
        return False
    with fitting_table(database, schema.parameters, [other.model for other in others]):
        deploy(database, schema, replace=force or bool(before))
    return True


def _refuse_sql_functions(database: Database, model: InstalledModel) -> None:
    names = ", ".join(literal(name) for name in model.functions)
    taken = database.rows(
        f"SELECT name FROM system.functions WHERE name IN ({names}) AND origin = 'SQLUserDefined' LIMIT 1",
    )
    if taken:
        raise ConflictError(
            f"the server has an SQL function {taken[0][0]}; use --suffix NAME, or DROP FUNCTION {taken[0][0]}"
        )


def _require_gone(database: Database, model: InstalledModel) -> None:
    names = ", ".join(literal(name) for name in model.functions)
    left = database.rows(
        f"SELECT name FROM system.functions WHERE name IN ({names}) AND origin = 'ExecutableUserDefined' LIMIT 1",
    )
    if left:
        raise ApplyError(f"the server still has {left[0][0]}; is it the server of that configuration?")
