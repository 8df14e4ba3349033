"""Encodes pending pictures in statements that keep the pools busy, each picture once, reporting progress."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import FIRST_COMPLETED, Future, ThreadPoolExecutor, wait
from dataclasses import dataclass
from itertools import count
from typing import TYPE_CHECKING, Any

from clip_installer.clickhouse.sql import literal
from clip_installer.errors import SqlError
from clip_installer.pictures.remote import RemoteSource
from clip_installer.pictures.table import PictureTable
from clip_installer.progress import Advance
from clip_udfs.functions import FUNCTIONS

if TYPE_CHECKING:
    from clip_installer.clickhouse.database import Database

# Concurrent statements: while one writes its rows or encodes its last blocks, the others keep the workers busy.
LANES = 3
# Target seconds of a statement: the most that an interruption costs, and how often progress is reported.
_STATEMENT_SECONDS = 15
_POLL_SECONDS = 2
# Target seconds of a block: other queries get their turn between two blocks.
_BLOCK_SECONDS = 2
_FIRST_BLOCK, _LEAST_BLOCK, _MOST_BLOCK = 32, 16, 1024
_MOST_ROWS = 20_000
# Contents pass through memory: this many bytes fill a block, however few files they are.
_BLOCK_BYTES = 32 << 20
_DEFAULT_POOL = 2
# How ClickHouse reports that a worker failed, not the statement.
_WORKER_FAILED = (
    "Child process was",
    "Executable generates stderr",
    "Pipe read timeout",
    "Cannot read from pipe",
    "Cannot write into pipe",
    "Attempt to read after eof: (while reading header)",
)
# Rows of a block, set by the pace.
_BLOCK_ROWS = ("max_block_size", "merge_tree_min_rows_for_concurrent_read", "min_joined_block_size_rows")
_SETTINGS: Mapping[str, Any] = {
    **dict.fromkeys(_BLOCK_ROWS, _FIRST_BLOCK),
    "min_joined_block_size_bytes": _BLOCK_BYTES,
    # Each thread takes the next block, one at a time.
    "merge_tree_min_bytes_for_concurrent_read": 1,
    "merge_tree_min_read_task_size": 1,
    "max_insert_threads": 1,
    "min_insert_block_size_rows": 1024,
    "min_insert_block_size_bytes": 2 * _BLOCK_BYTES,
    "async_insert": 0,
}
# If this many pictures in a row fail a worker on their own, the pictures are not to blame.
_MOST_FAILURES = 3


@dataclass
class Pace:
    """How many rows a block and a statement have, learned from the speed of earlier ones.

    Attributes:
        workers: Processes of the pool.
        block: Rows of a block.
        rows: Rows of a statement.
    """

    workers: int
    block: int = _FIRST_BLOCK
    rows: int = 0

    def __post_init__(self) -> None:
        """Begin with small statements."""
        self.rows = 4 * self.block * self.workers

    def lengths(self, total: int) -> Iterator[int]:
        """How many rows each statement gets, of ``total`` rows.

        Statements that start together would also end together, and no worker would have a block while they write their
        rows. So the first ones have different lengths. The last ones are shorter, so that none is left alone for long.
        """
        for started in count(1):
            rows = min(self.rows * min(started, LANES) // LANES, max(total // LANES, self.block * self.workers), total)
            if not rows:
                return
            yield rows
            total -= rows

    def learn(self, rows: int, seconds: float) -> None:
        """Learn from a statement of ``rows`` rows that took ``seconds`` beside others."""
        rate = LANES * rows / max(seconds, 1e-3)
        wanted = rate / self.workers * _BLOCK_SECONDS
        self.block = _LEAST_BLOCK
        while self.block * 2 <= min(wanted, _MOST_BLOCK):
            self.block *= 2
        self.rows = int(min(max(rate / LANES * _STATEMENT_SECONDS, 4 * self.block * self.workers), _MOST_ROWS))


class Indexer:
    """Encodes the pending pictures of a table."""

    def __init__(
        self,
        lanes: Sequence[Database],
        table: PictureTable,
        settings: Mapping[str, Any],
        cancel: Callable[[], None],
        advance: Advance,
    ) -> None:
        """Use the connections ``lanes`` in parallel.

        Args:
            lanes: Connections.
            table: The table.
            settings: Settings of each statement.
            cancel: Cancels the running statements.
            advance: Called with the number of finished pictures.
        """
        self._lanes = lanes
        self._table = table
        self._cancel = cancel
        self._advance = advance
        self._pace = Pace(_workers(lanes[0], table.suffix))
        self._failures = 0
        self._settings = {**settings, **_known(lanes[0], _SETTINGS)}

    def run(self, total: int, source: RemoteSource | None) -> None:
        """Encode ``total`` pending pictures, files or objects of ``source``.

        Raises:
            SqlError: ClickHouse refused a statement, or the workers fail on every picture.
        """
        began = now(self._lanes[0])
        pieces = self._pieces(total, source)
        free = list(self._lanes)
        working: dict[Future[int], Database] = {}
        done = 0
        with ThreadPoolExecutor(len(free)) as pool:
            try:
                while True:
                    self._advance("encoding", done, total, "pictures")
                    while free and (piece := next(pieces, None)) is not None:
                        lane = free.pop()
                        working[pool.submit(self._statement, lane, *piece, source)] = lane
                    if not working:
                        return
                    ended, _ = wait(working, _POLL_SECONDS, FIRST_COMPLETED)
                    for future in ended:
                        free.append(working.pop(future))
                        done += future.result()
                    if source is not None and free:
                        done = max(done, self._done_since(free[0], began))
            except BaseException:
                self._cancel()
                raise

    def _pieces(self, total: int, source: RemoteSource | None) -> Iterator[tuple[int, int]]:
        """First number and end of each statement."""
        # The server lists a source each time it reads from it, so one read must be enough.
        first = 0
        for rows in self._pace.lengths(total) if source is None else filter(None, [total]):
            yield first, first + rows
            first += rows

    def _done_since(self, lane: Database, began: str) -> int:
        return int(lane.value(f"SELECT count() FROM {self._table.values()['table']} WHERE indexed >= {began}"))

    def _statement(self, lane: Database, first: int, stop: int, source: RemoteSource | None) -> int:
        began = time.monotonic()
        self._encode(lane, first, stop, source)
        if source is None:
            self._pace.learn(stop - first, time.monotonic() - began)
        return stop - first

    def _encode(self, lane: Database, first: int, stop: int, source: RemoteSource | None) -> None:
        """Encode and record refusals; if a worker fails, find the picture that it fails on."""
        contents, path = (source.contents, source.path) if source is not None else ("", "path")
        values = {"first": first, "stop": stop, "contents": contents, "address": path}
        statements = self._table.statements("pictures/encode", **values)
        try:
            for statement in statements:
                lane.command(statement.sql, **self._statement_settings())
            self._failures = 0
        except SqlError as error:
            if not any(words in error.reason for words in _WORKER_FAILED):
                raise
            if stop - first > 1:
                middle = (first + stop) // 2
                self._encode(lane, first, middle, source)
                self._encode(lane, middle, stop, source)
                return
            self._failures += 1
            if self._failures >= _MOST_FAILURES:
                raise
            self._refuse(lane, first, error)

    def _refuse(self, lane: Database, number: int, error: SqlError) -> None:
        values = self._table.values()
        lane.command(
            f"INSERT INTO {values['refusals']} (id, path, size, modified, etag, reason, source, version, indexed)"
            " SELECT id, path, size, fromUnixTimestamp64Nano(modified, 'UTC'), etag,"
            f" {literal(f'a worker fails on it: {error.reason}')}, source, version, now64(6)"
            f" FROM {values['pending']} WHERE number = {number}"
        )

    def _statement_settings(self) -> dict[str, Any]:
        block = {name: self._pace.block for name in _BLOCK_ROWS if name in self._settings}
        # While some threads wait for encoding workers, others request thumbnails, so that no worker is idle.
        return {**self._settings, **block, "max_threads": 2 * self._pace.workers + 2}


def now(database: Database) -> str:
    """The server's time, as an expression independent of the time zone."""
    return f"fromUnixTimestamp64Micro({int(database.value('SELECT toUnixTimestamp64Micro(now64(6))'))})"


def _known(database: Database, settings: Mapping[str, Any]) -> dict[str, Any]:
    """The ``settings`` that this version of ClickHouse knows."""
    found = database.rows(f"SELECT name FROM system.settings WHERE name IN {tuple(settings)}")
    return {name: settings[name] for (name,) in found}


def _workers(database: Database, suffix: str) -> int:
    name = FUNCTIONS["try_encode_image"].sql_name(suffix)
    try:
        found = database.value(f"SELECT pool_size FROM system.user_defined_functions WHERE name = {literal(name)}")
    except SqlError:  # before ClickHouse 26.2
        found = None
    return int(found or _DEFAULT_POOL)
