"""Many clients on a server, over both protocols: ``python -m tests.server.soak --statements 5000 --clients 32``.

One row in twenty is bad. Each answer is compared with vectors computed in this process. Prints what was asked, how long
it took and what went wrong; exit status 1 if anything is not as it must be.
"""

from __future__ import annotations

import argparse
import statistics
import sys
import tempfile
import threading
import time
from collections import Counter
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np

from clip_udfs.settings import WorkerSettings
from tests.chdb.driver import QueryFailed
from tests.chdb.faults.case import PICTURES, Reference, name_of_picture, picture
from tests.chdb.faults.mix import Mix, Statement
from tests.processes import children, has_ended
from tests.server.running import Client, RunningServer, ServerPlace, running_server

BAD = 0.05
HANG_SECONDS = 300


@dataclass
class Soak:
    """The statements of one run, and what came of them.

    Attributes:
        server: Where they are asked.
        mix: Draws and judges them.
        reference: The right vectors.
        left: Statements that nobody has asked yet.
        seconds: How long each took, by protocol.
        errors: Statements that failed, by function.
        problems: What was not as it must be, a line each.
    """

    server: RunningServer
    mix: Mix
    reference: Reference
    left: int
    seconds: dict[str, list[float]] = field(default_factory=lambda: {"HTTP": [], "native": []})
    errors: Counter[str] = field(default_factory=Counter)
    problems: list[str] = field(default_factory=list)
    _lock: threading.Lock = field(default_factory=threading.Lock)

    def run(self, clients: int) -> None:
        """Ask everything, half of the clients over each protocol, and judge each answer."""
        threads = [threading.Thread(target=self._ask, args=(number,), daemon=True) for number in range(clients)]
        for thread in threads:
            thread.start()
        done, looked = -1, time.monotonic()
        while any(thread.is_alive() for thread in threads):
            time.sleep(0.2)
            now = sum(map(len, self.seconds.values()))
            if now != done:
                done, looked = now, time.monotonic()
            elif time.monotonic() > looked + HANG_SECONDS:
                self.problems.append(f"no statement has ended for {HANG_SECONDS} seconds after {done}")
                return

    def _ask(self, number: int) -> None:
        protocol = ("HTTP", "native")[number % 2]
        client = self.server.http() if protocol == "HTTP" else self.server.native()
        while asked := self._next():
            begun = time.monotonic()
            rows, message = _outcome(client, asked)
            took = time.monotonic() - begun
            with self._lock:
                self.seconds[protocol].append(took)
                self.errors[asked.function.name] += bool(message)
                got = [np.array(vector, np.float32) for vector in rows]
                if problem := self.mix.problem(asked, self.reference, got, message):
                    self.problems.append(f"{protocol}: {problem}")

    def _next(self) -> Statement | None:
        with self._lock:
            self.left -= 1
            return self.mix.draw() if self.left >= 0 else None


def _outcome(client: Client, asked: Statement) -> tuple[list[list[float]], str]:
    """The vectors, or the message."""
    try:
        return [vector for (vector,) in client.rows(asked.sql)], ""
    except QueryFailed as failed:
        return [], str(failed)


def soak(server: RunningServer, statements: int, clients: int, seed: int) -> list[str]:
    """Ask ``statements`` of a server with the built-in model; give the report's lines.

    Raises:
        AssertionError: Something is not as it must be; the message says what.
    """
    (file,) = server.place.data.glob("user_scripts/clip_udfs/*/*/worker.json")
    settings = WorkerSettings.load(file)
    for number in range(PICTURES):
        (settings.image_roots[0] / name_of_picture(number)).write_bytes(picture(number))
    run = Soak(server, Mix(seed=seed, settings=settings, bad=BAD), Reference(settings), statements)
    begun = time.monotonic()
    run.run(clients)
    seconds = time.monotonic() - begun
    assert not run.problems, "\n".join(run.problems)
    assert not [child for child in children(server.process.pid) if has_ended(child)]
    assert run.errors.total() == run.mix.refused
    rows, bad = run.mix.rows.total(), run.mix.bad_rows
    lines = [
        f"{statements} statements of {clients} clients with {rows} rows, {bad} of them bad, in {seconds:.0f} s",
        f"{run.errors.total()} statements refused, each for its bad row; 0 wrong, 0 hangs",
    ]
    for protocol, took in run.seconds.items():
        cuts = statistics.quantiles(took, n=100)
        lines.append(f"{protocol}: {len(took)} statements, median {cuts[49] * 1e3:.0f} ms, 99 % in {cuts[98]:.2f} s")
    return lines


def main() -> None:
    """Read the command line and run."""
    parser = argparse.ArgumentParser(prog="python -m tests.server.soak", description=__doc__)
    parser.add_argument("--statements", type=int, default=5000, help="how many statements [default: 5000]")
    parser.add_argument("--clients", type=int, default=32, help="how many clients at a time [default: 32]")
    parser.add_argument("--seed", type=int, default=1, help="the same seed asks the same [default: 1]")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="soak-") as root, running_server(ServerPlace.make(Path(root))) as server:
        server.install("--no-ddl")
        report = soak(server, options.statements, options.clients, options.seed)
    sys.stdout.write("\n".join([*report, "no process is left"]) + "\n")


if __name__ == "__main__":
    main()
