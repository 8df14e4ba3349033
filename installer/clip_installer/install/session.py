"""One run of install, verify or uninstall: take the lock, read the server, act, pass the result to the output."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace

from clip_installer.clickhouse.database import Database
from clip_installer.errors import VerifyError
from clip_installer.install.checks.dependents import dependents
from clip_installer.install.checks.findings import Finding, note, ok, problems
from clip_installer.install.checks.schema import check_schema
from clip_installer.install.checks.search_page import check_page, check_served
from clip_installer.install.checks.server import check_server, reload_functions
from clip_installer.install.checks.verify import verify_host, verify_server
from clip_installer.install.files.placement import Placement, page_drop_in
from clip_installer.install.flow import carry_out, propose, refuse_interrupted
from clip_installer.install.model.host_graphs import host_graphs
from clip_installer.install.model.settled import installed_bundle, settled_model
from clip_installer.install.output.output import Output
from clip_installer.install.records.records import InstalledModel
from clip_installer.install.removal import carry_out_removal, propose_removal
from clip_installer.install.request.options import Options
from clip_installer.install.request.request import InstallRequest, SettledRequest
from clip_installer.install.request.target import Target
from clip_installer.install.transaction.apply import locked
from clip_installer.server.config import ServerConfig
from clip_installer.tables.deploy import Schema
from clip_installer.tables.search_page.page import SearchPage
from clip_udfs.errors import BundleError


def install(request: InstallRequest, output: Output, *, dry_run: bool) -> None:
    """Install, or only plan it.

    Raises:
        ClipUdfError: It was refused, or undone; the message says which.
    """
    with _alone(request, dry_run=dry_run) as recovered:
        settled = request.settled(request.target())
        with settled_model(settled, output.status) as bundle:
            # Refuse what cannot be installed before preparing the graphs.
            placement = settled.installation(bundle, None).placement
            with (
                _early_database(request, placement, dry_run=dry_run) as database,
                host_graphs(settled, bundle, output.status) as graphs,
            ):
                proposal = propose(settled, bundle, graphs, database, output.status)
                output.plan(proposal, dry_run=dry_run)
                proposal.require_possible()
                if dry_run:
                    output.proposed(proposal)
                    return
                outcome = carry_out(proposal, database, output.status, recovered)
                output.installed(proposal, outcome)


def uninstall(request: InstallRequest, output: Output, suffix: str | None, *, every: bool, dry_run: bool) -> None:
    """Remove the model with ``suffix``, the only one, or ``every`` one, or only plan it.

    Raises:
        ClipUdfError: It was refused, or undone; the message says which.
    """
    with _alone(request, dry_run=dry_run) as recovered, _database(request) as database:
        removal = propose_removal(request.target(), suffix, every=every, force=request.force, database=database)
        outcome = None
        if not dry_run:
            outcome = carry_out_removal(removal, database, output.status, recovered)
        output.removal(removal, outcome, connected=database is not None)
        if dry_run:
            removal.require_possible()


def verify(request: InstallRequest, output: Output, suffix: str | None, *, deep: bool) -> None:
    """Check the model with ``suffix`` (None: every one); changes nothing, except that ``deep`` starts fresh workers.

    Raises:
        ClipUdfError: Nothing is installed, or something is wrong with it.
    """
    target = request.target()
    target.require_model(suffix)
    refuse_interrupted(target.config)
    models = [model for model in target.records.models if suffix in (None, model.suffix)]
    findings: list[Finding] = []
    for model in models:
        output.status(f"checking {model.model}")
        findings += verify_host(target.config, model, target.user)
    with _database(request) as database:
        if database is not None:
            output.status("checking the server")
            findings += check_server(database)
            if deep:
                reload_functions(database)
            for model in models:
                findings += verify_server(target.config, model, database, deep=deep)
                findings += check_schema(database, model, _schema(request, target, model))
                page = _search_page(request, target, model, database)
                findings += _check_page(request, target, model, page, database) if page is not None else ()
            names = [name for model in models for name in model.functions]
            found = [str(one) for one in dependents(database, names)]
            findings += [note("dependents", one) for one in found] or [ok("dependents", "nothing else calls them")]
    output.verified(models, findings)
    wrong = problems(findings)
    if wrong:
        raise VerifyError(f"{len(wrong)} of {len(findings)} checks failed, the first: {wrong[0]}")


def _schema(request: InstallRequest, target: Target, model: InstalledModel) -> Schema | None:
    """The schema of an installed model; None if it has none, or its bundle is damaged."""
    settled = SettledRequest(replace(request, suffix=model.suffix), target, model, Options.from_record(model.options))
    try:
        return settled.schema(installed_bundle(target.config, model).manifest)
    except BundleError:
        return None  # the file checks report why


def _search_page(
    request: InstallRequest, target: Target, model: InstalledModel, database: Database
) -> SearchPage | None:
    """The search page of an installed model; None if it has none, or its bundle is damaged."""
    settled = SettledRequest(replace(request, suffix=model.suffix), target, model, Options.from_record(model.options))
    try:
        manifest = installed_bundle(target.config, model).manifest
    except BundleError:
        return None  # as above
    return settled.search_page(manifest, str(database.value("SELECT currentDatabase()")))


def _check_page(
    request: InstallRequest, target: Target, model: InstalledModel, page: SearchPage, database: Database
) -> list[Finding]:
    """Whether the page is served, from the configuration or by handlers created by SQL."""
    file = page_drop_in(target.config, model.suffix)
    if any(one.path == file for one in model.files):
        return [check_served(request.connection, page, target.config.on_disk(file))]
    return list(check_page(database, page))


@contextmanager
def _alone(request: InstallRequest, *, dry_run: bool) -> Iterator[str | None]:
    """Lock out other installers, after rolling back what a killed one left; a dry run locks and changes nothing."""
    if dry_run:
        yield None
        return
    with locked(ServerConfig.read(request.server_config, destdir=request.destdir)) as recovered:
        yield recovered


@contextmanager
def _database(request: InstallRequest) -> Iterator[Database | None]:
    """The requested connection, or None."""
    if request.connection is None:
        yield None
        return
    with request.connection.connect() as database:
        yield database


@contextmanager
def _early_database(request: InstallRequest, placement: Placement, *, dry_run: bool) -> Iterator[Database | None]:
    """The connection before the change; None if chDB must start on the changed configuration, or not at all.

    chDB writes into its data directory when it starts, and reads new configuration files only then.
    """
    connection = request.connection
    drop_in = placement.drop_in
    if (
        connection is not None
        and not connection.is_server
        and (dry_run or (drop_in is not None and not drop_in.exists()))
    ):
        yield None
        return
    with _database(request) as database:
        yield database
