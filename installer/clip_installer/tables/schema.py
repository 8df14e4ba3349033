"""The searchable table: its DDL, its vector indexes and its views, for one model."""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from clip_installer.clickhouse.sql import Statement, identifier, literal, render
from clip_installer.errors import UsageProblem
from clip_udfs.functions import FUNCTIONS

if TYPE_CHECKING:
    from clip_installer.clickhouse.database import Database

QUANTIZATIONS = ("bf16", "f64", "f32", "f16", "i8", "b1")
_DIMENSION = re.compile(r"CHECK length\(image_embedding\) = (\d+)")
_TABLE = ("schema/table",)
_INDEXES = ("schema/indexes",)
_VIEWS = ("schema/search_views", "schema/caption_views", "schema/filtered_views")


@dataclass(frozen=True)
class SchemaParameters:
    """What the DDL depends on.

    Attributes:
        table: ``table`` or ``database.table`` that is searched.
        dimension: Length of the vectors.
        suffix: Suffix of the model's functions, which its views get as well; '' for the default model.
        quantization: What the index keeps of each number, one of :data:`QUANTIZATIONS`.
        m: Connections of each vector in the index (``hnsw_max_connections_per_layer``).
        ef_construction: Candidates looked at while building (``hnsw_candidate_list_size_for_construction``).
        ef_search: Candidates that the views look at (``hnsw_candidate_list_size_for_search``).
        cluster: A cluster: replicated tables on its shards below a Distributed one; None for one server.
        comment: What the COMMENT of table and views says about the model.
    """

    table: str = "laion"
    dimension: int = 512
    suffix: str = ""
    quantization: str = "bf16"
    m: int = 64
    ef_construction: int = 256
    ef_search: int = 256
    cluster: str | None = None
    comment: str = ""

    def __post_init__(self) -> None:
        """Refuse what ClickHouse would refuse later.

        Raises:
            UsageProblem: Naming the parameter and its value.
        """
        identifier(self.table)
        if self.quantization not in QUANTIZATIONS:
            raise UsageProblem(f"quantization {self.quantization!r} is not one of {', '.join(QUANTIZATIONS)}")
        for name in ("dimension", "m", "ef_construction", "ef_search"):
            if getattr(self, name) < 1:
                raise UsageProblem(f"{name} is {getattr(self, name)}, it must be at least 1")

    @property
    def stored_table(self) -> str:
        """The table that holds the rows: ``table`` itself, or the shards' ``table_local`` of a cluster."""
        return f"{self.table}_local" if self.cluster else self.table

    def _values(self) -> dict[str, Any]:
        database, _, stored_name = self.stored_table.rpartition(".")
        return {
            "table": identifier(self.table),
            "stored_table": identifier(self.stored_table),
            "stored_name": stored_name,
            "database_expression": identifier(database) if database else "currentDatabase()",
            "dimension": self.dimension,
            "quantization": self.quantization,
            "m": self.m,
            "ef_construction": self.ef_construction,
            "ef_search": self.ef_search,
            "cluster": self.cluster,
            "on_cluster": f" ON CLUSTER {identifier(self.cluster)}" if self.cluster else "",
            "comment": f"\nCOMMENT {literal(self.comment)}" if self.comment else "",
            "searched": self.comment or "CLIP vectors",
            "view": self._view_name(database),
            "function": lambda name: FUNCTIONS[name].sql_name(self.suffix),
        }

    def _view_name(self, database: str) -> Callable[[str], str]:
        prefix = f"{database}." if database else ""
        ending = f"_{self.suffix}" if self.suffix else ""
        return lambda name: identifier(f"{prefix}{name}{ending}")


def table_statements(parameters: SchemaParameters) -> list[Statement]:
    """The table alone."""
    return _render(_TABLE, parameters)


def statements(parameters: SchemaParameters) -> list[Statement]:
    """The table and the views, in the order in which they can be run, again and again."""
    return _render(_TABLE + _VIEWS, parameters)


def index_statements(parameters: SchemaParameters) -> list[Statement]:
    """Both vector indexes: added, then built; for after the load, as each insert would build its own."""
    return _render(_INDEXES, parameters)


def stored_dimension(database: Database, table: str) -> int | None:
    """The length of vectors that ``table``'s constraint asks for; None without the table or a constraint."""
    name = identifier(table)
    if not database.exists(table):
        return None
    found = _DIMENSION.search(str(database.value(f"SHOW CREATE TABLE {name}")))
    return int(found[1]) if found else None


def _render(files: tuple[str, ...], parameters: SchemaParameters) -> list[Statement]:
    return [statement for file in files for statement in render(file, parameters._values())]
