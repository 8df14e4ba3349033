"""``clip-udfs make-views``: the search views of any table with a column of vectors, into a server or out of it."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

import click

from clip_installer.commands.options import connection_options, json_option
from clip_installer.errors import ConflictError, UsageProblem

if TYPE_CHECKING:
    from clip_installer.clickhouse.connection import ConnectionOptions
    from clip_installer.clickhouse.database import Database
    from clip_installer.tables.layout import Layout

_HELP = """\
Create the search views of your own table, or remove them.

The table needs a column of vectors from the installed functions. For shop.products the views are, in the database shop,
search_products_by_text, search_products_by_image, search_products_by_image_bytes, search_products_by_embedding,
search_products_relevant_by_text, search_products_relevant_by_embedding and label_products. They show the columns that
you name; the first one identifies a row and must be unique. Relevance compares with a sample of the table: run the
command again after many rows have been inserted.

\b
  clip-udfs make-views --table shop.products --vector embedding --columns id,product --url http://localhost:8123
  clip-udfs make-views --table shop.products --remove --url http://localhost:8123
"""


@click.command("make-views", help=_HELP, short_help="Create or remove the search views of your own table.")
@connection_options
@click.option("--table", required=True, help="The table.")
@click.option("--vector", help="Its column of vectors [default: image_embedding, of a table of index-pictures].")
@click.option("--columns", help="Columns to show, separated by commas; the first one must be unique.")
@click.option("--suffix", default="", help="Suffix of the model's functions [default: the model without one].")
@click.option("--remove", is_flag=True, help="Remove the views instead; the table stays.")
@click.option("--dry-run", is_flag=True, help="Print what would be done, without doing it.")
@click.option("--force", is_flag=True, help="Replace views of these names that this command did not create.")
@json_option
def make_views(
    connection: ConnectionOptions,
    table: str,
    vector: str | None,
    columns: str | None,
    suffix: str,
    remove: bool,
    dry_run: bool,
    force: bool,
    as_json: bool,
) -> None:
    """Create the search views of a table, or remove them."""
    from clip_installer.tables.deploy import deploy, plan_schema
    from clip_installer.tables.own_views import drops, view_schema
    from clip_installer.tables.sample import draw_sample

    if remove and (vector or columns):
        raise UsageProblem("--remove needs neither --vector nor --columns")
    with connection.connect() as database:
        if remove:
            statements = drops(database, table, suffix)
            for statement in () if dry_run else statements:
                database.command(statement)
            _tell_removal(table, statements, dry_run=dry_run, as_json=as_json)
            return
        schema = view_schema(database, table, suffix, _layout(database, table, vector, columns))
        steps = plan_schema(database, schema, force=force)
        for step in steps:
            if step.action == "refused":
                raise ConflictError(f"{step.made.plain_name}: {step.reason}")
        changed = not dry_run and deploy(database, steps)
        if not dry_run:
            changed = draw_sample(database, schema.parameters) or changed
    views = [step.made.plain_name for step in steps if step.made.kind == "VIEW"]
    if as_json:
        listed = [{"name": step.made.plain_name, "action": step.action} for step in steps]
        click.echo(json.dumps({"table": table, "dry_run": dry_run, "changed": changed, "objects": listed}))
        return
    for step in steps:
        click.echo(f"{step.action:<10} {step.made.plain_name}")
        if dry_run and step.changes:
            click.echo(f"\n{step.made.statement.sql};\n")
    click.echo("Nothing was changed: this was a dry run." if dry_run else f"{len(views)} views search {table}.")


def _layout(database: Database, table: str, vector: str | None, columns: str | None) -> Layout:
    from clip_installer.tables.layout import LAION, layout_of, own_layout

    if vector is None and columns is None:
        layout = layout_of(database, table)
        if layout == LAION:
            raise UsageProblem("name the column of vectors and the columns to show: --vector NAME --columns A,B")
        return layout
    if vector is None or columns is None:
        raise UsageProblem("--vector and --columns go together")
    return own_layout(database, table, vector, tuple(one.strip() for one in columns.split(",") if one.strip()))


def _tell_removal(table: str, statements: list[str], *, dry_run: bool, as_json: bool) -> None:
    if as_json:
        changed = bool(statements) and not dry_run
        click.echo(json.dumps({"table": table, "dry_run": dry_run, "changed": changed, "statements": statements}))
        return
    for statement in statements:
        click.echo(f"{statement};")
    if dry_run:
        click.echo("Nothing was changed: this was a dry run.")
    elif not statements:
        click.echo(f"Nothing changed: {table} has no views that make-views made.")
