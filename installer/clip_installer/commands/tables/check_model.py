"""``clip-udfs check-model``: does the installed model produce a table's vectors?"""

from __future__ import annotations

import json
from dataclasses import asdict

import click

from clip_installer.clickhouse.connection import ConnectionOptions
from clip_installer.commands.options import connection_options, json_option, table_option

_HELP = """\
Encode a sample of a table's captions, and of its images if the files are readable, and compare the vectors.

Exits with status 1 if another model made the table's vectors.

\b
  clip-udfs check-model --table laion --url http://localhost:8123
"""


@click.command("check-model", help=_HELP, short_help="Does the installed model produce a table's vectors?")
@connection_options
@table_option
@click.option("--suffix", default="", help="Suffix of the model's functions [default: the model without one].")
@click.option("--sample", default=200, show_default=True, help="How many captions, and images, to encode.")
@json_option
def check_model(connection: ConnectionOptions, table: str, suffix: str, sample: int, as_json: bool) -> int:
    """Encode a sample of a table's captions and images again, and compare the vectors."""
    from clip_installer.tables import comparison as model_check

    with connection.connect() as database:
        verdict = model_check.check_model(database, table, suffix, sample)
    if as_json:
        click.echo(json.dumps({"table": table, **asdict(verdict)}))
    else:
        click.echo(f"{table}: {verdict.text}")
        click.echo(f"  {verdict.origin}")
        for seen in verdict.comparisons:
            if seen.stored_dimension != seen.encoded_dimension:
                continue
            click.echo(
                f"  {seen.compared} {seen.kind}: median cosine {seen.median_cosine:.5f},"
                f" smallest {seen.least_cosine:.5f}; lengths {seen.stored_norm:.3f} stored,"
                f" {seen.encoded_norm:.3f} encoded"
            )
    return int(verdict.code == "different")
