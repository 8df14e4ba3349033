"""What a search needs beside the table: the vector index, the views and the sample."""

from __future__ import annotations

from typing import TYPE_CHECKING

from clip_installer.clickhouse.sql import identifier
from clip_installer.errors import ConflictError
from clip_installer.pictures.table import PictureTable
from clip_installer.progress import Advance
from clip_installer.tables.deploy import deploy, plan_schema
from clip_installer.tables.layout import pictures_layout
from clip_installer.tables.own_views import view_schema
from clip_installer.tables.sample import draw_sample
from clip_installer.tables.vector_index.build import build_indexes
from clip_installer.tables.vector_index.codes import kind_of

if TYPE_CHECKING:
    from clip_installer.clickhouse.database import Database


def make_searchable(database: Database, table: PictureTable, advance: Advance) -> None:
    """Create the views, and a vector index if there is neither one nor quantized codes; later inserts update it.

    Raises:
        ConflictError: There is a foreign view of the same name.
        SqlError: ClickHouse refused a statement.
    """
    schema = view_schema(database, table.name, table.suffix, pictures_layout(table.name, captions=table.captions))
    steps = plan_schema(database, schema, force=False)
    for step in steps:
        if step.action == "refused":
            raise ConflictError(f"the pictures are indexed, but not {step.made.plain_name}: {step.reason}")
    deploy(database, steps)
    if not database.rows(f"SELECT 1 FROM {identifier(table.name)} LIMIT 1"):
        return
    if kind_of(database, schema.parameters) == "none":
        build_indexes(database, schema.parameters, False, advance)
    draw_sample(database, schema.parameters)
