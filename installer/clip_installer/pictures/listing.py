"""Lists sources into a table of the server, which then compares them to find what must be encoded."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from itertools import islice
from typing import TYPE_CHECKING, Any

from clip_installer.clickhouse.sql import identifier, literal
from clip_installer.pictures.local import LocalSource
from clip_installer.pictures.remote import RemoteSource
from clip_installer.pictures.table import PictureTable
from clip_installer.progress import Advance

if TYPE_CHECKING:
    from clip_installer.clickhouse.database import Database

Source = LocalSource | RemoteSource
_ROWS = 20_000
# How many ids are compared at a time, at some 100 bytes each in the server's memory.
_COMPARED = 1_000_000
_IDS = 1 << 64
_COLUMNS = ("path", "size", "modified", "caption", "source")


@dataclass
class Listing:
    """What a source contains.

    Attributes:
        source: The source.
        files: Number of its pictures.
        gone: Pictures in the table or among the refusals that are no longer in it.
        notes: Notes about it for the user.
    """

    source: Source
    files: int = 0
    gone: int = 0
    notes: list[str] = field(default_factory=list)


class Lister:
    """Lists sources into a table of the server and compares there."""

    def __init__(self, database: Database, table: PictureTable, captions: str | None, advance: Advance) -> None:
        """For ``table``, with ``captions`` from a table of that name."""
        self._database = database
        self._table = table
        self._values = table.values()
        self._captions = captions
        self._advance = advance

    def list(self, sources: Sequence[Source]) -> list[Listing]:
        """List ``sources`` into a new table.

        Raises:
            SqlError: ClickHouse refused a statement, for example to read a source.
        """
        for statement in self._table.statements("pictures/work"):
            self._database.command(statement.sql)
        found = []
        for source in sources:
            listing = Listing(source)
            listing.files = self._local(source) if isinstance(source, LocalSource) else self._remote(source)
            found.append(listing)
        if self._captions is not None:
            self._add_captions(self._captions)
        return found

    def compare(self, sources: Sequence[Source]) -> int:
        """Number the pictures that are new or have changed in ``sources``, replacing earlier numbers.

        Returns:
            How many pictures there are.
        """
        self._database.command(f"TRUNCATE TABLE {self._values['pending']}")
        total = self._count(f"FROM {self._values['listing']}")
        chunks = max(1, -(-total // _COMPARED))
        names = f"source IN ({', '.join(_text(source.name) for source in sources)})"
        first = 0
        for chunk in range(chunks):
            low, high = (_IDS * edge // chunks - (_IDS >> 1) for edge in (chunk, chunk + 1))
            range_ = f"id >= {low} AND id <= {high - 1}"
            for statement in self._table.statements("pictures/compare", first=first, of_sources=names, range=range_):
                self._database.command(statement.sql)
            first = self._count(f"FROM {self._values['pending']}")
        return first

    def count_gone(self, listing: Listing) -> int:
        """Number of pictures in the table or among the refusals that are no longer in ``listing``."""
        where = self._gone(listing.source)
        return sum(self._count(f"FROM {table} WHERE {where}") for table in self._kept())

    def remove_gone(self, listing: Listing) -> None:
        """Remove those."""
        for table in self._kept():
            self._database.command(f"DELETE FROM {table} WHERE {self._gone(listing.source)}")

    def drop(self) -> None:
        """Drop the tables of the run."""
        for name in ("listing", "pending"):
            self._database.command(f"DROP TABLE IF EXISTS {self._values[name]}")

    def _kept(self) -> tuple[str, str]:
        return self._values["table"], self._values["refusals"]

    def _count(self, rest: str) -> int:
        return int(self._database.value(f"SELECT count() {rest}"))

    def _local(self, source: LocalSource) -> int:
        rows = ((one.path, one.size, one.modified, one.caption, source.name) for one in source.files())
        listed = 0
        for batch in _batches(rows):
            self._database.insert(self._values["listing"], batch, _COLUMNS)
            listed += len(batch)
            self._advance(f"listing {source.given}", listed, None, "files")
        return listed

    def _remote(self, source: RemoteSource) -> int:
        listing = self._values["listing"]
        name = _text(source.name)
        self._database.command(
            f"INSERT INTO {listing} (path, size, modified, etag, source)"
            f" SELECT {source.path} AS address, ifNull(_size, 0),"
            " toUnixTimestamp64Nano(toDateTime64(ifNull(_time, toDateTime(0)), 9)), ifNull(_etag, ''),"
            f" {name} FROM {source.listing} WHERE NOT endsWith(address, '/')"
        )
        return self._count(f"FROM {listing} WHERE source = {name}")

    def _add_captions(self, captions: str) -> None:
        """Join the captions from another table with the columns ``path`` and ``caption``."""
        listing = self._values["listing"]
        plain = f"{self._table.name}_listing"
        whole = identifier(f"{plain}_captioned")
        self._database.command(f"CREATE OR REPLACE TABLE {whole} AS {listing}")
        self._database.command(
            f"INSERT INTO {whole} (path, size, modified, etag, caption, source)"
            " SELECT path, size, modified, etag, ifNull(texts.caption, ''), source"
            f" FROM {listing} AS files LEFT ANY JOIN"
            f" (SELECT path, toString(caption) AS caption FROM {identifier(captions)}) AS texts USING path"
        )
        self._database.command(f"EXCHANGE TABLES {listing} AND {whole}")
        self._database.command(f"DROP TABLE {whole}")

    def _gone(self, source: Source) -> str:
        """The condition that a row comes from ``source`` and is not in the listing."""
        if isinstance(source, LocalSource) and source.pattern is None:
            theirs = f"startsWith(path, {_text(source.stored_prefix)})"
        else:
            theirs = f"source = {_text(source.name)}"
        return f"{theirs} AND id NOT IN (SELECT id FROM {self._values['listing']})"


def _batches(rows: Iterator[Sequence[Any]]) -> Iterator[list[Sequence[Any]]]:
    while batch := list(islice(rows, _ROWS)):
        yield batch


def _text(value: str | bytes) -> str:
    """A value as an SQL expression; bytes need not be UTF-8."""
    return literal(value) if isinstance(value, str) else f"unhex('{value.hex()}')"
