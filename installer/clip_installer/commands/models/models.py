"""``clip-udfs models``: the models that are available here, and where to get more."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from clip_installer.commands.options import json_option

if TYPE_CHECKING:
    from clip_installer.install.records.records import InstalledModel
    from clip_installer.server.config import ServerConfig

_HELP = """\
List models, or only those with PART in their name, with the length of their vectors, their size on disk and the memory
of a worker.

\b
  clip-udfs models --server-config /etc/clickhouse-server
  clip-udfs models --available ViT-L
"""


@click.command(help=_HELP, short_help="List built-in models, installed models, and open_clip's.")
@click.option(
    "--server-config",
    type=click.Path(exists=True, path_type=Path),
    help="Also list the models installed on this server.",
)
@click.option(
    "--available", is_flag=True, help="Also list open_clip's models, for build-model; takes about a second for each."
)
@json_option
@click.argument("part", default="")
def models(server_config: Path | None, available: bool, part: str, as_json: bool) -> None:
    """List models with the length of their vectors, their size on disk and the memory of a worker."""
    rows = (row for row in _rows(server_config, available, part) if part.lower() in row["name"].lower())
    if as_json:
        click.echo(json.dumps({"models": list(rows)}, ensure_ascii=False))
        return
    for row in rows:
        click.echo(_line(row))
    if not available:
        click.echo("\nMore are made with clip-udfs build-model; clip-udfs models --available lists those of open_clip.")


def _rows(server_config: Path | None, available: bool, part: str) -> Iterator[dict[str, Any]]:
    from clip_installer import resources
    from clip_installer.install.records.records import load_records
    from clip_installer.models.source import builtin_names
    from clip_installer.server.config import ServerConfig
    from clip_udfs.bundle import Bundle

    for name in builtin_names():
        manifest = Bundle.open(resources.builtin_models() / name).manifest
        yield _row(manifest, "built in", sum(record.bytes for record in manifest.files.values()), "onnx")
    if server_config is not None:
        config = ServerConfig.read(server_config)
        for installed in load_records(config).models:
            yield _installed(config, installed)
    if available:
        yield from _available(part)


def _installed(config: ServerConfig, model: InstalledModel) -> dict[str, Any]:
    from clip_installer.install.files.placement import Placement
    from clip_udfs.bundle import Bundle
    from clip_udfs.errors import ClipUdfError
    from clip_udfs.settings import WorkerSettings

    place = Placement.of(config, model.model, model.revision)
    try:
        manifest = Bundle.open(config.on_disk(place.bundle)).manifest
        settings = WorkerSettings.load(config.on_disk(place.settings))
        size = sum(config.on_disk(file.path).stat().st_size for file in model.files)
    except (ClipUdfError, OSError) as error:
        return {"name": model.model, "where": "installed", "function": model.functions[0], "problem": str(error)}
    return _row(manifest, "installed", size, settings.engine, settings.threads, model.functions[0])


def _available(part: str) -> Iterator[dict[str, Any]]:
    from clip_installer.models.build.source.available import available
    from clip_installer.models.published import published
    from clip_installer.models.speed import times
    from clip_installer.planning.sizing import without_weights

    own = without_weights()
    for model in available(part):
        weights = model.weights
        yield {
            "name": model.name,
            "where": "available",
            "function": "",
            "dimension": model.dimension,
            "tags": list(model.tags),
            "published": {tag: vars(known) for tag in model.tags if (known := published(model.name, tag))},
            "relative_time": times(model.name),
            "bytes": sum(weights.values()) if weights else None,
            "worker_bytes": {tower: own[tower] + size for tower, size in weights.items()} if weights else None,
        }


def _row(manifest: Any, where: str, size: int, engine: str, threads: int = 1, function: str = "") -> dict[str, Any]:
    from clip_installer.install.checks.golden import precision_loss
    from clip_installer.planning.sizing import worker_memory

    memory = worker_memory(manifest, 1, engine, threads=threads)
    return {
        "name": manifest.name,
        "where": where,
        "function": function,
        "dimension": manifest.dimension,
        "precision": manifest.precision,
        "precision_loss": precision_loss(manifest),
        "bytes": size,
        "worker_bytes": {tower: own + memory.weights[tower] for tower, own in memory.worker.items()},
        "notice": manifest.notice,
    }


def _line(row: dict[str, Any]) -> str:
    from clip_installer.models.published import Published
    from clip_installer.models.speed import BESIDE
    from clip_installer.planning.sizing import spoken
    from clip_udfs.errors import printable

    where = f"{row['where']} as {row['function']}" if row["function"] else row["where"]
    if "problem" in row:
        return f"{row['name']}  {where}, but not in order: {row['problem']}"
    if row["bytes"] is None:
        sizes = "sizes known once it is built"
    else:
        about = "about " if row["where"] == "available" else ""
        text, image = (spoken(row["worker_bytes"][tower]) for tower in ("text", "image"))
        sizes = f"{about}{spoken(row['bytes'])} on disk, {text} a text worker, {image} an image worker"
    line = f"{row['name']}  {where}, vectors of {row['dimension']} numbers, {sizes}"
    tags = f"tags: {', '.join(row['tags'])}" if row.get("tags") else None
    known = (f"{tag}: {Published(**values)}" for tag, values in row.get("published", {}).items())
    speed = None
    if relative := row.get("relative_time"):
        speed = f"time beside {BESIDE}: {relative['text']:g} times for a text, {relative['image']:g} for an image"
    said = (line, row.get("precision_loss"), printable(row.get("notice", "")), speed, tags, *known)
    return "\n    ".join(filter(None, said))
