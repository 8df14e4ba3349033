"""Imports parts: each once and completely, in bounded memory, resuming where an earlier run stopped."""

from __future__ import annotations

from collections import deque
from collections.abc import Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from itertools import cycle
from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from clip_installer.clickhouse.sql import identifier, literal
from clip_installer.errors import ImportRefused
from clip_installer.laion.ledger import Entry, Ledger
from clip_installer.laion.origin import check_origin
from clip_installer.laion.parts import ROWS_OF_A_PART, Part, first_id
from clip_installer.laion.source import Source
from clip_installer.progress import Advance
from clip_installer.tables.label import label_of_comment, table_comment
from clip_installer.tables.schema import SchemaParameters, stored_dimension, table_statements

if TYPE_CHECKING:
    from clip_installer.clickhouse.database import Database

# Bytes of float32 vectors in a batch: few parts to merge, little memory.
_BATCH_BYTES = 16 << 20
_INSERT_SETTINGS = {
    # An insert must be one block, which ClickHouse stores as a whole or not at all and recognises by its token.
    "max_insert_block_size": ROWS_OF_A_PART,
    "min_insert_block_size_rows": 0,
    "min_insert_block_size_bytes": 0,
    "async_insert": 0,
    "insert_deduplicate": 1,
    # Each insert would build its own graph; that of the whole table is built afterwards.
    "materialize_skip_indexes_on_insert": 0,
    # For a Distributed table: the shards have the rows when the insert returns.
    "distributed_foreground_insert": 1,
}


@dataclass(frozen=True)
class Outcome:
    """The outcome of one part.

    Attributes:
        part: Its number.
        rows: Its rows in the table.
        imported: Rows that this run has inserted.
        state: ``imported``, ``continued`` (an earlier run had begun it) or ``already imported``.
        without_texts: Whether the images' vectors replace those of the captions, which the source lacks.
    """

    part: int
    rows: int
    imported: int
    state: str
    without_texts: bool = False


def batch_rows_for(dimension: int) -> int:
    """Rows of a batch for vectors of ``dimension`` numbers, two in each row."""
    return max(1, _BATCH_BYTES // (2 * 4 * dimension))


class Importer:
    """Imports parts of ``source`` into ``table``.

    The table, not only the record, says what is missing: after a crash, the existing ids are read and the others are
        inserted.
    """

    def __init__(
        self,
        databases: Sequence[Database],
        table: str,
        source: Source,
        advance: Advance,
        *,
        any_model: bool = False,
    ) -> None:
        """Import through ``databases``.

        Args:
            databases: Connections to one ClickHouse. Each inserts its own batch at the same time; the first one also
                runs queries.
            table: Name of the table, ``table`` or ``database.table``.
            source: Where the parts are.
            advance: Called with the rows of each part as they are inserted.
            any_model: Whether vectors from another model than the table's are accepted.
        """
        self._database = databases[0]
        self._databases = databases
        self._name = table
        self._table = identifier(table)
        self._source = source
        self._advance = advance
        self._any_model = any_model
        self._ledger = Ledger(self._database, table)

    def run(self, number: int) -> Outcome:
        """Insert the rows of part ``number`` that the table lacks.

        Raises:
            ImportRefused: The files, their download or existing rows prevent it.
            SqlError: ClickHouse refused a statement.
        """
        last = self._ledger.last(number)
        if last is not None and last.state == "finished" and (there := self._count(number)):
            return Outcome(number, there, 0, "already imported")
        files = self._source.files(number)
        try:
            part = Part.open(number, files)
            size = batch_rows_for(part.dimension)
            part.check(size)
        except ImportRefused:
            self._source.release(number, refused=True)
            raise
        self._prepare_table(part)
        entry, missing = self._begin(part, last)
        imported = self._insert(part, entry, missing, size)
        self._finish(part, entry)
        self._source.release(number, refused=False)
        state = "imported" if imported == part.rows else "continued"
        return Outcome(number, part.rows, imported, state, not part.has_texts)

    def _prepare_table(self, part: Part) -> None:
        """Create the table if it is missing, and check that it is for vectors of this length."""
        dimension = stored_dimension(self._database, self._name)
        comment = f"CLIP vectors imported from {self._source.name}: check-model tells which model they are of"
        if dimension is None:
            parameters = SchemaParameters(table=self._name, dimension=part.dimension, comment=comment)
            for statement in table_statements(parameters):
                self._database.command(statement.sql)
        elif dimension != part.dimension:
            raise ImportRefused(
                f"part {part.number} has vectors of {part.dimension} numbers, the table {self._name} is for"
                f" {dimension}: another model's? Choose another --table"
            )
        else:
            self._see_origin(part, comment)

    def _see_origin(self, part: Part, new_comment: str) -> None:
        """Refuse another model's vectors; replace a COMMENT that may not be true of all vectors."""
        comment = table_comment(self._database, self._name)
        is_true = not self._any_model and check_origin(
            self._database, self._name, comment, part, has_rows=self._has_rows()
        )
        if label_of_comment(comment) and not is_true:
            self._database.command(f"ALTER TABLE {self._table} MODIFY COMMENT {literal(new_comment)}")

    def _begin(self, part: Part, last: Entry | None) -> tuple[Entry, npt.NDArray[np.bool_]]:
        """The record entry of this import, and for each position whether the table lacks it."""
        missing = self._missing(part)
        there = part.rows - int(missing.sum())
        fingerprint = part.fingerprint()
        if last is not None and last.state == "started" and last.fingerprint == fingerprint:
            return last, missing
        if there == 0:
            return self._start(part), missing
        if last is None:
            raise ImportRefused(
                f"the table {self._name} has {there} rows with ids of part {part.number} ({part.first_id}"
                " and up) that no import has written; choose another --table, or other ids for those rows"
            )
        raise ImportRefused(
            f"part {part.number} was begun from other files ({last.source}); delete its rows first:"
            f" ALTER TABLE {self._table} DELETE WHERE {self._where(part.number)}"
        )

    def _start(self, part: Part) -> Entry:
        entry = Entry.started(part.number, part.rows, self._source.name, part.fingerprint())
        self._ledger.write(entry)
        return entry

    def _finish(self, part: Part, entry: Entry) -> None:
        there = self._count(part.number)
        if there > part.rows:
            raise ImportRefused(f"part {part.number}: the table {self._name} has {there} rows of {part.rows}")
        if there < part.rows:
            # ClickHouse remembers the tokens of rows that were deleted meanwhile, and would drop them again.
            self._start(part)
            raise ImportRefused(
                f"part {part.number}: the table {self._name} has {there} of {part.rows} rows after the"
                " import; is something deleting rows there? Run again to insert the rest"
            )
        self._ledger.write(entry.finished())

    def _insert(self, part: Part, entry: Entry, missing: npt.NDArray[np.bool_], size: int) -> int:
        """Insert the missing rows and return their number."""
        imported = 0
        first_missing = int(missing.argmax()) if missing.any() else part.rows
        start = first_missing - first_missing % size
        self._advance(f"part {part.number}", start, part.rows, "rows")
        under_way: deque[tuple[Future[None], int, int]] = deque()

        def wait_for_the_oldest() -> int:
            inserted, stop, rows = under_way.popleft()
            inserted.result()
            self._advance(f"part {part.number}", stop, part.rows, "rows")
            return rows

        with ThreadPoolExecutor(len(self._databases), thread_name_prefix="insert") as threads:
            # In turns, so that the connection of the oldest insert is used next. A batch is read during the inserts.
            for database, (begin, stop, batch) in zip(cycle(self._databases), _batches(part, missing, size, start)):
                if len(under_way) == len(self._databases):
                    imported += wait_for_the_oldest()
                token = f"{entry.run}:{begin}:{stop}:{batch.num_rows}"
                under_way.append((threads.submit(self._insert_batch, database, batch, token), stop, batch.num_rows))
            while under_way:
                imported += wait_for_the_oldest()
        return imported

    def _insert_batch(self, database: Database, batch: pa.Table, token: str) -> None:
        if batch.num_rows:
            database.insert_arrow(self._table, batch, {**_INSERT_SETTINGS, "insert_deduplication_token": token})

    def _where(self, number: int) -> str:
        first = first_id(number)
        return f"id BETWEEN {first} AND {first + ROWS_OF_A_PART - 1}"

    def _has_rows(self) -> bool:
        return bool(self._database.rows(f"SELECT 1 FROM {self._table} LIMIT 1"))

    def _count(self, number: int) -> int:
        if not self._database.exists(self._name):
            return 0
        return int(self._database.value(f"SELECT count() FROM {self._table} WHERE {self._where(number)}"))

    def _missing(self, part: Part) -> npt.NDArray[np.bool_]:
        """For each position of ``part``, whether the table lacks it.

        Raises:
            ImportRefused: A position exists twice, or is beyond the part's end.
        """
        missing = np.ones(part.rows, dtype=bool)
        seen = 0
        query = f"SELECT id FROM {self._table} WHERE {self._where(part.number)}"
        for (ids,) in self._database.blocks(query):
            positions = np.asarray(ids, dtype=np.int64) - part.first_id
            if positions.max() >= part.rows:
                raise ImportRefused(
                    f"the table {self._name} has id {part.first_id + int(positions.max())}, but part"
                    f" {part.number} has {part.rows} rows; the rows there are of other files"
                )
            missing[positions] = False
            seen += positions.size
        if seen != part.rows - int(missing.sum()):
            raise ImportRefused(f"the table {self._name} has rows of part {part.number} more than once")
        return missing


def _batches(part: Part, missing: npt.NDArray[np.bool_], size: int, start: int) -> Iterator[tuple[int, int, pa.Table]]:
    """From position ``start`` on: first position, stop and the rows of those that are missing."""
    for metadata in part.metadata.read(size, start):
        stop = start + metadata.num_rows
        wanted = missing[start:stop]
        if wanted.all():
            batch = _batch(part, metadata, start, stop)
        elif wanted.any():
            batch = _batch(part, metadata, start, stop).filter(pa.array(wanted)).combine_chunks()
        else:
            batch = metadata.slice(0, 0)
        yield start, stop, batch
        start = stop


def _batch(part: Part, metadata: pa.Table, start: int, stop: int) -> pa.Table:
    """Rows ``start`` to ``stop`` with id and vectors, in one chunk, so that they are sent as one block."""
    table = metadata.combine_chunks()
    table = table.append_column("id", pa.array(np.arange(part.first_id + start, part.first_id + stop)))
    for column, file in (("image_embedding", part.images), ("text_embedding", part.texts)):
        numbers = pa.array(file.read(start, stop).reshape(-1))
        table = table.append_column(column, pa.FixedSizeListArray.from_arrays(numbers, file.dimension))
    return table
