"""Many statements, some with bad rows, each result compared: ``python -m tests.soak --statements 100000``.

Prints what was asked, what went wrong, and what was left behind; exit status 1 where anything is not as it must be.
SIGTERM ends it early, with the figures of what was done until then.
"""

from __future__ import annotations

import argparse
import os
import signal
import sys
import tempfile
import threading
import time
from collections import Counter, deque
from dataclasses import dataclass, field
from pathlib import Path

import psutil

from tests.chdb.conftest import make_tree
from tests.chdb.faults.case import PICTURES, Case, Reference, files, name_of_picture, nothing_left, picture, processes
from tests.chdb.faults.case import zombies as zombies_of
from tests.chdb.faults.mix import Mix, Statement
from tests.processes import resident_bytes

CLIENTS = 4
# Statements that a client has waiting in the engine, so that none of them is idle.
WAITING = 4
HANG_SECONDS = 300
TELL_SECONDS = 60
# Statements after which everything is loaded: the memory then is what the memory at the end is compared with.
SETTLED = 1000
MEBIBYTE = 1 << 20


@dataclass
class Memory:
    """What the processes hold at one moment."""

    workers: float
    engine: float
    descriptors: int
    zombies: int

    @classmethod
    def of(cls, case: Case) -> Memory:
        """Resident memory of the largest worker and of the engine in MiB, the engine's descriptors and zombies."""
        engine = psutil.Process(case.engine.process.pid)
        sizes = [resident_bytes(process) for process in processes(case.tree) if process.pid != engine.pid]
        largest = max(sizes, default=0) / MEBIBYTE
        return cls(largest, engine.memory_info().rss / MEBIBYTE, engine.num_fds(), zombies_of(case.engine))

    def __str__(self) -> str:
        """One line."""
        return (
            f"largest worker {self.workers:.0f} MiB, engine {self.engine:.0f} MiB with {self.descriptors} descriptors, "
            f"{self.zombies} zombies"
        )


@dataclass
class Soak:
    """The statements of one run, and what came of them."""

    case: Case
    mix: Mix
    statements: int
    asked: int = 0
    done: int = 0
    errors: Counter[str] = field(default_factory=Counter)
    problems: list[str] = field(default_factory=list)
    memory: list[Memory] = field(default_factory=list)

    def run(self) -> None:
        """Ask everything, four clients at the same time, and compare each answer with the reference."""
        waiting: dict[int, deque[Statement]] = {client: deque() for client in range(CLIENTS)}
        told = time.monotonic()
        while self.done < self.statements:
            for client, queue in waiting.items():
                while self.asked < self.statements and len(queue) < WAITING:
                    queue.append(self.mix.draw())
                    self.case.engine.begin(queue[-1].sql, client)
                    self.asked += 1
                if queue:
                    self._compare(queue.popleft(), client)
            settled = not self.memory and self.done >= min(SETTLED, self.statements // 2)
            if settled or time.monotonic() > told + TELL_SECONDS:
                told = time.monotonic()
                self._tell()
        self._tell()

    def stop(self, *_: object) -> None:
        """Ask nothing more."""
        self.statements = self.asked

    def _tell(self) -> None:
        self.memory.append(Memory.of(self.case))
        _say(f"{self.done} statements, {len(self.problems)} problems; {self.memory[-1]}")

    def _compare(self, asked: Statement, client: int) -> None:
        got, message = self.mix.outcome(self.case.engine, client)
        if problem := self.mix.problem(asked, self.case.reference, got, message):
            self.problems.append(problem)
            _say(problem)
        if message:
            self.errors[asked.function.name] += 1
        self.done += 1


def soak(statements: int, seed: int, place: Path) -> bool:
    """Run ``statements`` on the built-in model installed below ``place``; True where nothing went wrong."""
    tree = make_tree(place)
    tree.install("--image-root", str(tree.pictures), "--no-ddl")
    for number in range(PICTURES):
        (tree.pictures / name_of_picture(number)).write_bytes(picture(number))
    temporary, control = place / "temporary", place / "control"
    temporary.mkdir()
    case = Case(tree, control, Reference.of(tree), {**os.environ, "TMPDIR": str(temporary)})
    before = files(tree.data / "user_scripts")
    case.start()
    run = Soak(case, Mix(seed=seed, settings=case.settings, bad=0.05), statements)
    watched = threading.Thread(target=_watch, args=(run,), daemon=True)
    watched.start()
    signal.signal(signal.SIGTERM, run.stop)
    begun = time.monotonic()
    run.run()
    seconds = time.monotonic() - begun
    status = case.engine.close()
    nothing_left(tree, temporary, before)
    return _report(run, seconds, status)


def _watch(run: Soak) -> None:
    """End the engine when no statement ends any more, so that the run ends as well."""
    done = -1
    while done != run.done:
        done = run.done
        time.sleep(HANG_SECONDS)
    if done < run.statements:
        _say(f"no statement has ended for {HANG_SECONDS} seconds after {done}: it hangs")
        run.case.engine.process.kill()


def _report(run: Soak, seconds: float, status: int) -> bool:
    rows = run.mix.rows
    bad = run.mix.bad_rows
    _say(
        f"{run.done} statements with {rows.total()} rows in {seconds:.0f} s, {bad} bad rows ({bad / rows.total():.1%})"
    )
    for name in sorted({name for name, _ in rows}):
        _say(f"  {name}: {rows[name, False]} good rows, {rows[name, True]} bad ones, {run.errors[name]} errors")
    _say(
        f"errors expected {run.mix.refused}, seen {run.errors.total()}; wrong outcomes and vectors {len(run.problems)}"
    )
    _say(f"hangs 0; processes, temporary and other files left 0; exit status of the engine {status}")
    _say(f"when everything was loaded: {run.memory[0]}")
    _say(f"at the end: {run.memory[-1]}")
    return not run.problems and status == 0 and run.memory[-1].zombies == 0


def _say(line: str) -> None:
    sys.stdout.write(line + "\n")
    sys.stdout.flush()


def main() -> int:
    """Read the command line and run."""
    parser = argparse.ArgumentParser(prog="python -m tests.soak", description=__doc__)
    parser.add_argument("--statements", type=int, default=100_000, help="how many statements [default: 100000]")
    parser.add_argument("--seed", type=int, default=1, help="the same seed asks the same [default: 1]")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="soak-") as place:
        return 0 if soak(options.statements, options.seed, Path(place)) else 1


if __name__ == "__main__":
    sys.exit(main())
