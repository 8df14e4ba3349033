"""Statements that are cut short, have to wait, or come all at once."""

from __future__ import annotations

from dataclasses import replace

from clip_udfs.functions import ENCODERS
from tests.chdb.faults.case import VECTORS, Case, question, until, zombies
from tests.chdb.faults.mix import Mix


def test_no_byte_within_the_read_timeout(fault: Case) -> None:
    """A block takes longer than `command_read_timeout`: its worker exits at once and leaves no zombie."""
    fault.sabotage()
    fault.define("command_read_timeout", 5000)
    with fault.fault("hold-run"):
        fault.engine.begin(question().statement)
        stuck = fault.waiting()
        fault.refused("Pipe read timeout exceeded 5000 milliseconds")
        until(lambda: not stuck.is_running(), "the end of the worker that was too slow")
    fault.exact()
    assert zombies(fault.engine) == 0


def kill(fault: Case, marked: str) -> None:
    """Kill a statement, from another client."""
    fault.engine.rows(f"KILL QUERY WHERE query LIKE '%/* {marked} */%' AND query NOT LIKE '%KILL%' SYNC", client=9)


def test_a_statement_of_many_blocks_is_killed(fault: Case) -> None:
    """KILL QUERY of a statement of many blocks: it ends after the current block, and its worker continues."""
    fault.sabotage()
    fault.warm()
    serving = fault.worker()
    with fault.fault("slow-run"):
        written = serving.io_counters().write_chars
        fault.engine.begin(question(rows=100_000, block=40, rest="/* many */").statement, client=1)
        until(lambda: serving.io_counters().write_chars > written, "the first block")
        kill(fault, "many")
        fault.refused("Query was cancelled", client=1)
    fault.exact()
    assert fault.workers() == [serving]


def test_a_statement_is_killed_in_the_middle_of_a_block(fault: Case) -> None:
    """KILL QUERY in the middle of a block: it ends when the block is done, and its worker continues."""
    fault.sabotage()
    with fault.fault("hold-run"):
        fault.engine.begin(question(rows=41, rest="/* held */").statement, client=1)
        held = fault.waiting()
        fault.engine.rows("KILL QUERY WHERE query LIKE '%/* held */%' AND query NOT LIKE '%KILL%' ASYNC", client=9)
    fault.refused("Query was cancelled", client=1)
    fault.exact()
    assert fault.workers() == [held]


def test_out_of_time_between_blocks(fault: Case) -> None:
    """`max_execution_time` runs out in a statement of many blocks."""
    fault.sabotage()
    fault.warm()
    serving = fault.worker()
    with fault.fault("slow-run"):
        asked = question(rows=100_000, block=40)
        fault.engine.begin(f"{asked.statement}, max_execution_time = 0.5")
        fault.refused("Timeout exceeded: elapsed … ms, maximum: 500.000 ms")
    fault.exact()
    assert fault.workers() == [serving]


def test_a_limit_stops_reading(fault: Case) -> None:
    """LIMIT is reached after the first of many blocks."""
    fault.warm()
    serving = fault.worker()
    for limit in (3, 45):
        asked = question(rows=1000, block=40, rest=f"LIMIT {limit}")
        rows = fault.engine.rows(asked.statement)
        fault.check(replace(asked, values=asked.values[:limit]), rows)
    fault.saw(VECTORS)
    fault.exact()
    assert fault.workers() == [serving]


def test_the_pool_is_exhausted(fault: Case) -> None:
    """All workers of the pool stay busy for longer than a statement waits: increase `install-udfs --pool-size`."""
    fault.sabotage()
    fault.define("pool_size", 1)
    fault.define("max_command_execution_time", 1)
    with fault.fault("hold-run"):
        asked = question()
        fault.engine.begin(asked.statement, client=1)
        fault.waiting()
        fault.fails("Could not get process from pool, max command execution timeout exceeded 1 seconds")
    fault.check(asked, fault.engine.finish(client=1))
    fault.exact()
    assert len(fault.workers()) == 1


def test_functions_are_reloaded_while_a_worker_loads(fault: Case) -> None:
    """SYSTEM RELOAD FUNCTIONS while a worker loads its model: its statement is answered, later ones get new workers."""
    fault.sabotage()
    with fault.fault("hold-load"):
        first, second = question(), question()
        fault.engine.begin(first.statement, client=1)
        old = fault.waiting()
        fault.engine.rows("SYSTEM RELOAD FUNCTIONS")
        fault.engine.begin(second.statement, client=2)
        new = fault.waiting()
    fault.answered(first, client=1)
    fault.answered(second, client=2)
    fault.exact()
    until(lambda: not old.is_running(), "the end of the old worker")
    assert fault.workers() == [new]
    assert zombies(fault.engine) == 0


def test_eight_clients_mix_good_and_bad_rows(fault: Case) -> None:
    """Eight clients call all six functions at the same time, with good and bad rows mixed, 50 statements each."""
    mix = Mix(seed=8, settings=fault.settings, bad=0.05)
    asked = {client: [mix.draw() for _ in range(50)] for client in range(1, 9)}
    for client, statements in asked.items():
        for one in statements:
            fault.engine.begin(one.sql, client)
    problems = [
        problem
        for client, statements in asked.items()
        for one in statements
        if (problem := mix.problem(one, fault.reference, *mix.outcome(fault.engine, client)))
    ]
    assert problems == []
    fault.saw("each statement's own result: the right vectors, or the message for its own bad row")
    for function in ENCODERS:
        assert len(fault.workers(function)) <= 2
    fault.exact()
    fault.exact("encode_image")
    assert zombies(fault.engine) == 0
