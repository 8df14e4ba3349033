"""``clip-udfs build-index``: the vector indexes of a loaded table."""

from __future__ import annotations

import json
from dataclasses import asdict

import click

from clip_installer.clickhouse.connection import ConnectionOptions
from clip_installer.commands.options import connection_options, json_option, table_option
from clip_installer.errors import TableUnfit
from clip_installer.tables.schema import QUANTIZATIONS, SchemaParameters, stored_dimension

_HELP = """\
Add image_index and text_index to a table and build them for its rows.

Run it after loading, since merges during the load would build an existing index again, and once more after the table
has grown: it also draws the sample of vectors from which the search views compute relevance. clip-udfs recall
shows what other parameters cost and bring.

\b
  clip-udfs build-index --table laion --url http://localhost:8123
"""


@click.command("build-index", help=_HELP, short_help="Build the vector indexes of a loaded table.")
@connection_options
@table_option
@click.option(
    "--quantization",
    type=click.Choice(QUANTIZATIONS),
    default="bf16",
    show_default=True,
    help="What the index keeps of a number.",
)
@click.option("--m", default=64, show_default=True, help="Connections of each vector.")
@click.option("--ef-construction", default=256, show_default=True, help="Candidates seen while building.")
@click.option("--cluster", help="The table is <table>_local on the shards of this cluster.")
@click.option("--rebuild", is_flag=True, help="Replace indexes of other parameters.")
@json_option
def build_index(
    connection: ConnectionOptions,
    table: str,
    quantization: str,
    m: int,
    ef_construction: int,
    cluster: str | None,
    rebuild: bool,
    as_json: bool,
) -> None:
    """Add image_index and text_index to a table and build them for its rows."""
    from clip_installer.progress import progress
    from clip_installer.tables.sample import draw_sample
    from clip_installer.tables.vector_index import build_indexes

    with progress() as advance, connection.connect() as database:
        stored = f"{table}_local" if cluster else table
        dimension = stored_dimension(database, stored)
        if dimension is None:
            raise TableUnfit(f"no table {stored} has a constraint that tells its vectors' length; import first")
        parameters = SchemaParameters(
            table=table,
            dimension=dimension,
            quantization=quantization,
            m=m,
            ef_construction=ef_construction,
            cluster=cluster,
        )
        changed, built = build_indexes(database, parameters, rebuild, advance)
        drawn = draw_sample(database, parameters)
    if as_json:
        click.echo(
            json.dumps({"table": stored, "changed": changed or drawn, "indexes": [asdict(index) for index in built]})
        )
        return
    if not changed:
        click.echo(f"unchanged: the indexes of {stored} are built")
    for index in built:
        click.echo(f"{index.name}: {index.definition}, {index.bytes_on_disk / 2**20:,.1f} MiB")
    if drawn:
        click.echo(f"{parameters.sample_table}: drawn, for the relevance in the search views")
