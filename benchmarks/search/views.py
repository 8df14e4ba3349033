"""What the search views cost beside the index that they use: ``python -m benchmarks.search.views [--before REVISION]``.

The model takes no part: ``encode_text`` is a SQL function that hashes its text. Each search runs in turns with the
others, on one thread, after a first round that is not counted; with ``--before``, the views of that commit run as well.
"""

from __future__ import annotations

import json
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import click
import numpy as np

from benchmarks import machine
from benchmarks.vectors import Clusters

ROOT = Path(__file__).parents[2]
_DIMENSION = 512
_HASHED = (
    "CREATE FUNCTION encode_text AS text -> arrayMap(i -> toFloat32(cityHash64(text, i) % 1000 / 500 - 1), range(512))"
)
# Prints the statements of the tables and views, with M and ef_construction, of whichever tree it runs in.
_STATEMENTS = """
import json, sys
from clip_installer.tables.schema import SchemaParameters, index_statements, objects
parameters = SchemaParameters(dimension=512, m=int(sys.argv[1]), ef_construction=int(sys.argv[2]))
made = [(one.kind, one.plain_name, one.statement.sql) for one in objects(parameters)]
print(json.dumps([made, [one.sql for one in index_statements(parameters)]]))
"""
_INDEX = "SELECT id FROM laion ORDER BY cosineDistance(image_embedding, {vector}) LIMIT 10"
_VIEWS = {
    "search_by_embedding": "SELECT id FROM {view}(embedding = {vector}, k = 10)",
    "search_by_text": "SELECT id FROM {view}(query = 'a red car number {number}', k = 10)",
    "search_filtered_by_embedding": (
        "SELECT id FROM {view}(embedding = {vector}, k = 10, nsfw = [], licenses = [], min_width = 500, min_height = 0)"
    ),
}


@contextmanager
def statements(before: str | None, m: int, ef_construction: int) -> Iterator[dict[str, Any]]:
    """The statements of this tree, as ``now``, and of the commit ``before``."""
    trees = {"now": ROOT}
    with tempfile.TemporaryDirectory() as scratch:
        if before is not None:
            archive = subprocess.run(
                ["git", "-C", str(ROOT), "archive", before, "installer", "udfs", "sql"], check=True, capture_output=True
            )
            subprocess.run(["tar", "-x", "-C", scratch], input=archive.stdout, check=True)
            trees[before] = Path(scratch)
        yield {name: _statements_of(tree, m, ef_construction) for name, tree in trees.items()}


def _statements_of(tree: Path, m: int, ef_construction: int) -> Any:
    code = f"import sys; sys.path[:0] = [{str(tree / 'installer')!r}, {str(tree / 'udfs')!r}]\n{_STATEMENTS}"
    command = [sys.executable, "-c", code, str(m), str(ef_construction)]
    return json.loads(subprocess.run(command, check=True, capture_output=True, text=True).stdout)


def fill(place: Path, rows: int, made: dict[str, Any]) -> Any:
    """A session with table, index, sample and views; the views of an earlier commit end in ``_before``."""
    import chdb.session

    config = place / "config.xml"
    config.write_text(
        f"<clickhouse><path>{place}/data/</path><user_files_path>{place}/</user_files_path></clickhouse>",
        encoding="utf-8",
    )
    session = chdb.session.Session(f"{place}/data?config-file={config}")
    np.save(place / "rows.npy", Clusters(_DIMENSION).draw(rows))
    session.query(_HASHED)
    for number, (objects, indexes) in enumerate(made.values()):
        for kind, name, sql in objects:
            if number == 0 or name in _VIEWS:
                session.query(sql.replace(f"VIEW {name}", f"VIEW {name}_before") if number and kind == "VIEW" else sql)
        if number == 0:
            session.query(
                "INSERT INTO laion SELECT rowNumberInAllBlocks() AS id, 'u', 'c', 'UNLIKELY', 0.3, id * 7919 % 1000,"
                f" 500, '?', array, array FROM file('{place}/rows.npy', Npy)"
                " SETTINGS max_threads = 1, max_insert_threads = 1"
            )
            session.query("OPTIMIZE TABLE laion FINAL")
            session.query(
                "INSERT INTO laion_relevance_sample SELECT id, image_embedding, text_embedding, 0.01, 0.01 FROM laion"
                " ORDER BY cityHash64(id) LIMIT 1024"
            )
            # The index of the images alone: no search here uses the other one.
            for sql in indexes:
                if "image_index" in sql:
                    session.query(sql + (" SETTINGS mutations_sync = 2" if "MATERIALIZE" in sql else ""))
    return session


def measure(session: Any, rows: Path, searches: dict[str, str], turns: int) -> dict[str, dict[str, float]]:
    """Median wall and CPU milliseconds of each search, in turns; the vectors are near the first of ``rows``."""
    vectors = np.load(rows, mmap_mode="r")
    wall: dict[str, list[float]] = {name: [] for name in searches}
    cpu: dict[str, list[float]] = {name: [] for name in searches}
    for turn in range(turns + 1):
        vector = str((vectors[turn] + np.float32(0.01)).tolist())
        for name, search in searches.items():
            statement = search.replace("{vector}", vector).replace("{number}", str(turn))
            began, used = time.perf_counter(), time.process_time()
            session.query(f"{statement} SETTINGS max_threads = 1", "TSV")
            if turn > 0:
                wall[name].append(1000 * (time.perf_counter() - began))
                cpu[name].append(1000 * (time.process_time() - used))
    return {
        name: {
            "milliseconds": round(statistics.median(wall[name]), 1),
            "cpu_milliseconds": round(statistics.median(cpu[name]), 1),
        }
        for name in searches
    }


@click.command()
@click.option("--rows", default=100_000, show_default=True, help="Rows of the table.")
@click.option("--before", metavar="REVISION", help="Compare with the views of this commit.")
@click.option("--turns", type=click.IntRange(1), default=30, show_default=True, help="Searches of each kind.")
@click.option("--m", default=16, show_default=True, help="Connections of each vector in the index.")
@click.option("--ef-construction", default=64, show_default=True, help="Candidates considered while building it.")
def main(rows: int, before: str | None, turns: int, m: int, ef_construction: int) -> None:
    """Print what each search takes as one JSON object."""
    load = machine.load()
    with statements(before, m, ef_construction) as made, tempfile.TemporaryDirectory() as place:
        session = fill(Path(place), rows, made)
        searches = {"nothing": "SELECT 1", "the index": _INDEX}
        for name, search in _VIEWS.items():
            searches[name] = search.replace("{view}", name)
            if before is not None:
                searches[f"{name}, {before}"] = search.replace("{view}", f"{name}_before")
        found = measure(session, Path(place) / "rows.npy", searches, turns)
        session.close()
    result = {"rows": rows, "turns": turns, "searches": found, "machine": machine.describe()}
    click.echo(json.dumps({**result, "load_average": [load, machine.load()]}, indent=1))


if __name__ == "__main__":
    main()
