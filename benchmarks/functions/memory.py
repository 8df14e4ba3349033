"""Memory of worker processes, from the kernel's own account."""

from __future__ import annotations

import subprocess
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

from benchmarks.worker.worker_pipe import ask


@dataclass(frozen=True)
class Memory:
    """Memory of one process in bytes.

    Attributes:
        pss: Its share of everything that it maps: pages used by n processes count for 1/n.
        private: Pages that no other process uses, freed when it ends.
    """

    pss: int
    private: int

    @classmethod
    def of(cls, pid: int) -> Memory:
        """Read ``/proc/PID/smaps_rollup``."""
        values: dict[str, int] = {}
        for line in Path(f"/proc/{pid}/smaps_rollup").read_text().splitlines()[1:]:
            name, size, _ = line.split()
            values[name.rstrip(":")] = int(size) * 1024
        return cls(values["Pss"], values["Private_Clean"] + values["Private_Dirty"])


def workers_of(engine: int) -> list[int]:
    """The processes that the process ``engine`` has started."""
    children = Path(f"/proc/{engine}/task").glob("*/children")
    return sorted({int(pid) for file in children for pid in file.read_text().split()})


def peak(pid: int) -> int:
    """Peak resident memory of a process in bytes."""
    lines = Path(f"/proc/{pid}/status").read_text().splitlines()
    return next(int(line.split()[1]) * 1024 for line in lines if line.startswith("VmHWM"))


class Worker:
    """A worker outside ClickHouse, driven over its pipe as by ClickHouse."""

    def __init__(self, command: Sequence[str | Path]) -> None:
        """Start it."""
        self._process = subprocess.Popen(
            command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL
        )

    def answer(self, rows: Sequence[str], *, header: bool, binary: bool = False) -> None:
        """Send rows, as TabSeparated unless ``binary``, and wait for as many answers."""
        process = self._process
        if binary:
            ask(process, [row.encode() for row in rows])
            return
        assert process.stdin is not None
        assert process.stdout is not None
        lines = ([str(len(rows))] if header else []) + list(rows)
        process.stdin.write("".join(f"{line}\n" for line in lines).encode())
        process.stdin.flush()
        for _ in rows:
            if not process.stdout.readline():
                raise RuntimeError(f"{process.args} ended with {process.wait()}")

    def memory(self) -> Memory:
        """Its memory now."""
        return Memory.of(self._process.pid)

    def close(self) -> None:
        """End its input and wait for it."""
        with suppress(BrokenPipeError):
            self._process.communicate(timeout=60)
        for pipe in (self._process.stdin, self._process.stdout):
            if pipe is not None:
                with suppress(BrokenPipeError):
                    pipe.close()


def grown(
    command: Sequence[str | Path], rows: Sequence[str], *, header: bool, binary: bool, workers: int = 2
) -> list[Memory]:
    """Memory of each worker right after it has answered ``rows``, one started after another."""
    running: list[Worker] = []
    found: list[Memory] = []
    try:
        for _ in range(workers):
            running.append(Worker(command))
            running[-1].answer(rows, header=header, binary=binary)
            found.append(running[-1].memory())
    finally:
        for worker in running:
            worker.close()
    return found
