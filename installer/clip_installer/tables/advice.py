"""Advice on a table: how it differs from a new one, and whether it has hidden rows."""

from __future__ import annotations

from typing import TYPE_CHECKING

from clip_installer.clickhouse.sql import identifier, is_table
from clip_installer.tables.schema import SchemaParameters
from clip_installer.tables.vector_index.codes import advice_on_codes

if TYPE_CHECKING:
    from clip_installer.clickhouse.database import Database

# Above this, a search reads many times more rows than it needs: whole granules of its candidates.
_LARGE_GRANULE = 256
_DEFAULT_GRANULE = 8192


def advice(database: Database, parameters: SchemaParameters) -> list[str]:
    """Sentences of advice, each with a statement to run; none for a table like a new one.

    Raises:
        SqlError: ClickHouse refused a query.
    """
    stored = identifier(parameters.stored_table)
    made = str(database.value(f"SHOW CREATE TABLE {stored}"))
    granule = int(database.value(_granularity(parameters)) or _DEFAULT_GRANULE)
    found = []
    if granule > _LARGE_GRANULE:
        found.append(
            f"{stored} has index_granularity = {granule}: with {parameters.granularity} a search reads"
            f" {granule // parameters.granularity} times fewer bytes; it cannot be altered,"
            " docs/analyst.md says how to copy the table"
        )
    found += [
        f"{stored} accepts vectors of zeros, which no search finds: ALTER TABLE {stored}{parameters.on_cluster}"
        f" ADD CONSTRAINT `{column} takes no vector of zeros and no NaN` CHECK L2Norm({column}) > 0"
        for column in parameters.layout.indexes.values()
        if f"L2Norm({column})" not in made
    ]
    masked = database.value(
        f"SELECT count() FROM system.parts WHERE {is_table(parameters.stored_table)} AND active"
        " AND has_lightweight_delete"
    )
    if masked:
        found.append(
            f"{stored} has deleted rows in {masked} of its parts, which the index still proposes; the views search on"
            f" past them, other queries may return too few rows: OPTIMIZE TABLE {stored}{parameters.on_cluster} FINAL"
        )
    return found + advice_on_codes(database, parameters)


def _granularity(parameters: SchemaParameters) -> str:
    return (
        r"SELECT toUInt32OrZero(extract(engine_full, 'index_granularity = (\\d+)')) FROM system.tables"
        f" WHERE {is_table(parameters.stored_table, 'name')}"
    )
