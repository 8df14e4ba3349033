"""A ClickHouse engine in a process of its own: one statement a line in, one JSON answer a line out.

Run as ``python driver.py CONFIG_FILE DATA_DIRECTORY``; the tests talk to it through :class:`Engine`.
"""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any


class QueryFailed(Exception):
    """ClickHouse refused a statement; the text is its message."""


class Engine:
    """A running engine on a configuration tree."""

    def __init__(self, config: Path, data: Path, prefix: tuple[str, ...] = (), **options: Any) -> None:
        """Start the engine behind the command ``prefix``; ``options`` go to :class:`subprocess.Popen`."""
        self.process = subprocess.Popen(
            [*prefix, sys.executable, __file__, str(config), str(data)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
            **options,
        )

    def rows(self, statement: str) -> list[tuple[Any, ...]]:
        """Run one statement and give its rows."""
        assert self.process.stdin is not None
        assert self.process.stdout is not None
        self.process.stdin.write(json.dumps(statement) + "\n")
        self.process.stdin.flush()
        answer = json.loads(self.process.stdout.readline())
        if "error" in answer:
            raise QueryFailed(answer["error"])
        return [tuple(row) for row in answer["rows"]]

    def value(self, statement: str) -> Any:
        """Run one statement and give its only value."""
        ((value,),) = self.rows(statement)
        return value

    def close(self) -> int:
        """Stop the engine and give its exit status."""
        assert self.process.stdin is not None
        assert self.process.stdout is not None
        self.process.stdin.close()
        status = self.process.wait(60)
        self.process.stdout.close()
        return status


def _serve(config: str, data: str) -> None:
    import os

    import clickhouse_connect
    from clickhouse_connect.driver.exceptions import Error

    answers = os.fdopen(os.dup(1), "w")
    os.dup2(2, 1)
    client = clickhouse_connect.get_client(interface="chdb", path=data, chdb_options={"config-file": config})
    for line in sys.stdin:
        try:
            statement = json.loads(line)
            answers_rows = statement.lstrip().split(None, 1)[0].upper() in (
                "SELECT",
                "WITH",
                "EXPLAIN",
                "SHOW",
            )
            text = client.raw_query(statement, fmt="JSONCompact" if answers_rows else None)
            answer: dict[str, Any] = {"rows": json.loads(text)["data"] if answers_rows else []}
        except Error as error:
            answer = {"error": str(error)}
            client.raw_query("SELECT 1")  # takes away what chDB 4.4 had already written of the failed answer
        answers.write(json.dumps(answer) + "\n")
        answers.flush()


if __name__ == "__main__":
    _serve(*sys.argv[1:])
