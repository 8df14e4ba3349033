"""Many rows through the functions of several contenders, in turns, with every vector compared."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path

from benchmarks.functions.deployment import Contender, install
from benchmarks.functions.engine import Engine
from benchmarks.functions.measurement import Bench, Measurement
from benchmarks.material import captions

WORKS = {"text": "captions", "path": "pictures from disk", "bytes": "pictures as bytes"}


def in_turns(
    bench: Bench, engine: Engine, table: str, kind: str, rows: int, contenders: Sequence[Contender], reference: str
) -> Iterator[Measurement]:
    """Run all contenders that accept ``kind`` on ``table`` in turns, part after part, and compare their vectors.

    Args:
        bench: Where.
        engine: The running engine.
        table: A table with columns ``id`` and ``value``.
        kind: What the values are: ``text``, ``path`` or ``bytes``.
        rows: Rows of the table.
        contenders: The contenders.
        reference: Name of the contender with whose vectors the others are compared.

    Returns:
        One measurement per contender, with the smallest cosine in its note ``cosine``.
    """
    contenders = [one for one in contenders if kind in one.functions]
    engine.run("CREATE OR REPLACE TABLE vectors (who String, id UInt32, vector Array(Float32)) ENGINE = Memory")
    for contender in contenders:  # loads the models
        engine.run(f"SELECT sum(length({contender.functions[kind]}(value))) FROM (SELECT value FROM {table} LIMIT 2)")
    seconds: dict[str, list[float]] = {one.name: [] for one in contenders}
    turns = bench.scale.turns
    for turn in range(turns):
        for contender in contenders:
            part = f"SELECT id, value FROM {table} WHERE id % {turns} = {turn}"
            answer = engine.run(
                f"INSERT INTO vectors SELECT '{contender.name}', id, {contender.functions[kind]}(value) FROM ({part}) "
                "SETTINGS max_threads = 1"
            )
            seconds[contender.name].append(answer.seconds / (rows / turns))
            bench.say(
                f"  {table} {turn + 1}/{turns} {contender.label}: {1000 * seconds[contender.name][-1]:.1f} ms a row"
            )
    for contender in contenders:
        compared = engine.run(
            "SELECT count(), 1 - max(cosineDistance(a.vector, b.vector)) FROM vectors AS a JOIN vectors AS b USING id "
            f"WHERE a.who = '{contender.name}' AND b.who = '{reference}'"
        ).rows[0]
        yield Measurement(
            WORKS[kind],
            contender.name,
            "s/row",
            tuple(seconds[contender.name]),
            rows,
            {"compared_rows": int(compared[0]), "reference": reference, "cosine": float(compared[1])},
        )


def beside_ours(bench: Bench, bundle: Path, name: str, label: str, *options: object) -> Iterator[Measurement]:
    """Encode captions and images with ours and with ``bundle``, installed beside it, in turns; compare the vectors.

    Args:
        bench: Where.
        bundle: The other model, or the same in another form.
        name: Name of that contender, and suffix of its functions.
        label: Its label in a table, after ours.
        options: Options of ``install-udfs`` for it.
    """
    (ours, *_) = bench.deployment.contenders
    launcher = install(bench.deployment, bundle, bench.pictures[0].parent, *options, "--suffix", name)
    other = Contender(
        name,
        f"{ours.label}, {label}",
        {kind: f"{function}_{name}" for kind, function in ours.functions.items()},
        {kind: [str(launcher), function] for kind, function in ours.functions.items()},
        header=True,
    )
    engine = bench.engine()
    fill_captions(engine, captions(bench.scale.captions, seed=21))
    fill_pictures(engine, bench.pictures)
    for table, kind, rows in (("captions", "text", bench.scale.captions), ("pictures", "path", len(bench.pictures))):
        yield from in_turns(bench, engine, table, kind, rows, (ours, other), ours.name)
    engine.close()


def fill_captions(engine: Engine, texts: Sequence[str]) -> None:
    """A table ``captions`` of texts."""
    _fill(engine, "captions", texts)


def fill_pictures(engine: Engine, paths: Sequence[object]) -> None:
    """A table ``pictures`` of paths."""
    _fill(engine, "pictures", paths)


def _fill(engine: Engine, table: str, values: Sequence[object]) -> None:
    rows = ",".join(f"({number},'{value}')" for number, value in enumerate(values))
    engine.run(f"CREATE OR REPLACE TABLE {table} (id UInt32, value String) ENGINE = Memory")
    engine.run(f"INSERT INTO {table} VALUES {rows}")
