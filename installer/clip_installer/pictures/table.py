"""The table of the user's own pictures, with its refusals: what its statements depend on."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from clip_installer.clickhouse.sql import Statement, identifier, is_table, literal, render
from clip_installer.errors import CheckFailed, ConflictError, TableUnfit
from clip_installer.tables.label import ModelLabel, installed_label, label_of_comment, table_comment
from clip_installer.tables.layout import THUMBNAIL_SIZE
from clip_udfs.functions import FUNCTIONS

if TYPE_CHECKING:
    from clip_installer.clickhouse.database import Database

DEFAULT_TABLE = "pictures"
GRANULARITY = 64


@dataclass(frozen=True)
class PictureTable:
    """A table of pictures for one model.

    Attributes:
        name: ``table`` or ``database.table``.
        dimension: Length of the vectors.
        suffix: Suffix of the model's functions.
        captions: Whether it has captions and their vectors.
        comment: What its COMMENT says about the model.
    """

    name: str
    dimension: int
    suffix: str = ""
    captions: bool = False
    comment: str = ""

    @property
    def refusals(self) -> str:
        """The table of the pictures that could not be encoded."""
        return f"{self.name}_refusals"

    def values(self) -> dict[str, Any]:
        """The values for the templates."""
        return {
            "table": identifier(self.name),
            "refusals": identifier(self.refusals),
            "listing": identifier(f"{self.name}_listing"),
            "pending": identifier(f"{self.name}_pending"),
            "dimension": self.dimension,
            "captions": self.captions,
            "thumbnail_size": THUMBNAIL_SIZE,
            "granularity": GRANULARITY,
            "comment": f"\nCOMMENT {literal(self.comment)}" if self.comment else "",
            "function": lambda name: FUNCTIONS[name].sql_name(self.suffix),
        }

    def statements(self, file: str, **more: Any) -> list[Statement]:
        """The statements of the template ``file`` for this table."""
        return render(file, {**self.values(), **more})


def open_table(database: Database, name: str, suffix: str, *, captions: bool) -> tuple[PictureTable, bool]:
    """The table ``name`` for the vectors of the installed model, created if it does not exist.

    Args:
        database: The server.
        name: ``table`` or ``database.table``.
        suffix: Suffix of the model's functions.
        captions: Whether captions are given.

    Returns:
        The table, and whether this call created it.

    Raises:
        CheckFailed: The functions are not installed.
        ConflictError: The table is for another model, has no captions, or is a foreign table.
        SqlError: ClickHouse refused a statement.
    """
    label, dimension = _model(database, suffix)
    table = PictureTable(name, dimension, suffix, captions, label.comment if label else "")
    if not database.exists(name):
        for statement in table.statements("schema/pictures"):
            database.command(statement.sql)
        return table, True
    columns = {column for (column,) in database.rows(f"SELECT name FROM system.columns WHERE {is_table(name)}")}
    _refuse_other_table(name, columns)
    if captions and "caption" not in columns:
        raise ConflictError(
            f"the table {name} has no captions; choose another one with --table, or omit --captions and --sidecars"
        )
    _refuse_other_model(database, name, label)
    table = PictureTable(name, dimension, suffix, "caption" in columns, table.comment)
    database.command(table.statements("schema/pictures")[1].sql)
    return table, False


def _model(database: Database, suffix: str) -> tuple[ModelLabel | None, int]:
    function = FUNCTIONS["encode_text"].sql_name(suffix)
    found = database.rows(f"SELECT name FROM system.functions WHERE name = {literal(function)}")
    if not found:
        which = f"--suffix {suffix}" if suffix else "no suffix"
        raise CheckFailed(
            f"the functions are not installed with {which}: install-udfs installs them, then run this again"
        )
    label = installed_label(database, FUNCTIONS["encode_image"].sql_name(suffix))
    return label, label.dimension if label else int(database.value(f"SELECT length({function}(''))"))


def _refuse_other_table(name: str, columns: Sequence[str] | set[str]) -> None:
    missing = sorted({"path", "version", "indexed", "image_embedding"} - set(columns))
    if missing:
        raise TableUnfit(
            f"the table {name} was not made by index-pictures, no column {missing[0]}; choose another with --table"
        )


def _refuse_other_model(database: Database, name: str, label: ModelLabel | None) -> None:
    there = label_of_comment(table_comment(database, name))
    if label is not None and there is not None and label != there:
        raise ConflictError(
            f"the table {name} holds vectors of {there}, but {label} is installed; give this model a table of its own"
            f" with --table, or drop {name} to encode its pictures again"
        )
