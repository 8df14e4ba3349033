"""ClickHouse embedded in a process of its own: a statement a line in, rows and seconds out.

Run as ``python -m benchmarks.engine CONFIG DATA``; :class:`Engine` talks to it. The time is taken inside, around the
query alone.
"""

from __future__ import annotations

import json
import subprocess
import sys
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any


@dataclass(frozen=True)
class Answer:
    """Rows of a statement, and the seconds that it took."""

    rows: list[list[Any]]
    seconds: float

    @property
    def value(self) -> Any:
        """The only value."""
        ((value,),) = self.rows
        return value


class Engine:
    """A running engine on one configuration."""

    def __init__(self, config: Path, data: Path, log: Path) -> None:
        """Start it and wait until it answers; what workers say goes to ``log``."""
        with log.open("ab") as errors:
            self._process = subprocess.Popen(
                [sys.executable, "-m", "benchmarks.engine", str(config), str(data)],
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=errors,
                text=True,
            )
        self.run("SELECT 1")

    @property
    def pid(self) -> int:
        """Its process."""
        return self._process.pid

    def run(self, statement: str) -> Answer:
        """Run one statement.

        Raises:
            RuntimeError: ClickHouse refused it; the text is its message.
        """
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        self._process.stdin.write(json.dumps(statement) + "\n")
        self._process.stdin.flush()
        answer = json.loads(self._process.stdout.readline())
        if "error" in answer:
            raise RuntimeError(f"{statement[:200]}: {answer['error'][:1000]}")
        return Answer(answer["rows"], answer["seconds"])

    def close(self) -> None:
        """Stop it, and with it the workers."""
        self._process.communicate(timeout=120)


def _serve(config: str, data: str) -> None:
    import os

    import clickhouse_connect
    from clickhouse_connect.driver.exceptions import Error

    answers = os.fdopen(os.dup(1), "w")
    os.dup2(2, 1)
    client = clickhouse_connect.get_client(interface="chdb", path=data, chdb_options={"config-file": config})
    for line in sys.stdin:
        statement = json.loads(line)
        asks = statement.lstrip().split(None, 1)[0].upper() in ("SELECT", "WITH", "EXPLAIN")
        start = time.perf_counter()
        try:
            text = client.raw_query(statement, fmt="JSONCompact" if asks else None)
            seconds = time.perf_counter() - start
            answer: dict[str, Any] = {"rows": json.loads(text)["data"] if asks else [], "seconds": seconds}
        except Error as error:
            answer = {"error": str(error)}
        answers.write(json.dumps(answer) + "\n")
        answers.flush()


if __name__ == "__main__":
    _serve(*sys.argv[1:])
