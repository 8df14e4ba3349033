"""The works on which contenders are measured; each yields :class:`Measurement` rows."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Callable, Iterator
from importlib.util import find_spec
from pathlib import Path

from benchmarks.functions.bulk import fill_captions, fill_pictures, in_turns
from benchmarks.functions.deployment import Contender
from benchmarks.functions.engine import Engine
from benchmarks.functions.measurement import Bench, Measurement
from benchmarks.functions.memory import grown, peak, workers_of
from benchmarks.functions.pools import four_at_once
from benchmarks.functions.precision import int8
from benchmarks.material import captions
from benchmarks.worker.start import start

# Enough for a worker to encode batches in parallel.
TEXTS_OF_WORKERS, PICTURES_OF_WORKERS = 256, 64


def first_query(bench: Bench) -> Iterator[Measurement]:
    """From a query to its result when no worker runs yet, but chDB does."""
    seconds: dict[str, list[float]] = {one.name: [] for one in bench.deployment.contenders}
    for turn in range(bench.scale.starts):
        for contender in bench.deployment.contenders:
            engine = bench.engine()
            seconds[contender.name].append(
                engine.run(f"SELECT length({contender.functions['text']}('first query {turn}'))").seconds
            )
            engine.close()
    for name, values in seconds.items():
        yield Measurement("first query", name, "s", tuple(values))


def single_text(bench: Bench) -> Iterator[Measurement]:
    """One new text on a warm worker."""
    engine = bench.engine()
    seconds: dict[str, list[float]] = {}
    texts = captions(bench.scale.singles, seed=7)
    for contender in bench.deployment.contenders:
        engine.run(f"SELECT length({contender.functions['text']}('warm'))")
    for text in texts:
        for contender in bench.deployment.contenders:
            answer = engine.run(f"SELECT length({contender.functions['text']}('{text}'))")
            seconds.setdefault(contender.name, []).append(answer.seconds)
    engine.close()
    for name, values in seconds.items():
        yield Measurement("one text, warm", name, "s", tuple(values))


def bulk_captions(bench: Bench) -> Iterator[Measurement]:
    """Different captions of LAION's length."""
    engine = bench.engine()
    fill_captions(engine, captions(bench.scale.captions))
    yield from _beside_peers(bench, engine, "captions", "text", bench.scale.captions)
    engine.close()


def bulk_pictures(bench: Bench) -> Iterator[Measurement]:
    """JPEGs from disk by their paths."""
    engine = bench.engine()
    fill_pictures(engine, bench.pictures)
    yield from _beside_peers(bench, engine, "pictures", "path", len(bench.pictures))
    engine.close()


def bulk_bytes(bench: Bench) -> Iterator[Measurement]:
    """The same JPEGs, read by ClickHouse and sent as bytes."""
    engine = bench.engine()
    place = bench.pictures[0].parent
    engine.run("CREATE OR REPLACE TABLE contents (id UInt32, value String) ENGINE = Memory")
    engine.run(
        "INSERT INTO contents SELECT toUInt32(splitByChar('.', _file)[1]), raw_blob "
        f"FROM file('{place}/*.jpg', RawBLOB, 'raw_blob String') "
        f"WHERE toUInt32(splitByChar('.', _file)[1]) < {len(bench.pictures)} SETTINGS max_threads = 1"
    )
    yield from _beside_peers(bench, engine, "contents", "bytes", len(bench.pictures))
    engine.close()


def _beside_peers(bench: Bench, engine: Engine, table: str, kind: str, rows: int) -> Iterator[Measurement]:
    return in_turns(bench, engine, table, kind, rows, bench.deployment.contenders, "open_clip")


def worker_memory(bench: Bench) -> Iterator[Measurement]:
    """The first worker and a second one beside it, each after a block."""
    pictures = [str(path) for path in bench.pictures[:PICTURES_OF_WORKERS]]
    values = {"text": captions(TEXTS_OF_WORKERS, seed=9), "path": pictures}
    for kind, rows in values.items():
        for contender in bench.deployment.contenders:
            # Row by row, more rows take more time but no more memory.
            batch = rows if contender.header else rows[:4]
            first, second = grown(
                contender.commands[kind], batch, header=contender.header, binary=contender.name == "ours"
            )
            tower = "text" if kind == "text" else "image"
            notes = {"pss": first.pss}
            yield Measurement(f"first worker, {tower}", contender.name, "bytes", (first.private,), 1, notes)
            notes = {"pss": second.pss}
            yield Measurement(f"second worker, {tower}", contender.name, "bytes", (second.private,), 1, notes)


def wire_cost(bench: Bench) -> Iterator[Measurement]:
    """Rows of 512 numbers through the pipe and ClickHouse's parser, without a model."""
    engine = bench.engine()
    forms = {"TabSeparated": "ours", "RowBinary": "ours", "list": "guide"}
    seconds: dict[str, list[float]] = {}
    for turn in range(1 + bench.scale.turns):
        for form in forms:
            rows = bench.scale.wire // (10 if form == "list" else 1)
            answer = engine.run(f"SELECT sum(length(null_{form}(toString(number)))) FROM numbers({rows})")
            if turn:
                seconds.setdefault(form, []).append(answer.seconds / rows)
    engine.close()
    for form, contender in forms.items():
        work = "wire, TabSeparated" if form == "list" else f"wire, {form}"
        yield Measurement(work, contender, "s/row", tuple(seconds[form]), bench.scale.wire)


def search(bench: Bench) -> Iterator[Measurement]:
    """The ten nearest rows of an indexed table to a new text, encoded in the query itself."""
    engine = bench.engine()
    engine.run(
        "CREATE OR REPLACE TABLE indexed (id UInt32, vector Array(Float32), INDEX near vector TYPE "
        "vector_similarity('hnsw', 'cosineDistance', 512, 'bf16', 32, 128)) ENGINE = MergeTree ORDER BY id"
    )
    engine.run(
        "INSERT INTO indexed SELECT number, "
        "arrayMap(one -> toFloat32(sin(cityHash64(number, one) % 1000003)), range(512)) "
        f"FROM numbers({bench.scale.indexed})"
    )
    engine.run("OPTIMIZE TABLE indexed FINAL")
    contenders: list[Contender] = [one for one in bench.deployment.contenders if one.name in ("ours", "guide")]
    query = "SELECT id FROM indexed ORDER BY cosineDistance(vector, {}) LIMIT 10"
    plan = engine.run("EXPLAIN indexes = 1 " + query.format("encode_text('plan')")).rows
    if not any("vector_similarity" in row[0] for row in plan):
        raise RuntimeError("the search does not use the index")
    engine.run("CREATE OR REPLACE TABLE question ENGINE = Memory AS SELECT encode_text('question') AS vector")
    seconds: dict[str, list[float]] = {}
    alone: list[float] = []
    for contender in contenders:
        engine.run(query.format(f"{contender.functions['text']}('warm')"))
    for text in captions(bench.scale.singles, seed=11):
        for contender in contenders:
            answer = engine.run(query.format(f"{contender.functions['text']}('{text}')"))
            seconds.setdefault(contender.name, []).append(answer.seconds)
        alone.append(engine.run(query.format("(SELECT vector FROM question)")).seconds)
    engine.close()
    for name, values in seconds.items():
        yield Measurement("search with a text", name, "s", tuple(values), bench.scale.indexed)
    yield Measurement("search, the part that is not the model", "ours", "s", tuple(alone), bench.scale.indexed)


def engine_only(bench: Bench) -> Iterator[Measurement]:
    """Images through the engine alone, as a share of this machine's fp32 matrix throughput."""
    command = [sys.executable, "-m", "benchmarks.worker.engine_only", str(_bundle(bench)), str(bench.scale.rounds)]
    found = json.loads(subprocess.run(command, check=True, capture_output=True, text=True).stdout)
    yield Measurement("engine, share of peak", "ours", "share", (found.pop("share_of_peak"),), found["batch"], found)


def _bundle(bench: Bench) -> Path:
    (bundle,) = bench.deployment.data.glob("user_scripts/clip_udfs/vit-b-32-fp32-onnx/*/bundle")
    return bundle


def engines(bench: Bench) -> Iterator[Measurement]:
    """ONNX Runtime and OpenVINO on the same graphs: see :mod:`benchmarks.worker.engines`."""
    if find_spec("openvino") is None:
        bench.say("  OpenVINO is not installed and therefore not compared: pip install openvino")
        return
    command = [sys.executable, "-m", "benchmarks.worker.engines", str(_bundle(bench)), str(bench.scale.turns)]
    found = json.loads(subprocess.run(command, check=True, capture_output=True, text=True).stdout)
    for work, by_engine in found.items():
        for name, one in by_engine.items():
            notes = {"reference": "ours", "cosine": one["cosine"]}
            yield Measurement(f"engines, {work}", name, "s/row", tuple(one["seconds"]), 1, notes)


def growth(bench: Bench) -> Iterator[Measurement]:
    """More and more texts on one worker: seconds per row, and the worker's memory afterwards."""
    engine = bench.engine()
    engine.run("SELECT encode_text('warm')")
    for rows in bench.scale.growth:
        answer = engine.run(
            # New texts of equal length: one more digit would be one more token.
            f"SELECT sum(length(encode_text(concat('picture number ', leftPad(toString(number + {rows}), 7, '0'))))) "
            f"FROM numbers({rows}) SETTINGS max_threads = 1"
        )
        most = _peak_of_worker(engine.pid)
        notes = {"worker_peak_bytes": most}
        yield Measurement(f"growth, {rows:,} texts", "ours", "s/row", (answer.seconds / rows,), rows, notes)
    engine.close()


def _peak_of_worker(engine: int) -> int:
    return max(peak(worker) for worker in workers_of(engine))


def laion_part(bench: Bench) -> Iterator[Measurement]:
    """A part of LAION from its files to a table that can be queried: see :mod:`benchmarks.search.laion`."""
    command = [sys.executable, "-m", "benchmarks.search.laion", "--rows", str(bench.scale.part), "--json"]
    found = json.loads(subprocess.run(command, check=True, capture_output=True, text=True).stdout)
    for name, steps in (("ours", [found["ours"]]), ("guide", found["guide"])):
        notes = {"peak_mebibytes": max(step["peak_mebibytes"] for step in steps), "steps": steps}
        seconds = sum(step["seconds"] for step in steps)
        yield Measurement("LAION part, files to table", name, "s", (seconds,), found["rows"], notes)


WORKS: dict[str, Callable[[Bench], Iterator[Measurement]]] = {
    "first-query": first_query,
    "single-text": single_text,
    "captions": bulk_captions,
    "pictures": bulk_pictures,
    "bytes": bulk_bytes,
    "memory": worker_memory,
    "wire": wire_cost,
    "search": search,
    "engine": engine_only,
    "engines": engines,
    "growth": growth,
    "int8": int8,
    "pools": four_at_once,
    "start": start,
    "laion": laion_part,
}
