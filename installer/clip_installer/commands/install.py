"""``clip-udfs install``, also ``install-udfs``: a model's functions into a server, or out of it."""

from __future__ import annotations

import json
import signal
import sys
from collections.abc import Iterable
from pathlib import Path
from typing import TYPE_CHECKING, Any, NoReturn

import click

if TYPE_CHECKING:
    from clip_installer.connection import ConnectionOptions
    from clip_installer.install import Outcome, Proposal
    from clip_installer.request import InstallRequest

_PATH = click.Path(path_type=Path)


@click.command(short_help="Install a model's functions into a ClickHouse server, verify or remove them.")
@click.option(
    "--server-config",
    type=_PATH,
    default=Path("/etc/clickhouse-server"),
    show_default=True,
    help="The server's configuration directory, or its main file.",
)
@click.option(
    "--model",
    default="emoji",
    show_default=True,
    metavar="BUNDLE|NAME|ARCH/TAG",
    help="A bundle's directory, a built-in model, or a model of open_clip to build first.",
)
@click.option("--suffix", help="Suffix of the SQL names, for a second model beside the first.")
@click.option(
    "--image-root",
    "image_roots",
    type=_PATH,
    multiple=True,
    metavar="DIR",
    help="Directory that encode_image may read; repeatable [default: the server's user_files_path].",
)
@click.option(
    "--pool-size", type=click.IntRange(1), default=2, show_default=True, help="Workers of each function."
)
@click.option(
    "--threads", type=click.IntRange(0), help="Engine threads of a worker [default: cores / pool size]."
)
@click.option(
    "--engine",
    type=click.Choice(["onnx", "torch"]),
    default="onnx",
    show_default=True,
    help="Inference engine.",
)
@click.option(
    "--wire-format",
    type=click.Choice(["TabSeparated", "RowBinary"]),
    default="TabSeparated",
    show_default=True,
    help="Format between ClickHouse and the workers.",
)
@click.option("--raw", is_flag=True, help="Vectors as the model gives them, not brought to length 1.")
@click.option("--python", type=_PATH, help="Interpreter of the workers [default: the one that runs this].")
@click.option(
    "--user", help="System user of the server [default: clickhouse for root, else the current one]."
)
@click.option("--destdir", type=_PATH, default=Path("/"), help="Install into the tree below this directory.")
@click.option(
    "--url", help="clickhouse-connect DSN of the server: call the functions there, deploy the schema."
)
@click.option("--data", type=_PATH, help="The same on the embedded engine, with this data directory.")
@click.option(
    "--embedded", is_flag=True, help="The same on the embedded engine, in the configuration's own path."
)
@click.option("--ddl/--no-ddl", default=True, show_default=True, help="Deploy table and views.")
@click.option("--table", help="Table that the views search [default: laion, or laion_SUFFIX].")
@click.option("--cluster", help="Cluster for the schema: ON CLUSTER, replicated and distributed tables.")
@click.option("--quantization", default="bf16", show_default=True, help="Of the vector indexes.")
@click.option(
    "--rows", type=click.IntRange(1), default=1_000_000, show_default=True, help="Rows to size indexes for."
)
@click.option("--verify", is_flag=True, help="Check what is installed, and change nothing.")
@click.option("--uninstall", is_flag=True, help="Remove what was installed; data stays.")
@click.option("--all", "every", is_flag=True, help="With --verify or --uninstall: every installed model.")
@click.option(
    "--dry-run", is_flag=True, help="Print the plan with every file and statement, and change nothing."
)
@click.option("--diff", is_flag=True, help="Print the differences to the files on the disk.")
@click.option("--force", is_flag=True, help="Replace foreign files (a copy is kept) and edited ones.")
@click.option("--json", "as_json", is_flag=True, help="Print one JSON object.")
def install(
    server_config: Path,
    model: str,
    suffix: str | None,
    image_roots: tuple[Path, ...],
    pool_size: int,
    threads: int | None,
    engine: str,
    wire_format: str,
    raw: bool,
    python: Path | None,
    user: str | None,
    destdir: Path,
    url: str | None,
    data: Path | None,
    embedded: bool,
    ddl: bool,
    table: str | None,
    cluster: str | None,
    quantization: str,
    rows: int,
    verify: bool,
    uninstall: bool,
    every: bool,
    dry_run: bool,
    diff: bool,
    force: bool,
    as_json: bool,
) -> None:
    r"""Install the SQL functions of a CLIP model into the ClickHouse server at --server-config.

    Files are put into place as one, checked as the server's user, and taken back if anything fails. Without
    --url (or --data, --embedded) no ClickHouse is touched: the schema is printed for you to run.

    \b
      install-udfs --server-config /etc/clickhouse-server --dry-run
      install-udfs --url http://default@localhost:8123 --model ./ViT-B-32-openai
      install-udfs --verify --url http://default@localhost:8123
      install-udfs --uninstall
    """
    from clip_installer.request import InstallRequest

    _refuse_contradictions(
        verify=verify,
        uninstall=uninstall,
        every=every,
        suffix=suffix,
        url=url,
        data=data,
        embedded=embedded,
        staged=destdir != Path("/"),
    )
    request = InstallRequest(
        server_config=server_config,
        model=model,
        suffix=suffix or "",
        image_roots=image_roots,
        pool_size=pool_size,
        threads=threads,
        engine=engine,
        wire_format=wire_format,
        normalize=not raw,
        python=(python or Path(sys.executable)).absolute(),
        user=user,
        destdir=destdir.absolute(),
        force=force,
        table=table,
        cluster=cluster,
        quantization=quantization,
        rows=rows,
        connection=_connection(server_config, url, data, embedded),
        ddl=ddl,
    )
    signal.signal(signal.SIGTERM, _interrupt)
    suffixes = None if suffix is None and not every else [suffix or ""]
    if verify:
        _verify(request, suffixes, every, as_json)
    elif uninstall:
        _uninstall(request, suffixes, every, dry_run, diff, as_json)
    else:
        _install(request, dry_run, diff, as_json)


def _refuse_contradictions(
    *,
    verify: bool,
    uninstall: bool,
    every: bool,
    suffix: str | None,
    url: str | None,
    data: Path | None,
    embedded: bool,
    staged: bool,
) -> None:
    if verify and uninstall:
        raise click.UsageError("--verify and --uninstall are two things; choose one")
    if every and not (verify or uninstall):
        raise click.UsageError("--all belongs to --verify or --uninstall")
    if every and suffix is not None:
        raise click.UsageError("--all and --suffix contradict each other")
    if suffix is not None and suffix and not (suffix.isascii() and suffix.replace("_", "a").isalnum()):
        raise click.UsageError(f"--suffix {suffix!r}: only letters, digits and _ can be in a function's name")
    if (url is not None) + (data is not None) + embedded > 1:
        raise click.UsageError("--url, --data and --embedded name different engines; choose one")
    if staged and (url is not None or data is not None or embedded):
        raise click.UsageError(
            "--destdir stages files for another place: no ClickHouse can be reached for it"
        )


def _connection(
    server_config: Path, url: str | None, data: Path | None, embedded: bool
) -> ConnectionOptions | None:
    from clip_installer.connection import ConnectionOptions

    if url is not None:
        return ConnectionOptions(url=url)
    if data is not None or embedded:
        return ConnectionOptions(server_config=server_config, data=data)
    return None


def _interrupt(signal_number: int, frame: object) -> NoReturn:
    raise KeyboardInterrupt


def _install(request: InstallRequest, dry_run: bool, diff: bool, as_json: bool) -> None:
    from clip_installer import install as work
    from clip_installer import report
    from clip_installer.model_source import opened_model
    from clip_installer.sizing import index_memory, worker_memory

    with opened_model(request.model) as bundle:
        outcome = None
        if dry_run:
            proposal = work.propose(request, bundle)
            differences = list(report.diff_lines(proposal.plan)) if diff else []
        else:
            differences = list(report.diff_lines(work.propose(request, bundle).plan)) if diff else []
            proposal, outcome = work.install(request, bundle)
        workers = worker_memory(bundle.manifest, request.pool_size, request.engine)
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
    from clip_installer.report import sql_lines

    schema = proposal.schema
    if schema is not None and (dry_run or (request.connection is None and outcome and outcome.plan.changed)):
        title = (
            "\nSQL, run once the files work"
            if request.connection
            else "\nSQL for you to run (no --url was given)"
        )
        _print(sql_lines(title, [statement.sql for statement in schema.statements]))
        _print(
            sql_lines("\nAfter the data is loaded", [statement.sql for statement in schema.index_statements])
        )


def _print_outcome(proposal: Proposal, outcome: Outcome | None) -> None:
    from clip_installer.report import finding_lines

    name = proposal.installation.bundle.manifest.name
    first = proposal.installation.sql_names[0]
    if outcome is None:
        _print(
            [
                "",
                "Nothing was changed: this was a dry run."
                if proposal.plan.changed
                else "Nothing would change.",
            ]
        )
        return
    if outcome.recovered:
        _print(["", f"Before this, it {outcome.recovered}."])
    _print(["", "Checks", *finding_lines(outcome.findings)])
    for path in outcome.plan.kept():
        _print(
            [f"Kept as it was edited: {outcome.plan.config.on_disk(path)} (--diff shows, --force replaces)"]
        )
    if not outcome.changed:
        _print(["", f"Nothing changed: {name} is installed as asked."])
    else:
        _print(["", f"Installed {name}. Try: SELECT {first}('cat')"])


def _verify(request: InstallRequest, suffixes: list[str] | None, every: bool, as_json: bool) -> None:
    from clip_installer import install as work
    from clip_installer import report
    from clip_installer.errors import ApplyError, ConflictError
    from clip_installer.findings import problems
    from clip_installer.sql_checks import reload_functions
    from clip_installer.verify import verify_host, verify_server

    config = request.config()
    records = work.load_records(config)
    chosen = [model.suffix for model in records.models] if every else work.choose_suffixes(config, suffixes)
    models = [model for suffix in chosen if (model := records.find(suffix)) is not None]
    if not models:
        raise ConflictError(f"nothing is installed for {config.on_disk(config.main_file)}")
    user = request.owner()
    findings = [finding for model in models for finding in verify_host(config, model, user)]
    if request.connection is not None:
        client = request.connection.connect()
        reload_functions(client)
        findings += [finding for model in models for finding in verify_server(config, model, client)]
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
        raise ApplyError(f"{len(wrong)} of {len(findings)} checks failed, the first: {wrong[0]}")


def _uninstall(
    request: InstallRequest, suffixes: list[str] | None, every: bool, dry_run: bool, diff: bool, as_json: bool
) -> None:
    from clip_installer import install as work
    from clip_installer import report

    config = request.config()
    if every:
        suffixes = [model.suffix for model in work.load_records(config).models]
    chosen = work.choose_suffixes(config, suffixes)
    proposed, models = work.propose_removal(config, request.owner(), chosen, force=request.force)
    differences = list(report.diff_lines(proposed)) if diff else []
    plan, outcome = proposed, None
    if not dry_run:
        outcome, models = work.remove(request, chosen)
        plan = outcome.plan
    drops = [drop for model in models for drop in model.drops]
    if as_json:
        _print_json(
            {
                "dry_run": dry_run,
                "changed": outcome.changed if outcome else plan.changed,
                "models": [{"name": model.model, "suffix": model.suffix} for model in models],
                **report.plan_object(plan),
                "drops": drops,
                **({"diff": "\n".join(differences)} if diff else {}),
            }
        )
        return
    if not plan.changed:
        _print([f"Nothing changed: nothing is installed for {config.on_disk(config.main_file)}."])
        return
    _print(report.file_lines(plan))
    _print(differences)
    if drops:
        _print(report.sql_lines("\nTables and data stay. To drop the views and indexes as well:", drops))
    _print(["", "Nothing was changed: this was a dry run." if dry_run else "Removed."])


def _print(lines: Iterable[str]) -> None:
    for line in lines:
        click.echo(line)


def _print_json(values: dict[str, Any]) -> None:
    click.echo(json.dumps(values, ensure_ascii=False))
