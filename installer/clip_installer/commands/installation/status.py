"""``clip-udfs status``: what is installed for a server, from the records alone."""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from clip_installer.commands.options import json_option

if TYPE_CHECKING:
    from clip_installer.install.records.records import InstalledModel
    from clip_installer.install.request.target import Target

_SHOWN = ("image-root", "pool-size", "threads", "engine", "wire-format", "table", "cluster", "python")


@click.command(short_help="Print what is installed for a server, without checking it.")
@click.option(
    "--server-config",
    type=click.Path(path_type=Path),
    default=Path("/etc/clickhouse-server"),
    show_default=True,
    help="The server's configuration directory, or its main file.",
)
@click.option("--destdir", type=click.Path(path_type=Path), default=Path("/"), help="Root of a staged tree.")
@json_option
def status(server_config: Path, destdir: Path, as_json: bool) -> None:
    """Print the installed models, their functions and their options; install-udfs --verify checks them."""
    from clip_installer.install.request.target import Target
    from clip_installer.install.transaction.apply import was_interrupted

    target = Target.read(server_config, destdir.absolute(), None)
    interrupted = was_interrupted(target.config)
    models = [_object(target, model) for model in target.records.models]
    if as_json:
        click.echo(json.dumps({"models": models, "interrupted": interrupted}, ensure_ascii=False))
        return
    if interrupted:
        click.echo("An install was interrupted: the next run of install-udfs rolls it back first.")
    if not models:
        click.echo(f"Nothing is installed for {target.config.on_disk(target.config.main_file)}.")
    for model in models:
        click.echo(
            f"{model['model']}, version {model['version']}, {len(model['functions'])} functions as {model['first']}"
        )
        for name in _SHOWN:
            if (value := model["options"].get(name, "-")) != "-":
                click.echo(f"  {name:<12} {value}")
        click.echo(f"  {'programs':<12} {model['programs']}")


def _object(target: Target, model: InstalledModel) -> dict[str, Any]:
    from clip_installer.install.files.placement import Placement

    placement = Placement.of(target.config, model.model, model.revision)
    return {
        "model": model.model,
        "suffix": model.suffix,
        "version": model.version,
        "functions": list(model.functions),
        "first": model.functions[0] if model.functions else "",
        "options": dict(model.effective),
        "programs": str(target.config.on_disk(placement.directory)),
    }
