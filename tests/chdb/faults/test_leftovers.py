"""What many statements leave behind: nothing."""

from __future__ import annotations

import subprocess
import sys

import psutil

from tests.chdb.faults.case import Case, processes, zombies
from tests.chdb.faults.mix import Mix
from tests.processes import resident_bytes

MEBIBYTE = 1 << 20


def used(case: Case) -> tuple[int, int, int]:
    """Memory of the workers and of the engine in bytes, and descriptors of the engine."""
    engine = psutil.Process(case.engine.process.pid)
    workers = sum(resident_bytes(process) for process in processes(case.tree) if process.pid != engine.pid)
    return workers, engine.memory_info().rss, engine.num_fds()


def ask(case: Case, mix: Mix, statements: int) -> None:
    for _ in range(statements):
        one = mix.draw()
        case.engine.begin(one.sql)
        assert not mix.problem(one, case.reference, *mix.outcome(case.engine, 0))


def test_memory_stays_flat_over_many_queries(case: Case) -> None:
    mix = Mix(seed=3, settings=case.settings, bad=0.01)
    ask(case, mix, 200)
    workers, engine, descriptors = used(case)
    ask(case, mix, 600)
    workers_after, engine_after, descriptors_after = used(case)
    assert workers_after - workers < 60 * MEBIBYTE
    assert engine_after - engine < 100 * MEBIBYTE
    assert descriptors_after <= descriptors + 8
    assert zombies(case.engine) == 0


def test_the_soak_in_short() -> None:
    done = subprocess.run(
        [sys.executable, "-m", "tests.soak", "--statements", "40", "--seed", "5"], capture_output=True, text=True
    )
    assert done.returncode == 0, done.stdout + done.stderr
    assert "40 statements with " in done.stdout
    assert "wrong outcomes and vectors 0" in done.stdout
