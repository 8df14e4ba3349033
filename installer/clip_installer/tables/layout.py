"""The columns of a searched table, and the views and indexes that follow from them."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Literal

from clip_installer.clickhouse.sql import is_table
from clip_installer.errors import TableUnfit
from clip_installer.tables.views import VIEWS, View

if TYPE_CHECKING:
    from clip_installer.clickhouse.database import Database

# Longest side, in pixels, of the thumbnails in a table of pictures.
THUMBNAIL_SIZE = 320

Filter = Literal["", "laion", "pictures"]


@dataclass(frozen=True)
class Layout:
    """The columns of a table.

    Attributes:
        columns: The columns that a search shows, including the key.
        key: The column that identifies a row.
        key_type: Its type.
        image: The column of the images' vectors.
        text: The column of the captions' vectors; None for none.
        caption: The column of the captions; None for none.
        filter: The filter of the views: for LAION's columns, for your own pictures, or none.
        noun: What follows ``search_`` in the views' names; '' for the views of the installation.
    """

    columns: tuple[str, ...]
    key: str = "id"
    key_type: str = "Int64"
    image: str = "image_embedding"
    text: str | None = "text_embedding"
    caption: str | None = "caption"
    filter: Filter = ""
    noun: str = ""

    @property
    def indexes(self) -> Mapping[str, str]:
        """The vector indexes and their columns."""
        found = {"image_index": self.image}
        return found if self.text is None else {**found, "text_index": self.text}

    def views(self) -> list[View]:
        """The search views that these columns allow, with their names here."""
        return [replace(view, name=self.view_name(view.name)) for view in VIEWS if self._allows(view)]

    def vector(self, view: View) -> str:
        """The column that ``view`` compares."""
        return self.image if view.vector == "image" else self.text or self.image

    def _allows(self, view: View) -> bool:
        needs_text = view.vector == "text" or view.template == "schema/hybrid_view"
        return not (needs_text and (self.text is None or self.caption is None)) and not (
            view.filtered and not self.filter
        )

    def view_name(self, name: str) -> str:
        """The name of the installation's view ``name`` for this table."""
        if not self.noun:
            return name
        verb, _, rest = name.partition("_")
        return f"{verb}_{self.noun}" if verb == "label" else f"{verb}_{self.noun}_{rest}"


LAION = Layout(("id", "url", "caption", "NSFW", "similarity", "width", "height", "LICENSE"), filter="laion")
_SHOWN = ("id", "path", "width", "height", "format", "taken")


def pictures_layout(table: str, *, captions: bool) -> Layout:
    """The layout of a ``table`` filled by index-pictures."""
    noun = table.rpartition(".")[2]
    if captions:
        return Layout((*_SHOWN, "caption"), filter="pictures", noun=noun)
    return Layout(_SHOWN, text=None, caption=None, filter="pictures", noun=noun)


def own_layout(database: Database, table: str, vector: str, columns: tuple[str, ...]) -> Layout:
    """The layout of any other table; the first of ``columns`` identifies a row.

    Raises:
        TableUnfit: The table lacks a column, or ``vector`` has no vectors.
    """
    types = {
        str(name): str(kind)
        for name, kind in database.rows(f"SELECT name, type FROM system.columns WHERE {is_table(table)}")
    }
    if not types:
        raise TableUnfit(f"there is no table {table}; name one in another database as database.table")
    for column in (vector, *columns):
        if column not in types:
            raise TableUnfit(f"the table {table} has no column {column}; it has {', '.join(types)}")
    if types[vector] != "Array(Float32)":
        raise TableUnfit(f"the column {vector} of {table} is {types[vector]}; vectors are Array(Float32)")
    noun = table.rpartition(".")[2]
    return Layout(columns, columns[0], types[columns[0]], vector, None, None, noun=noun)


def layout_of(database: Database, table: str) -> Layout:
    """The layout of a table created by install-udfs or index-pictures, by its columns; LAION's if there is none."""
    columns = {row[0] for row in database.rows(f"SELECT name FROM system.columns WHERE {is_table(table)}")}
    if {"path", "thumbnail", "version"} <= columns:
        return pictures_layout(table, captions="caption" in columns)
    return LAION
