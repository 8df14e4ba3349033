"""``clip-udfs install``, also ``install-udfs``: put a model's functions into a ClickHouse server."""

from __future__ import annotations

import json
import sys
from pathlib import Path

import click

MAX_DEFAULT_POOL = 2


@click.command(short_help="Install a model's functions into a ClickHouse server.")
@click.option(
    "--server-config",
    type=click.Path(path_type=Path),
    default=Path("/etc/clickhouse-server"),
    show_default=True,
    help="The server's configuration directory, or its main file.",
)
@click.option(
    "--model",
    default="emoji",
    show_default=True,
    metavar="BUNDLE|ARCH/TAG",
    help="A bundle's directory, a built-in model, or a model of open_clip to build first.",
)
@click.option("--suffix", default="", help="Suffix of the SQL names, for a second model beside the first.")
@click.option(
    "--image-root",
    "image_roots",
    type=click.Path(exists=True, file_okay=False, path_type=Path),
    multiple=True,
    help="Directory that encode_image may read; repeatable [default: the server's user_files_path].",
)
@click.option("--pool-size", type=click.IntRange(1), default=2, show_default=True, help="Processes per function.")
@click.option("--user", help="System user of the server [default: clickhouse for root, else the current one].")
@click.option("--force", is_flag=True, help="Replace foreign and edited files, keeping a copy of foreign ones.")
@click.option("--dry-run", is_flag=True, help="Print the plan and change nothing.")
@click.option("--json", "as_json", is_flag=True, help="Print one JSON object.")
def install(
    server_config: Path,
    model: str,
    suffix: str,
    image_roots: tuple[Path, ...],
    pool_size: int,
    user: str | None,
    force: bool,
    dry_run: bool,
    as_json: bool,
) -> None:
    """Install the SQL functions of a CLIP model into the ClickHouse server at --server-config."""
    import os

    from clip_installer.apply import applied, locked
    from clip_installer.model_source import opened_model
    from clip_installer.placement import place
    from clip_installer.plan import plan_install, records_path
    from clip_installer.records import Records
    from clip_installer.report import plan_lines, plan_object
    from clip_installer.server_config import ServerConfig
    from clip_installer.server_user import server_user
    from clip_installer.wanted import Installation
    from clip_udfs.settings import WorkerSettings

    config = ServerConfig.read(server_config)
    owner = server_user(user)
    with opened_model(model) as bundle, locked(config):
        placement = place(config, bundle.manifest.name)
        settings = WorkerSettings(
            bundle=placement.bundle,
            suffix=suffix,
            threads=max(1, (os.cpu_count() or 1) // pool_size),
            image_roots=tuple(root.absolute() for root in image_roots) or (config.user_files_path,),
        )
        installation = Installation(bundle, placement, Path(sys.executable), settings, pool_size)
        records = Records.load(config.on_disk(records_path(config)))
        plan = plan_install(config, records, owner, installation, force=force)
        if not dry_run:
            with applied(plan):
                pass
    if as_json:
        click.echo(json.dumps(plan_object(plan)))
    else:
        click.echo("\n".join(plan_lines(plan)))
