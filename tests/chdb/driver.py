"""A ClickHouse engine in a process of its own: one client and statement a line in, one JSON answer a line out.

Run as ``python driver.py CONFIG_FILE DATA_DIRECTORY``; the tests talk to it through :class:`Engine`. Clients are
numbers: each is a connection and a thread of its own, so that their statements run at the same time.
"""

from __future__ import annotations

import json
import subprocess
import sys
from collections import defaultdict, deque
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
        self._arrived: defaultdict[int, deque[dict[str, Any]]] = defaultdict(deque)

    def begin(self, statement: str, client: int = 0) -> None:
        """Let ``client`` run one statement, and do not wait for it."""
        assert self.process.stdin is not None
        self.process.stdin.write(json.dumps([client, statement]) + "\n")
        self.process.stdin.flush()

    def finish(self, client: int = 0) -> list[tuple[Any, ...]]:
        """Wait for the statement that ``client`` began and give its rows."""
        assert self.process.stdout is not None
        while not self._arrived[client]:
            line = self.process.stdout.readline()
            assert line, "the engine has ended"
            answer = json.loads(line)
            self._arrived[answer["client"]].append(answer)
        answer = self._arrived[client].popleft()
        if "error" in answer:
            raise QueryFailed(answer["error"])
        return [tuple(row) for row in answer["rows"]]

    def rows(self, statement: str, client: int = 0) -> list[tuple[Any, ...]]:
        """Run one statement and give its rows."""
        self.begin(statement, client)
        return self.finish(client)

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
    import threading
    import traceback
    from queue import SimpleQueue

    import clickhouse_connect

    answers = os.fdopen(os.dup(1), "w")
    os.dup2(2, 1)
    one_at_a_time = threading.Lock()

    def connect() -> Any:
        return clickhouse_connect.get_client(interface="chdb", path=data, chdb_options={"config-file": config})

    def run(client: Any, statement: str) -> dict[str, Any]:
        answers_rows = statement.lstrip().split(None, 1)[0].upper() in ("SELECT", "WITH", "EXPLAIN", "SHOW")
        try:
            text = client.raw_query(statement, fmt="JSONCompact" if answers_rows else None)
            return {"rows": json.loads(text)["data"] if answers_rows else []}
        except Exception as error:  # whatever it is, the test must see it, and not wait for ever
            client.raw_query("SELECT 1")  # takes away what chDB 4.4 had already written of the failed answer
            if isinstance(error.__cause__, UnicodeDecodeError):  # a message that quotes text, cut in a character
                return {"error": error.__cause__.object.decode(errors="replace")}
            return {"error": str(error)}

    def serve(number: int, statements: SimpleQueue[str | None]) -> None:
        try:
            client = connect()
            while (statement := statements.get()) is not None:
                answer = json.dumps({"client": number, **run(client, statement)})
                with one_at_a_time:
                    answers.write(answer + "\n")
                    answers.flush()
        except Exception:
            traceback.print_exc()
            os._exit(1)  # without this client's answer, the test would wait for ever

    queues: dict[int, SimpleQueue[str | None]] = {}
    threads = []
    for line in sys.stdin:
        number, statement = json.loads(line)
        if number not in queues:
            queues[number] = SimpleQueue()
            threads.append(threading.Thread(target=serve, args=(number, queues[number])))
            threads[-1].start()
        queues[number].put(statement)
    for queue in queues.values():
        queue.put(None)
    for thread in threads:
        thread.join()


if __name__ == "__main__":
    _serve(*sys.argv[1:])
