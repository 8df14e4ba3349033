"""The cost of a vector in ClickHouse, in seconds of one core: to index, to search, to read as QBit or as a code.

``python -m benchmarks.search.vector_index`` prints one JSON object, which ``clip-udfs estimate`` computes with. Seconds
are CPU time of the process, not wall-clock time, so other load changes them little. Vectors are clustered, like those
of images, and every search is compared with brute force.
"""

from __future__ import annotations

import argparse
import json
import statistics
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks import machine
from benchmarks.vectors import Clusters

K = 10
_CANDIDATES = 4 * K  # what the search views rank exactly
_BY_CODES = 256  # what they read after they have compared quantized codes


def main() -> None:
    """Measure every variant at every size and print what was found."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rows", type=_numbers, default=(25_000, 100_000), help="sizes of the table")
    parser.add_argument("--quantization", type=_words, default=("bf16", "i8"), help="what an index keeps of a number")
    parser.add_argument("--m", type=_numbers, default=(16, 64), help="connections of a vector")
    parser.add_argument("--bits", type=_numbers, default=(4, 8, 16), help="bits of a number that QBit reads")
    parser.add_argument("--method", type=_words, default=("rabitq", "turboquant"), help="methods of quantized codes")
    parser.add_argument("--ef-construction", type=int, default=256)
    parser.add_argument("--ef-search", type=int, default=256)
    parser.add_argument("--dimension", type=int, default=512)
    parser.add_argument("--queries", type=int, default=50)
    parser.add_argument("--threads", type=int, default=2, help="threads that build an index")
    options = parser.parse_args()
    loads = machine.load()
    found: list[dict[str, Any]] = []
    for rows in options.rows:
        with tempfile.TemporaryDirectory() as place, Table(Path(place), rows, options) as table:
            for quantization in options.quantization:
                for m in options.m:
                    _add(found, table.index(quantization, m))
            for bits in options.bits:
                _add(found, table.qbit(bits))
            for method in options.method:
                _add(found, table.codes(method))
            _add(found, table.brute_force())
    least, most = sorted((loads, machine.load()))
    answer = {
        "command": "python -m benchmarks.search.vector_index",
        "machine": machine.describe(),
        "load_average": {"least": least, "most": most},
        "dimension": options.dimension,
        "queries": options.queries,
        "k": K,
        "vector_index": found,
    }
    sys.stdout.write(json.dumps(answer, indent=1) + "\n")


class Table:
    """Clustered vectors on chDB, and queries near them."""

    def __init__(self, place: Path, rows: int, options: argparse.Namespace) -> None:
        """Fill the table and find the true neighbours of every query."""
        import chdb.session

        config = place / "config.xml"
        pool = "max_build_vector_similarity_index_thread_pool_size"
        config.write_text(
            f"<clickhouse><path>{place}/data/</path><user_files_path>{place}/</user_files_path>"
            f"<{pool}>{options.threads}</{pool}></clickhouse>",
            encoding="utf-8",
        )
        self._options, self._rows = options, rows
        self._session = chdb.session.Session(f"{place}/data?config-file={config}")
        clusters = Clusters(options.dimension)
        for name, count in (("rows", rows), ("queries", options.queries)):
            np.save(place / f"{name}.npy", clusters.draw(count))
        self._run("CREATE TABLE source (id UInt32, v Array(Float32) CODEC(NONE)) ENGINE = MergeTree ORDER BY id")
        self._run(
            f"INSERT INTO source SELECT rowNumberInAllBlocks(), array FROM file('{place}/rows.npy', Npy)"
            " SETTINGS max_threads = 1, max_insert_threads = 1"
        )
        self._run("OPTIMIZE TABLE source FINAL")
        self._queries: list[str] = [str(list(map(float, one))) for one in np.load(place / "queries.npy")]
        self._exact, self._exact_seconds = self._search("source", "cosineDistance(v, {query})", "")

    def __enter__(self) -> Table:
        """Nothing more to do."""
        return self

    def __exit__(self, *error: object) -> None:
        """Close the engine: a process can have one at a time."""
        self._session.close()

    def index(self, quantization: str, m: int) -> dict[str, Any]:
        """Build an HNSW index and search it, alone and as the views do."""
        options = self._options
        definition = f"'hnsw', 'cosineDistance', {options.dimension}, '{quantization}', {m}, {options.ef_construction}"
        self._run(
            "CREATE TABLE indexed (id UInt32, v Array(Float32) CODEC(NONE),"
            f" INDEX i v TYPE vector_similarity({definition})) ENGINE = MergeTree ORDER BY id"
            " SETTINGS index_granularity = 1024"
        )
        self._run("INSERT INTO indexed SELECT * FROM source SETTINGS materialize_skip_indexes_on_insert = 0")
        _, build = _core_seconds(self._run, "OPTIMIZE TABLE indexed FINAL")
        sizes = "system.data_skipping_indices WHERE table = 'indexed'"
        size = int(self._run(f"SELECT sum(data_uncompressed_bytes) FROM {sizes}"))
        ef = f"SETTINGS hnsw_candidate_list_size_for_search = {options.ef_search}"
        alone, alone_seconds = self._search("indexed", "cosineDistance(v, {query})", ef)
        candidates = f"(SELECT id, v FROM indexed ORDER BY cosineDistance(v, {{query}}) LIMIT {_CANDIDATES} {ef})"
        views, view_seconds = self._search(candidates, "cosineDistance(v, {query})", "")
        self._run("DROP TABLE indexed SYNC")
        return {
            "kind": "hnsw",
            "rows": self._rows,
            "quantization": quantization,
            "m": m,
            "ef_construction": options.ef_construction,
            "ef_search": options.ef_search,
            "bytes_per_row": size / self._rows,
            "build_core_seconds_per_row": build / self._rows,
            "index_core_seconds_per_query": alone_seconds,
            "index_recall": self._recall(alone),
            "view_core_seconds_per_query": view_seconds,
            "view_recall": self._recall(views),
        }

    def qbit(self, bits: int) -> dict[str, Any]:
        """Read the first ``bits`` bits of every number, without an index; all bits of the candidates."""
        self._run(
            f"CREATE TABLE bits (id UInt32, v QBit(BFloat16, {self._options.dimension})) ENGINE = MergeTree ORDER BY id"
            " SETTINGS min_bytes_for_wide_part = 0, index_granularity = 1024"
        )
        self._run("INSERT INTO bits SELECT id, CAST(v, 'Array(BFloat16)') FROM source")
        size = self._vector_bytes("bits")
        query = "CAST({{query}}, 'Array(BFloat16)')"
        distance = f"cosineDistanceTransposed(v, {query}, {{}})"
        candidates = f"(SELECT id, v FROM bits ORDER BY {distance.format(bits)} LIMIT {_CANDIDATES})"
        found, seconds = self._search(candidates, distance.format(16), "")
        self._run("DROP TABLE bits SYNC")
        return {
            "kind": "qbit",
            "rows": self._rows,
            "bits": bits,
            "bytes_per_row": size / self._rows,
            "core_seconds_per_row_and_query": seconds / self._rows,
            "recall": self._recall(found),
        }

    def codes(self, method: str) -> dict[str, Any]:
        """Compare the codes of all rows, without an index, and read the vectors of the nearest."""
        self._run(
            f"CREATE TABLE coded (id UInt32, v Array(Float32) CODEC(Quantized('{method}', {self._options.dimension})))"
            " ENGINE = MergeTree ORDER BY id"
            " SETTINGS min_bytes_for_wide_part = 0, index_granularity = 64, enable_quantized_codec = 1"
        )
        self._run("INSERT INTO coded SELECT * FROM source")
        size = self._vector_bytes("coded")
        settings = "SETTINGS vector_search_use_quantized_codes = 1, vector_search_index_fetch_multiplier = "
        found, seconds = self._search("coded", "cosineDistance(v, {query})", f"{settings}{_BY_CODES / K}")
        self._run("DROP TABLE coded SYNC")
        return {
            "kind": "codes",
            "rows": self._rows,
            "method": method,
            "candidates": _BY_CODES,
            "bytes_per_row": size / self._rows,
            "core_seconds_per_row_and_query": seconds / self._rows,
            "recall": self._recall(found),
        }

    def _vector_bytes(self, table: str) -> int:
        """Merge a table into one part, and give the compressed bytes of its vectors; the part must be wide."""
        self._run(f"OPTIMIZE TABLE {table} FINAL")
        sizes = f"system.columns WHERE table = '{table}' AND name = 'v'"
        return int(self._run(f"SELECT sum(data_compressed_bytes) FROM {sizes}"))

    def brute_force(self) -> dict[str, Any]:
        """The cost of comparing with every vector."""
        return {
            "kind": "brute force",
            "rows": self._rows,
            "core_seconds_per_row_and_query": self._exact_seconds / self._rows,
        }

    def _search(self, source: str, distance: str, settings: str) -> tuple[list[set[str]], float]:
        """Neighbours of every query, and the median core seconds of one."""
        found, seconds = [], []
        for query in self._queries:
            statement = f"SELECT id FROM {source} ORDER BY {distance} LIMIT {K} {settings}".replace("{query}", query)
            statement += " SETTINGS max_threads = 1" if not settings else ", max_threads = 1"
            answer, taken = _core_seconds(self._run, statement)
            seconds.append(taken)
            found.append(set(answer.split()))
        return found, statistics.median(seconds)

    def _recall(self, found: list[set[str]]) -> float:
        hits = sum(len(one & true) for one, true in zip(found, self._exact, strict=True))
        return hits / sum(map(len, self._exact))

    def _run(self, statement: str) -> str:
        return str(self._session.query(statement, "TSV"))


def _core_seconds(run: Callable[[str], str], statement: str) -> tuple[str, float]:
    before = time.process_time()
    answer = run(statement)
    return answer, time.process_time() - before


def _add(found: list[dict[str, Any]], one: dict[str, Any]) -> None:
    sys.stderr.write(json.dumps(one) + "\n")
    found.append(one)


def _words(text: str) -> tuple[str, ...]:
    return tuple(text.split(","))


def _numbers(text: str) -> tuple[int, ...]:
    return tuple(map(int, text.split(",")))


if __name__ == "__main__":
    main()
