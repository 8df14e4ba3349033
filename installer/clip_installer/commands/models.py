"""``clip-udfs models``: the models that are here, and where more come from."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import click


@click.command(short_help="List the models that are built in, and those that a server has.")
@click.option(
    "--server-config",
    type=click.Path(exists=True, path_type=Path),
    help="Also the models that are installed for this server.",
)
@click.option("--json", "as_json", is_flag=True, help="Print one JSON object.")
def models(server_config: Path | None, as_json: bool) -> None:
    """List models with the length of their vectors, their size and the memory of a worker."""
    from clip_installer import resources
    from clip_installer.install import load_records
    from clip_installer.model_source import builtin_names
    from clip_installer.placement import BUNDLE, HOME
    from clip_installer.server_config import ServerConfig
    from clip_udfs.bundle import Bundle

    found = [_row(Bundle.open(resources.builtin_models() / name), "built in", "") for name in builtin_names()]
    if server_config is not None:
        config = ServerConfig.read(server_config)
        for installed in load_records(config).models:
            bundle = Bundle.open(config.on_disk(config.user_scripts_path / HOME / installed.model / BUNDLE))
            found.append(_row(bundle, "installed", installed.functions[0]))
    if as_json:
        click.echo(json.dumps({"models": found}, ensure_ascii=False))
        return
    for row in found:
        click.echo(_line(row))
    click.echo("\nMore are made with clip-udfs build-model; its --list names what open_clip can download.")


def _row(bundle: Any, where: str, function: str) -> dict[str, Any]:
    from clip_installer.golden import precision_loss
    from clip_installer.sizing import worker_memory

    manifest = bundle.manifest
    memory = worker_memory(manifest, 1, "onnx")
    return {
        "name": manifest.name,
        "where": where,
        "function": function,
        "dimension": manifest.dimension,
        "precision": manifest.precision,
        "precision_loss": precision_loss(manifest),
        "bytes": sum(record.bytes for record in manifest.files.values()),
        "worker_bytes": {tower: own + memory.weights[tower] for tower, own in memory.worker.items()},
        "notice": manifest.notice,
    }


def _line(row: dict[str, Any]) -> str:
    from clip_installer.sizing import spoken

    where = f"{row['where']} as {row['function']}" if row["function"] else row["where"]
    line = (
        f"{row['name']}  {where}, vectors of {row['dimension']} numbers, {spoken(row['bytes'])} on disk, "
        f"{spoken(row['worker_bytes']['text'])} a text worker, {spoken(row['worker_bytes']['image'])} an image worker"
    )
    return "\n    ".join(filter(None, (line, row["precision_loss"], row["notice"])))
