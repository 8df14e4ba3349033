"""Whose vectors a table holds, asked before a model is let loose on it."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import TYPE_CHECKING

from clip_installer.clickhouse.sql import identifier, literal
from clip_installer.errors import CheckFailed, ConflictError, SqlError
from clip_installer.tables.comparison import check_model
from clip_installer.tables.label import ModelLabel, label_of_comment, table_comment
from clip_installer.tables.schema import SchemaParameters, stored_dimension

if TYPE_CHECKING:
    from clip_installer.clickhouse.database import Database

_SAMPLE = 50
_OWN_TABLE = "give this model a table of its own with --table NAME"


@contextmanager
def fitting_table(database: Database, parameters: SchemaParameters, neighbours: Sequence[str]) -> Iterator[None]:
    """See that the table of ``parameters``, where there is one, is for the vectors of their model.

    The rows of a table with another model's name, or with none, are compared with what the functions give now. The
    COMMENT follows the model only while the table is empty, and goes back where the body of the ``with`` fails.

    Args:
        database: Where the table is, and the model's functions.
        parameters: The schema; its comment names the model.
        neighbours: Names of the models that are installed beside it.

    Raises:
        ConflictError: The table is for another model's vectors, or its vectors have another length.
    """
    before = _outdated_comment(database, parameters, neighbours)
    if before is None:
        yield
        return
    _comment(database, parameters, parameters.comment)
    try:
        yield
    except BaseException:
        _comment(database, parameters, before)
        raise


def _outdated_comment(database: Database, parameters: SchemaParameters, neighbours: Sequence[str]) -> str | None:
    stored = stored_dimension(database, parameters.stored_table)
    if stored is None:
        return None
    table, comment = parameters.table, table_comment(database, parameters.table)
    there = label_of_comment(comment)
    if stored != parameters.dimension:
        whose = f" of {there.name}" if there else ""
        raise ConflictError(
            f"the table {table} holds vectors{whose} of {stored} numbers, this model makes {parameters.dimension};"
            f" {_OWN_TABLE}"
        )
    if comment == parameters.comment:
        return None
    if there is not None and there.name in neighbours:
        raise ConflictError(f"the table {table} is for {there}, which stays installed beside this model; {_OWN_TABLE}")
    if not database.rows(f"SELECT 1 FROM {identifier(table)} LIMIT 1"):
        return comment
    _compare(database, parameters, there)
    return None


def _compare(database: Database, parameters: SchemaParameters, there: ModelLabel | None) -> None:
    table = parameters.table
    way_out = (
        f"{_OWN_TABLE}, or, to fill this one anew, empty it first: TRUNCATE TABLE {identifier(table)}"
        if there
        else f"install the model that made them, or {_OWN_TABLE}"
    )
    try:
        verdict = check_model(database, table, parameters.suffix, _SAMPLE)
    except (CheckFailed, SqlError) as error:
        if there is None:
            return  # imported, or older than these comments: nothing says that it is another model's
        raise ConflictError(
            f"the table {table} says it was filled by {there}, and no row shows whether this model makes the same"
            f" vectors ({error}); {way_out}"
        ) from error
    if verdict.code == "different":
        raise ConflictError(f"the table {table} has other vectors: {verdict.text}; {verdict.origin}; {way_out}")


def _comment(database: Database, parameters: SchemaParameters, comment: str) -> None:
    on_cluster = f" ON CLUSTER {identifier(parameters.cluster)}" if parameters.cluster else ""
    for table in dict.fromkeys((parameters.stored_table, parameters.table)):
        database.command(f"ALTER TABLE {identifier(table)}{on_cluster} MODIFY COMMENT {literal(comment)}")
