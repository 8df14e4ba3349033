"""``clip-udfs import-laion``: LAION's published parts into the searchable table."""

from __future__ import annotations

import json
import time
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING

import click

from clip_installer.clickhouse.connection import ConnectionOptions
from clip_installer.commands.options import connection_options, json_option, say_note

if TYPE_CHECKING:
    from clip_installer.clickhouse.database import Database


def _parts(context: click.Context, parameter: click.Parameter, value: str) -> list[int]:
    from clip_installer.laion.parts import parse_parts

    try:
        return parse_parts(value)
    except ValueError as error:
        raise click.BadParameter(str(error)) from error


_HELP = """\
Import parts from SOURCE, a folder or an http(s) address with the published layout.

\b
  img_emb/img_emb_N.npy  text_emb/text_emb_N.npy  metadata/metadata_N.parquet

The files may also lie in one folder, and text_emb may be missing. Vectors from another model than the table's are
refused. Each part is imported once: after an interruption, run the command again and it continues. Build the vector
indexes afterwards, with clip-udfs build-index.

\b
  clip-udfs import-laion ./laion --parts 0-9 --url http://localhost:8123
"""


@click.command("import-laion", help=_HELP, short_help="Import LAION's vectors and metadata into a table.")
@connection_options
@click.argument("source")
@click.option("--parts", required=True, callback=_parts, help="Which parts, e.g. 0-9 or 0,3,7-9.")
@click.option("--table", default="laion", show_default=True, help="The table; created if it does not exist.")
@click.option(
    "--downloads",
    type=click.Path(file_okay=False, path_type=Path),
    help="Where files of an http(s) source are fetched to [default: the user's cache].",
)
@click.option("--keep-downloads", is_flag=True, help="Keep fetched files after their part is imported.")
@click.option("--any-model", is_flag=True, help="Import even if the vectors come from another model than the table's.")
@json_option
def import_laion(
    connection: ConnectionOptions,
    source: str,
    parts: list[int],
    table: str,
    downloads: Path | None,
    keep_downloads: bool,
    any_model: bool,
    as_json: bool,
) -> None:
    """Import parts from SOURCE, a folder or an http(s) address with the published layout."""
    from clip_installer.download import Downloader, cache_folder
    from clip_installer.laion.importer import Importer
    from clip_installer.laion.source import open_source
    from clip_installer.progress import progress

    began = time.monotonic()
    outcomes = []
    with progress() as advance, connection.connect() as one, connection.connect() as another:
        downloader = Downloader(advance=advance)
        opened = open_source(source, downloads or cache_folder("laion"), keep_downloads, downloader)
        importer = Importer((one, another), table, opened, advance, any_model=any_model)
        _warn_of_indexes(one, table, as_json=as_json)
        for part in parts:
            outcome = importer.run(part)
            outcomes.append(outcome)
            if not as_json:
                without = "; no text vectors: those of the images are used" if outcome.without_texts else ""
                click.echo(f"part {part}: {outcome.state}, {outcome.imported} of {outcome.rows} rows new{without}")
    imported = sum(outcome.imported for outcome in outcomes)
    if as_json:
        answer = {
            "table": table,
            "source": opened.name,
            "parts": [asdict(outcome) for outcome in outcomes],
            "imported": imported,
            "seconds": round(time.monotonic() - began, 3),
        }
        click.echo(json.dumps(answer))
    elif imported:
        click.echo(f"{imported} rows imported into {table} in {time.monotonic() - began:.1f} s")
    elif any(outcome.rows for outcome in outcomes):
        click.echo(f"nothing imported: {table} has these parts already")
    else:
        click.echo("nothing imported: these parts have no rows")


def _warn_of_indexes(database: Database, table: str, *, as_json: bool) -> None:
    from clip_installer.clickhouse.sql import is_table

    found = database.rows(
        f"SELECT name FROM system.data_skipping_indices WHERE {is_table(table)} AND type = 'vector_similarity'"
    )
    if found:
        names = " and ".join(str(name) for (name,) in found)
        say_note(f"{table} already has {names}, which every merge during the import will rebuild", as_json=as_json)
