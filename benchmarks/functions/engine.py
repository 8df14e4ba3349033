"""chDB in a separate process: each input line has statements to run together, each output line rows and seconds.

Run as ``python -m benchmarks.functions.engine CONFIG DATA``; :class:`Engine` talks to it. Time is measured inside,
around the query only.
"""

from __future__ import annotations

import json
import subprocess
import sys
import time
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
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
        """Start it and wait until it answers; output of workers goes to ``log``."""
        with log.open("ab") as errors:
            self._process = subprocess.Popen(
                [sys.executable, "-m", "benchmarks.functions.engine", str(config), str(data)],
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
        (answer,) = self._ask([statement])
        return answer

    def run_together(self, statements: Sequence[str]) -> list[Answer]:
        """Run statements at the same time, each from its own client; seconds count from their common start.

        Raises:
            RuntimeError: ClickHouse refused one; the text is its message.
        """
        return self._ask(statements)

    def _ask(self, statements: Sequence[str]) -> list[Answer]:
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        self._process.stdin.write(json.dumps(list(statements)) + "\n")
        self._process.stdin.flush()
        answers = json.loads(self._process.stdout.readline())
        for statement, answer in zip(statements, answers, strict=True):
            if "error" in answer:
                raise RuntimeError(f"{statement[:200]}: {answer['error'][:1000]}")
        return [Answer(answer["rows"], answer["seconds"]) for answer in answers]

    def close(self) -> None:
        """Stop it and its workers."""
        self._process.communicate(timeout=120)


def _serve(config: str, data: str) -> None:
    import os

    import clickhouse_connect
    from clickhouse_connect.driver.exceptions import Error

    answers = os.fdopen(os.dup(1), "w")
    os.dup2(2, 1)
    clients: list[Any] = []

    def run(number: int, statement: str, start: float) -> dict[str, Any]:
        asks = statement.lstrip().split(None, 1)[0].upper() in ("SELECT", "WITH", "EXPLAIN")
        try:
            text = clients[number].raw_query(statement, fmt="JSONCompact" if asks else None)
            seconds = time.perf_counter() - start
            return {"rows": json.loads(text)["data"] if asks else [], "seconds": seconds}
        except Error as error:
            return {"error": str(error)}

    for line in sys.stdin:
        statements = json.loads(line)
        while len(clients) < len(statements):
            options = {"config-file": config}
            clients.append(clickhouse_connect.get_client(interface="chdb", path=data, chdb_options=options))
        numbers = range(len(statements))
        with ThreadPoolExecutor(len(statements)) as threads:
            start = time.perf_counter()
            found = list(threads.map(run, numbers, statements, [start] * len(statements)))
        answers.write(json.dumps(found) + "\n")
        answers.flush()


if __name__ == "__main__":
    _serve(*sys.argv[1:])
