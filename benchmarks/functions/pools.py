"""Four queries at once on pools of two: throughput, fairness, and memory against the installer's plan."""

from __future__ import annotations

from collections.abc import Iterator

from benchmarks.functions.bulk import fill_captions, fill_pictures
from benchmarks.functions.deployment import empty, install
from benchmarks.functions.engine import Engine
from benchmarks.functions.measurement import Bench, Measurement
from benchmarks.functions.memory import Memory, workers_of
from benchmarks.material import captions
from clip_installer.planning.sizing import worker_memory
from clip_udfs.bundle import Bundle
from clip_udfs.functions import ENCODERS
from clip_udfs.settings import WorkerSettings

QUERIES, POOL = 4, 2
_TABLES = {"text": "captions", "path": "pictures"}
_BATCH = {"text": 64, "path": 8, "bytes": 8}


def four_at_once(bench: Bench) -> Iterator[Measurement]:
    """One query alone and four together, in turns, on the same pool; then the memory of all pools, filled."""
    models = bench.deployment.models
    deployment = empty(bench.deployment.data.parent.parent / "pools", models)
    launcher = install(deployment, models.bundle(), bench.pictures[0].parent, "--pool-size", POOL)
    engine = Engine(deployment.config, deployment.data, bench.log)
    scale = bench.scale
    fill_captions(engine, captions(scale.turns * (QUERIES + 1) * scale.together, seed=31))
    fill_pictures(engine, bench.pictures)
    for function, work, rows in (
        ("encode_text", "captions", scale.together),
        ("encode_image", "pictures", min(scale.pictures_together, len(bench.pictures))),
    ):
        yield from _alone_and_together(engine, function, work, rows, scale.turns)
    yield _memory(engine, bench, WorkerSettings.load(launcher.with_name("worker.json")))
    engine.close()


def _alone_and_together(engine: Engine, function: str, work: str, rows: int, turns: int) -> Iterator[Measurement]:
    def query(slice_of: int) -> str:
        # Texts must be new, or a worker answers from its cache; images are never cached.
        first = slice_of * rows if work == "captions" else 0
        part = f"SELECT value FROM {work} WHERE id >= {first} ORDER BY id LIMIT {rows}"
        return f"SELECT count(), sum(length({function}(value))) FROM ({part})"

    engine.run_together([f"SELECT {function}(value) FROM {work} LIMIT 1"] * POOL)  # starts the workers
    alone: list[float] = []
    together: list[float] = []
    spreads: list[float] = []
    for turn in range(turns):
        one = engine.run(query(turn * (QUERIES + 1)))
        answers = engine.run_together([query(turn * (QUERIES + 1) + 1 + number) for number in range(QUERIES)])
        if any(int(answer.rows[0][0]) != rows for answer in (one, *answers)):
            raise RuntimeError("a query did not answer all rows")
        seconds = [answer.seconds for answer in answers]
        alone.append(one.seconds / rows)
        together.append(max(seconds) / (QUERIES * rows))
        spreads.append(max(seconds) / min(seconds))
    yield Measurement(f"pool of two, {work}, one query", "ours", "s/row", tuple(alone), rows)
    notes = {"slowest_to_quickest": max(spreads)}
    yield Measurement(f"pool of two, {work}, four at once", "ours", "s/row", tuple(together), QUERIES * rows, notes)


def _memory(engine: Engine, bench: Bench, settings: WorkerSettings) -> Measurement:
    """All workers with a model, each after a batch: their total memory, and what the plan says."""
    place = bench.pictures[0].parent
    for function in ENCODERS.values():
        if function.source == "bytes":
            source = f"SELECT raw_blob AS value FROM file('{place}/*.jpg', RawBLOB, 'raw_blob String')"
        else:
            source = f"SELECT value FROM {_TABLES[function.source]}"
        source += f" LIMIT {_BATCH[function.source]}"
        engine.run_together([f"SELECT sum(length({function.name}(value))) FROM ({source})"] * QUERIES)
    running = workers_of(engine.pid)
    taken = sum(Memory.of(worker).pss for worker in running)
    manifest = Bundle.open(settings.bundle).manifest
    plan = worker_memory(manifest, POOL, settings.engine, threads=settings.threads)
    planned = plan.total - plan.without_model
    notes = {"workers": len(running), "planned_bytes": planned, "share_of_plan": taken / planned}
    return Measurement("pools of two, all six functions, memory", "ours", "bytes", (float(taken),), 1, notes)
