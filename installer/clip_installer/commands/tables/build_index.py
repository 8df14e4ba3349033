"""``clip-udfs build-index``: the vector indexes of a loaded table."""

from __future__ import annotations

import json
from dataclasses import asdict

import click

from clip_installer.clickhouse.connection import ConnectionOptions
from clip_installer.clickhouse.sql import identifier
from clip_installer.commands.options import connection_options, json_option, say_note, table_option
from clip_installer.errors import TableUnfit
from clip_installer.tables.schema import KINDS, METHODS, QUANTIZATIONS, SchemaParameters, stored_dimension

_UNCHANGED = {
    "hnsw": "the indexes of {} are built",
    "quantized": "the vectors of {} have their codes",
    "none": "{} has no vector index and no codes",
}
_HELP = """\
Add image_index and text_index to a table and build them for its rows, or give its vectors quantized codes.

Run it after loading, because merges during the load would build an existing index again. Run it again when the table
has grown: it also draws the sample of vectors from which the search views compute relevance. clip-udfs recall shows
what other parameters find and cost. The command waits for the build, which continues in the server after Ctrl-C.

--kind quantized (ClickHouse 26.7 and newer, experimental there) needs no memory and loses nothing to filters. It copies
the table: have its size free on the disk, and neither update nor delete rows meanwhile. Searches use the codes for
users with the setting vector_search_use_quantized_codes = 1 and compare every vector for others. --kind none removes
both.

\b
  clip-udfs build-index --table laion --url http://localhost:8123
  clip-udfs build-index --table laion --kind quantized --rebuild --url http://localhost:8123
"""


@click.command("build-index", help=_HELP, short_help="Build the vector indexes of a loaded table.")
@connection_options
@table_option
@click.option(
    "--kind",
    type=click.Choice(KINDS),
    help="An HNSW index, quantized codes, or neither [default: what the table has; hnsw for a new one].",
)
@click.option(
    "--method",
    type=click.Choice(METHODS),
    default="rabitq",
    show_default=True,
    help="Method of the quantized codes: one bit of a number, or two.",
)
@click.option(
    "--quantization",
    type=click.Choice(QUANTIZATIONS),
    default="bf16",
    show_default=True,
    help="Number format of the vectors in the index.",
)
@click.option("--m", default=64, show_default=True, help="Connections of each vector (HNSW's M).")
@click.option("--ef-construction", default=256, show_default=True, help="Candidates considered while building.")
@click.option("--cluster", help="The table is <table>_local on the shards of this cluster.")
@click.option("--rebuild", is_flag=True, help="Replace indexes of another kind or with other parameters.")
@click.option("--no-wait", is_flag=True, help="Start the build without waiting for it.")
@click.option("--cancel", is_flag=True, help="Stop a running build instead of starting one.")
@json_option
def build_index(
    connection: ConnectionOptions,
    table: str,
    kind: str | None,
    method: str,
    quantization: str,
    m: int,
    ef_construction: int,
    cluster: str | None,
    rebuild: bool,
    no_wait: bool,
    cancel: bool,
    as_json: bool,
) -> None:
    """Add image_index and text_index to a table and build them for its rows."""
    from clip_installer.progress import progress
    from clip_installer.tables.advice import advice
    from clip_installer.tables.layout import layout_of
    from clip_installer.tables.sample import draw_sample
    from clip_installer.tables.vector_index import mutations as index_mutations
    from clip_installer.tables.vector_index.kinds import make_kind, refuse_options

    refuse_options(kind, cluster=cluster, wait=not no_wait)
    with progress() as advance, connection.connect() as database:
        stored = f"{table}_local" if cluster else table
        dimension = stored_dimension(database, stored)
        if dimension is None:
            raise TableUnfit(f"no table {stored} has a constraint with its vectors' length; import first")
        parameters = SchemaParameters(
            table=table,
            dimension=dimension,
            quantization=quantization,
            m=m,
            ef_construction=ef_construction,
            cluster=cluster,
            layout=layout_of(database, stored),
        )
        if cancel:
            _say_cancelled(index_mutations.cancel(database, parameters), stored, as_json=as_json)
            return
        if not database.rows(f"SELECT 1 FROM {identifier(table)} LIMIT 1"):
            say_note(f"{table} has no rows yet: run build-index again after they are loaded", as_json=as_json)
        changed, kind, built = make_kind(
            database, parameters, kind, method=method, rebuild=rebuild, advance=advance, wait=not no_wait
        )
        running = no_wait and index_mutations.is_building(database, parameters)
        drawn = draw_sample(database, parameters)
        worth_changing = advice(database, parameters)
    if as_json:
        answer = {"table": stored, "kind": kind, "changed": changed or drawn, "running": running}
        answer["advice"] = worth_changing
        click.echo(json.dumps({**answer, "indexes": [asdict(index) for index in built]}))
        return
    if running:
        click.echo(f"the indexes of {stored} are being built; run build-index again to wait for them, or with --cancel")
        return
    if not changed:
        click.echo(f"unchanged: {_UNCHANGED[kind].format(stored)}")
    elif kind == "none":
        click.echo(f"removed: {stored} has no vector index and no codes; searches compare every vector")
    for index in built:
        click.echo(f"{index.name}: {index.definition}, {index.bytes_on_disk / 2**20:,.1f} MiB")
    if drawn:
        click.echo(f"{parameters.sample_table}: drawn, for the relevance in the search views")
    for sentence in worth_changing:
        click.echo(f"note: {sentence}")


def _say_cancelled(number: int, table: str, *, as_json: bool) -> None:
    if as_json:
        click.echo(json.dumps({"table": table, "changed": number > 0, "cancelled": number}))
    elif number:
        click.echo(f"cancelled: {number} mutations of {table}; what they had built stays, the rest has no index")
    else:
        click.echo(f"unchanged: no index of {table} is being built")
