"""The recipes for an existing table, on many rows: a new column is encoded, the server is killed, reads go on.

``python -m tests.own_table --rows 1000000`` fills a table with different texts, adds the column as own_table.sql does
(``--way materialize``) or as large_own_table.sql does (``--way update``), kills the server with ``kill -9`` when half
of the parts are done, starts it again, and prints what it measured. It fails if a row is not encoded as it should be.
"""

from __future__ import annotations

import argparse
import sys
import tempfile
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

from tests.processes import children, command_line, kill, resident_bytes
from tests.server.running import RunningServer, ServerPlace, start_server

TABLE = "CREATE TABLE products (id UInt64, caption String) ENGINE = MergeTree ORDER BY id"
COLUMN = "Array(Float32)"
# The statements of both recipes, on texts.
WAYS = {
    "materialize": (
        f"ALTER TABLE products ADD COLUMN embedding {COLUMN} MATERIALIZED encode_text(caption) CODEC(NONE)",
        "ALTER TABLE products MATERIALIZE COLUMN embedding SETTINGS mutations_sync = 0",
    ),
    "update": (
        f"ALTER TABLE products ADD COLUMN embedding {COLUMN} CODEC(NONE)",
        "ALTER TABLE products UPDATE embedding = try_encode_text(caption) WHERE empty(embedding)"
        " SETTINGS mutations_sync = 0",
    ),
}
READS = {
    "count the rows": "SELECT count() FROM products WHERE caption != ''",
    "read one vector": "SELECT embedding FROM products WHERE id = 77",
    "read 1000 vectors": "SELECT sum(length(embedding)) FROM products WHERE id >= (SELECT max(id) - 999 FROM products)",
}
_SAMPLED = 1  # seconds between two looks


@dataclass
class Watched:
    """What was seen while the column was encoded.

    Attributes:
        server: Most bytes of memory that the server held (resident set size).
        worker: Most bytes that one worker held (resident set size).
        slowest: Seconds of the slowest answer to each read.
    """

    server: int = 0
    worker: int = 0
    slowest: dict[str, float] = field(default_factory=dict)

    def look(self, server: RunningServer) -> None:
        """Look at the processes."""
        engines = [one for one in children(server.process.pid) if "clip_installer.trial.engine" in command_line(one)]
        self.server = max(self.server, sum(map(resident_bytes, engines)))
        self.worker = max([self.worker, *map(resident_bytes, server.place.processes())])

    def read(self, server: RunningServer) -> None:
        """Run each read."""
        for name, statement in READS.items():
            began = time.monotonic()
            server.rows(statement)
            self.slowest[name] = max(self.slowest.get(name, 0), time.monotonic() - began)

    def until(self, server: RunningServer, is_over: Callable[[], bool]) -> None:
        """Look and read until ``is_over``."""
        ended = threading.Event()

        def looks() -> None:
            while not ended.wait(_SAMPLED):
                self.look(server)

        thread = threading.Thread(target=looks)
        thread.start()
        try:
            while not is_over():
                self.read(server)
                time.sleep(_SAMPLED)
        finally:
            ended.set()
            thread.join()


def fill(server: RunningServer, rows: int, parts: int) -> None:
    """Fill the table with different texts, in so many parts of one length."""
    server.rows(TABLE)
    server.rows("SYSTEM STOP MERGES products")
    size = -(-rows // parts)
    for first in range(0, rows, size):
        server.rows(
            "INSERT INTO products SELECT number, concat(['a red ', 'a small ', 'an old '][number % 3 + 1],"
            " ['car', 'dog', 'house', 'boat', 'bridge'][number % 5 + 1], ' in the street, picture ', toString(number))"
            f" FROM numbers({first}, {min(size, rows - first)}) SETTINGS max_threads = 1, max_insert_threads = 1,"
            " min_insert_block_size_rows = 1000000000, min_insert_block_size_bytes = 1000000000000"
        )
    server.rows("SYSTEM START MERGES products")


def parts_to_do(server: RunningServer) -> int:
    """Parts that the mutation has not finished."""
    return int(server.rows("SELECT sum(parts_to_do) FROM system.mutations WHERE NOT is_done")[0][0])


def kill_and_start(server: RunningServer) -> RunningServer:
    """Kill the server and its workers with no warning, and start it again."""
    kill([*children(server.process.pid), *server.place.processes()])
    server.process.communicate(timeout=60)
    return start_server(server.place)


def check(server: RunningServer, rows: int) -> None:
    """Every row has its vector, but for the rounding that a row's neighbours in a mini-batch decide."""
    assert server.rows("SELECT count(), min(length(embedding)), max(length(embedding)) FROM products") == [
        (rows, 512, 512)
    ]
    compared = f"SELECT caption, embedding FROM products WHERE id % {max(1, rows // 1000)} = 0"
    other = "countIf(L2Distance(embedding, encode_text(caption)) > 1e-6)"
    assert server.rows(f"SELECT {other} FROM ({compared})") == [(0,)]


def main() -> None:
    """Show it."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rows", type=int, default=1_000_000)
    parser.add_argument("--parts", type=int, default=8)
    parser.add_argument("--way", choices=list(WAYS), default="update")
    options = parser.parse_args()
    watched = Watched()
    with tempfile.TemporaryDirectory(prefix="own-table-") as folder:
        server = start_server(ServerPlace.make(Path(folder)))
        try:
            server.install("--no-ddl")
            fill(server, options.rows, options.parts)
            began = time.monotonic()
            for statement in WAYS[options.way]:
                server.rows(statement)
            watched.until(server, lambda: parts_to_do(server) <= options.parts // 2)
            left = parts_to_do(server)
            server = kill_and_start(server)
            assert 0 < parts_to_do(server) <= left, "a part that was finished began again"
            watched.until(server, lambda: parts_to_do(server) == 0)
            seconds = time.monotonic() - began
            check(server, options.rows)
        finally:
            server.stop()
    slowest = ", ".join(f"{name} {value:.1f} s" for name, value in watched.slowest.items())
    sys.stdout.write(
        f"{options.rows:,} rows in {options.parts} parts, {options.way}: {seconds:.0f} s, killed once"
        f" ({options.rows / seconds:,.0f} rows a second)\npeak memory: server {watched.server / 1e6:.0f} MB,"
        f" a worker {watched.worker / 1e6:.0f} MB\nslowest reads meanwhile: {slowest}\n"
    )


if __name__ == "__main__":
    main()
