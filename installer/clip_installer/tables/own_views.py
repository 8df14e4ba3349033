"""The search views of any table with a column of vectors: created, replaced and removed."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

from clip_installer.clickhouse.sql import identifier, is_table, literal
from clip_installer.errors import CheckFailed, TableUnfit
from clip_installer.tables.deploy import Schema
from clip_installer.tables.label import installed_label
from clip_installer.tables.layout import Layout
from clip_installer.tables.schema import SchemaParameters, definition_of_comment, view_objects
from clip_udfs.functions import FUNCTIONS

if TYPE_CHECKING:
    from clip_installer.clickhouse.database import Database

# The model's scaling, in the definition of label_images by install-udfs.
_LOGITS = re.compile(r"-> \(*(?P<scale>[\d.]+) \* \(1 - cosineDistance\([^()]*\)\)+(?: \+ \(*(?P<bias>-?[\d.]+))?")


def view_schema(database: Database, table: str, suffix: str, layout: Layout) -> Schema:
    """The views of ``table`` for the installed model of ``suffix``, and the sample that they need.

    The label view is included if the installation's own has the scaling of the model's logits.

    Raises:
        CheckFailed: The functions are not installed.
        TableUnfit: The vectors of the table do not have the model's length.
    """
    label = installed_label(database, FUNCTIONS["encode_image"].sql_name(suffix))
    dimension = label.dimension if label else _dimension(database, suffix)
    vector = identifier(layout.image)
    stored = database.value(f"SELECT length({vector}) FROM {identifier(table)} WHERE notEmpty({vector}) LIMIT 1")
    if stored not in (None, dimension):
        raise TableUnfit(
            f"{layout.image} of {table} has vectors of {stored} numbers, the installed model makes {dimension};"
            " name the model that made them with --suffix"
        )
    parameters = SchemaParameters(
        table=table, dimension=dimension, suffix=suffix, comment=label.comment if label else "", layout=layout
    )
    logits = _logits(database, SchemaParameters(table=_beside(database, suffix), suffix=suffix))
    if logits is None:
        made = [one for one in view_objects(parameters) if not one.plain_name.rpartition(".")[2].startswith("label_")]
    else:
        scale, bias = logits
        made = view_objects(
            SchemaParameters(
                table=table,
                dimension=dimension,
                suffix=suffix,
                comment=parameters.comment,
                layout=layout,
                logit_scale=scale,
                logit_bias=bias,
            )
        )
    return Schema(parameters, tuple(made), ())


def drops(database: Database, table: str, suffix: str) -> list[str]:
    """Statements that drop the views of ``table`` and their sample; foreign views stay."""
    layout = Layout(("id",), text="id", caption="id", filter="laion", noun=table.rpartition(".")[2])
    statements = []
    for one in reversed(view_objects(SchemaParameters(table=table, suffix=suffix, layout=layout))):
        found = database.value(f"SELECT comment FROM system.tables WHERE {is_table(one.plain_name, 'name')}")
        if found is not None and (one.kind == "TABLE" or definition_of_comment(str(found)) is not None):
            statements.append(f"DROP {one.kind} IF EXISTS {one.name}")
    return statements


def _dimension(database: Database, suffix: str) -> int:
    function = FUNCTIONS["encode_text"].sql_name(suffix)
    if not database.rows(f"SELECT name FROM system.functions WHERE name = {literal(function)}"):
        raise CheckFailed(f"there is no function {function} on this server; install-udfs installs it")
    return int(database.value(f"SELECT length({function}(''))"))


def _beside(database: Database, suffix: str) -> str:
    """A table in the database that has the installation's views; any name in the current one if none has."""
    name = SchemaParameters(suffix=suffix).view_name("label_images")
    found = database.value(
        f"SELECT database FROM system.tables WHERE name = {literal(name)} AND comment LIKE '%CLIP vectors%'"
        " ORDER BY database = currentDatabase() DESC LIMIT 1"
    )
    return f"{found}.any" if found else "any"


def _logits(database: Database, beside: SchemaParameters) -> tuple[float, float | None] | None:
    where = is_table(beside.view_name("label_images"), "name")
    made = database.value(f"SELECT create_table_query FROM system.tables WHERE {where}")
    found = _LOGITS.search(str(made or ""))
    return None if found is None else (float(found["scale"]), float(found["bias"]) if found["bias"] else None)
