"""The one way to query ClickHouse: a thin client that turns every failure into an error of ours, on one line."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

from clip_installer.clickhouse.failures import in_words
from clip_installer.clickhouse.sql import identifier

if TYPE_CHECKING:
    import pyarrow
    from clickhouse_connect.driver.client import Client


class Database:
    """One connection to ClickHouse.

    Every method raises :class:`~clip_installer.errors.SqlError` if ClickHouse refuses the statement, and
    :class:`~clip_installer.errors.ConnectionFailed` if the server cannot be reached, or goes away.
    """

    def __init__(self, client: Client, where: str = "ClickHouse") -> None:
        """Use ``client``; ``where`` names the server in messages and contains no password."""
        self._client = client
        self._where = where

    def rows(
        self, statement: str, parameters: Mapping[str, Any] | None = None, settings: Mapping[str, Any] | None = None
    ) -> list[Sequence[Any]]:
        """The rows of a query, with ``parameters`` for its ``{name:Type}`` and ``settings`` for this query only."""
        with self._in_words():
            answer = self._client.query(statement, parameters=dict(parameters or {}), settings=dict(settings or {}))
            return list(answer.result_rows)

    def value(self, statement: str, parameters: Mapping[str, Any] | None = None) -> Any:
        """The first column of a query's first row; None if there is no row."""
        found = self.rows(statement, parameters)
        return found[0][0] if found else None

    def blocks(self, statement: str) -> Iterator[Sequence[Sequence[Any]]]:
        """The columns of a query's result, block by block as they arrive."""
        with self._in_words():
            stream = self._client.query_column_block_stream(statement)
        with stream:
            arriving = iter(stream)
            while True:
                with self._in_words():
                    block = next(arriving, None)
                if block is None:
                    return
                yield block

    def text(self, statement: str, output_format: str | None) -> bytes:
        """A query's result as ClickHouse writes it in ``output_format``; None keeps the statement's own."""
        with self._in_words():
            return self._client.raw_query(statement, fmt=output_format)

    def command(self, statement: str, **settings: Any) -> None:
        """Run one statement that returns no table, with ``settings`` for this statement only."""
        with self._in_words():
            self._client.command(statement, settings=settings)

    def exists(self, table: str) -> bool:
        """Whether there is a table or view of that name, ``table`` or ``database.table``."""
        return bool(self.value(f"EXISTS TABLE {identifier(table)}"))

    def insert(self, table: str, rows: Sequence[Sequence[Any]], columns: Sequence[str]) -> None:
        """Insert ``rows`` into the quoted name ``table``, values in the order of ``columns``."""
        with self._in_words():
            self._client.insert(table, rows, column_names=list(columns))

    def insert_arrow(self, table: str, batch: pyarrow.Table, settings: Mapping[str, Any]) -> None:
        """Insert an Arrow table, columns by name, into the quoted name ``table``."""
        with self._in_words():
            self._client.insert_arrow(table, batch, settings=dict(settings))

    def close(self) -> None:
        """Close the connection."""
        self._client.close()

    def __enter__(self) -> Database:
        """Use the connection in a ``with`` statement, which closes it."""
        return self

    def __exit__(self, *raised: object) -> None:
        """Close the connection."""
        self.close()

    @contextmanager
    def _in_words(self) -> Iterator[None]:
        with in_words(self._where):
            yield
