"""The sample of a table's vectors from which the views compute relevance."""

from __future__ import annotations

from typing import TYPE_CHECKING

from clip_installer.clickhouse.sql import identifier, render
from clip_installer.tables.schema import SAMPLE_ROWS, SchemaParameters, sample_statements

if TYPE_CHECKING:
    from clip_installer.clickhouse.database import Database


def draw_sample(database: Database, parameters: SchemaParameters) -> bool:
    """Draw the sample from the current rows, unless it is already their sample.

    Returns:
        Whether the sample has changed.

    Raises:
        SqlError: ClickHouse refused a statement.
    """
    for statement in sample_statements(parameters):
        database.command(statement.sql)
    table, sample = identifier(parameters.table), identifier(parameters.sample_table)
    step = max(1, int(database.value(f"SELECT count() FROM {table}")) // SAMPLE_ROWS)
    layout = parameters.layout
    key = identifier(layout.key)
    vectors = ", ".join(identifier(one) for one in layout.indexes.values())
    sampled = "image_embedding" if layout.text is None else "image_embedding, text_embedding"
    digest = "SELECT count(), groupBitXor(cityHash64("
    wanted = database.rows(f"{digest}{key}, {vectors})) FROM {table} WHERE cityHash64({key}) % {step} = 0")
    if wanted == database.rows(f"{digest}{key}, {sampled})) FROM {sample}"):
        return False
    for statement in render("schema/draw_sample", {**parameters.values(), "step": step}):
        database.command(statement.sql)
    return True
