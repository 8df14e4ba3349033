"""One run at a time: the statements of a run carry its name, so that other runs can see it."""

from __future__ import annotations

import os
import socket
import time
from contextlib import suppress
from typing import TYPE_CHECKING
from uuid import uuid4

from clip_installer.clickhouse.sql import literal
from clip_installer.errors import ConflictError, SqlError

if TYPE_CHECKING:
    from clip_installer.clickhouse.database import Database

_WAIT_SECONDS = 600
_POLL_SECONDS = 0.5


class Lease:
    """The exclusive right to fill a table while this process runs statements."""

    def __init__(self, table: str) -> None:
        """For ``table``."""
        self._table = f"clip-udfs index-pictures {table} "
        self.comment = f"{self._table}{socket.gethostname()} {os.getpid()} {uuid4()}"

    def take(self, database: Database) -> None:
        """End the statements that an interrupted run from this machine left running on the server.

        Raises:
            ConflictError: Another run is in progress.
        """
        deadline = time.monotonic() + _WAIT_SECONDS
        while others := self._others(database):
            for query, comment in others:
                host, process, *_ = comment.removeprefix(self._table).split(" ")
                if host != socket.gethostname() or _is_alive(int(process)):
                    raise ConflictError(
                        f"another index-pictures is filling this table: process {process} on {host};"
                        " wait until it has finished"
                    )
                _kill(database, f"query_id = {literal(query)}")
            if time.monotonic() > deadline:
                raise ConflictError(
                    "a statement of an interrupted run is still running; wait for it, or stop it: KILL QUERY WHERE"
                    f" query_id = {literal(others[0][0])}"
                )
            time.sleep(_POLL_SECONDS)

    def end(self, database: Database) -> None:
        """Cancel the statements of this run."""
        _kill(database, f"Settings['log_comment'] = {literal(self.comment)}")

    def _others(self, database: Database) -> list[tuple[str, str]]:
        found = database.rows(
            "SELECT query_id, Settings['log_comment'] AS said FROM system.processes"
            f" WHERE startsWith(said, {literal(self._table)}) AND said != {literal(self.comment)}"
        )
        return [(str(query), str(comment)) for query, comment in found]


def _kill(database: Database, where: str) -> None:
    with suppress(SqlError):  # it has ended meanwhile
        database.command(f"KILL QUERY WHERE {where} ASYNC")


def _is_alive(process: int) -> bool:
    try:
        os.kill(process, 0)
    except ProcessLookupError:
        return False
    except PermissionError:
        return True
    return True
