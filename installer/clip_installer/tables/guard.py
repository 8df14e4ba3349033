"""Checks, before a model is installed on a table, which model its vectors come from."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING

from clip_installer.clickhouse.sql import identifier, literal
from clip_installer.errors import ConflictError
from clip_installer.tables.comparison import Encode, compare_sample, judge
from clip_installer.tables.label import ModelLabel, label_of_comment, table_comment
from clip_installer.tables.schema import SchemaParameters, stored_dimension

if TYPE_CHECKING:
    from clip_installer.clickhouse.database import Database

_SAMPLE = 50
_OWN_TABLE = "give this model a table of its own with --table NAME"


@dataclass(frozen=True)
class TableCheck:
    """The result of checking a table that suits the model.

    Attributes:
        text: One line for a person.
        outdated_comment: The table's COMMENT if it must be changed to the model's; None if it stays.
    """

    text: str
    outdated_comment: str | None = None


def check_table(
    database: Database, parameters: SchemaParameters, neighbours: Sequence[str], encode: Encode
) -> TableCheck | None:
    """Check that the table of ``parameters``, if it exists, is for vectors of their model; changes nothing.

    If the table does not name exactly this build of the model, its rows are compared with the results of ``encode``.

    Args:
        database: The server.
        parameters: The schema; its comment names the model.
        neighbours: Names of the other installed models.
        encode: The model, which need not be installed yet.

    Returns:
        None if there is no table yet.

    Raises:
        ConflictError: The table is for another model's vectors, or its vectors have another length.
    """
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
        return TableCheck("its COMMENT names this model")
    if there is not None and there.name in neighbours:
        raise ConflictError(f"the table {table} is for {there}, which stays installed beside this model; {_OWN_TABLE}")
    if not database.rows(f"SELECT 1 FROM {identifier(table)} LIMIT 1"):
        return TableCheck("is empty", comment)
    return TableCheck(_compare(database, parameters, there, comment, encode))


@contextmanager
def labelled(database: Database, parameters: SchemaParameters, check: TableCheck | None) -> Iterator[None]:
    """Let the COMMENT of an empty table name the model; restored if the body fails."""
    before = check.outdated_comment if check is not None else None
    if before is None:
        yield
        return
    _comment(database, parameters, parameters.comment)
    try:
        yield
    except BaseException:
        _comment(database, parameters, before)
        raise


def _compare(
    database: Database, parameters: SchemaParameters, there: ModelLabel | None, comment: str, encode: Encode
) -> str:
    table, model = parameters.table, label_of_comment(parameters.comment)
    way_out = (
        f"{_OWN_TABLE}, or, to fill this one again, empty it first: TRUNCATE TABLE {identifier(table)}"
        if there
        else f"install the model that made them, or {_OWN_TABLE}"
    )
    comparisons = compare_sample(database, table, _SAMPLE, encode)
    if not comparisons:
        if there is None:
            return "has vectors of which no row can be compared, and nothing says that they are another model's"
        raise ConflictError(
            f"the table {table} says it was filled by {there}, and no row shows whether {model} makes the same"
            f" vectors: no caption, and no image that can be read; {way_out}"
        )
    verdict = judge(comparisons)
    if verdict.code == "different":
        said = f"its COMMENT says {comment!r}" if comment else "it does not say which model filled it"
        raise ConflictError(
            f"the table {table} has other vectors: {verdict.text}; {said}; the model is {model}; {way_out}"
        )
    return f"{verdict.text}, {sum(one.compared for one in comparisons)} rows compared"


def _comment(database: Database, parameters: SchemaParameters, comment: str) -> None:
    on_cluster = f" ON CLUSTER {identifier(parameters.cluster)}" if parameters.cluster else ""
    for table in dict.fromkeys((parameters.stored_table, parameters.table)):
        database.command(f"ALTER TABLE {identifier(table)}{on_cluster} MODIFY COMMENT {literal(comment)}")
