"""The record of imported parts, in a table beside the filled one."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING
from uuid import UUID, uuid4

from clip_installer.clickhouse.sql import identifier, render

if TYPE_CHECKING:
    from clip_installer.clickhouse.database import Database

_COLUMNS = ("part", "run", "state", "rows", "source", "fingerprint")


@dataclass(frozen=True)
class Entry:
    """What is known of one part.

    Attributes:
        part: The part's number.
        run: Identifies this import of the part; part of the deduplication token of its inserts.
        state: ``started`` or ``finished``.
        rows: Rows of the part.
        source: Where the files came from.
        fingerprint: Of the files, see :meth:`clip_installer.laion.parts.Part.fingerprint`.
    """

    part: int
    run: UUID
    state: str
    rows: int
    source: str
    fingerprint: str

    @classmethod
    def started(cls, part: int, rows: int, source: str, fingerprint: str) -> Entry:
        """A new import of ``part``."""
        return cls(part, uuid4(), "started", rows, source, fingerprint)

    def finished(self) -> Entry:
        """The same import, done."""
        return replace(self, state="finished")


class Ledger:
    """The record's table, ``<table>_imports``."""

    def __init__(self, database: Database, table: str) -> None:
        """Use the record of ``table``, created if there is none.

        Raises:
            SqlError: ClickHouse refuses to create it.
        """
        self._database = database
        self._table = identifier(f"{table}_imports")
        for statement in render("schema/imports", {"imports_table": self._table}):
            database.command(statement.sql)

    def last(self, part: int) -> Entry | None:
        """The latest entry of ``part``; None if it was never begun."""
        found = self._database.rows(
            f"SELECT {', '.join(_COLUMNS)} FROM {self._table} WHERE part = {{part:UInt64}}"
            " ORDER BY at DESC, state DESC LIMIT 1",
            {"part": part},
        )
        return Entry(*found[0]) if found else None

    def write(self, entry: Entry) -> None:
        """Add ``entry``."""
        values = [getattr(entry, column) for column in _COLUMNS]
        self._database.insert(self._table, [values], _COLUMNS)
