"""``clip-udfs try-model``: what would this model find among my images?"""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING

import click

from clip_installer.commands.options import json_option

if TYPE_CHECKING:
    from clip_installer.models.hits import Trial

_HELP = """\
Encode some of your images and print the nearest ones for each query, to choose a model before you install it. No
ClickHouse is needed.

Distances of different models do not compare. "Above average" does: standard deviations by which an image is nearer
than the average image.

\b
  clip-udfs try-model --model emoji --images ./photos --query "a dog" --query "something to eat"
"""


@click.command("try-model", help=_HELP, short_help="What would a model find among your images?")
@click.option(
    "--model",
    metavar="BUNDLE|NAME|ARCH/TAG",
    required=True,
    help="A bundle's directory, a built-in model, or a model of open_clip to build first.",
)
@click.option(
    "--images",
    "folder",
    required=True,
    type=click.Path(exists=True, file_okay=False, path_type=Path),
    help="Folder with your images.",
)
@click.option("--query", "queries", required=True, multiple=True, help="Text to search for; repeatable.")
@click.option("--hits", type=click.IntRange(1), default=3, show_default=True, help="Images to print for each query.")
@click.option(
    "--limit",
    type=click.IntRange(1),
    default=50,
    show_default=True,
    help="Images to encode; of more files, an even selection.",
)
@click.option(
    "--engine", type=click.Choice(["onnx", "torch"]), default="onnx", show_default=True, help="Inference engine."
)
@json_option
def try_model(
    model: str, folder: Path, queries: tuple[str, ...], hits: int, limit: int, engine: str, as_json: bool
) -> None:
    """Print the images that a model finds for each query."""
    from clip_installer.models.hits import try_model as tried
    from clip_installer.models.source import opened_model

    def report(line: str) -> None:
        if not as_json:
            click.echo(line, err=True)

    with opened_model(model, engine, report) as bundle:
        trial = tried(bundle, engine, folder, queries, best=hits, most=limit)
    if as_json:
        click.echo(json.dumps(asdict(trial), ensure_ascii=False))
        return
    for line in _lines(trial):
        click.echo(line)


def _lines(trial: Trial) -> Iterator[str]:
    from clip_udfs.errors import printable

    yield (
        f"{trial.model}: {trial.images} images, {trial.image_seconds * 1e3:.0f} ms each;"
        f" {trial.text_seconds * 1e3:.0f} ms a query"
    )
    for query, hits in trial.hits.items():
        yield f"\n{printable(query)}\n  distance  above average"
        for hit in hits:
            yield f"  {hit.distance:8.3f}  {hit.deviations:+13.1f}  {printable(hit.image)}"
    if trial.refused:
        name, reason = next(iter(trial.refused.items()))
        others = f" ({len(trial.refused)} files were not encoded)" if len(trial.refused) > 1 else ""
        yield f"\nnot encoded: {printable(name)}: {printable(reason)}{others}"
