"""What a table has for quick searches: its vector indexes, or the codes of its vectors."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from clip_installer.clickhouse.sql import is_table, literal
from clip_installer.tables.schema import SchemaParameters
from clip_installer.tables.vector_index.mutations import system

if TYPE_CHECKING:
    from clip_installer.clickhouse.database import Database


@dataclass(frozen=True)
class BuiltIndex:
    """One vector index, or the quantized codes of one column.

    Attributes:
        name: ``image_index`` or ``text_index``; of codes, their column.
        definition: Its type with all parameters, as ClickHouse writes it; of codes, their codec.
        bytes_on_disk: Stored size; of an index, about the memory that a search needs.
    """

    name: str
    definition: str
    bytes_on_disk: int


def vector_indexes(database: Database, parameters: SchemaParameters) -> list[BuiltIndex]:
    """Our vector indexes of the stored table, by name, with their sizes on all servers of a cluster."""
    names = ", ".join(map(literal, parameters.layout.indexes))
    found = database.rows(
        "SELECT name, type_full, sum(data_compressed_bytes)"
        f" FROM {system('data_skipping_indices', parameters)}"
        f" WHERE {is_table(parameters.stored_table)} AND name IN ({names})"
        " GROUP BY name, type_full ORDER BY name"
    )
    return [BuiltIndex(*row) for row in found]
