"""Searches with a filter, in every way that ClickHouse offers: ``python -m benchmarks.search.filters [--rows N]``.

The methods take turns on every query, so that their ratios to brute force hold on a busy machine too. Results go to
``benchmarks/records/searches``; from it, ``--draw`` writes the table of docs/speed.md and the plot again. Vectors
lie in clusters, and queries near them.
"""

from __future__ import annotations

import json
import statistics
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import click
import numpy as np

from benchmarks import machine
from benchmarks.record import ROOT, rendered
from benchmarks.vectors import Clusters
from clip_installer.tables.layout import Layout
from clip_installer.tables.schema import SchemaParameters, view_objects

RECORD = Path(__file__).parents[1] / "records" / "searches" / "filters.json"
PAGE = ROOT / "docs" / "speed.md"
PLOT = ROOT / "docs" / "images" / "filters.svg"
K = 10
_DIMENSION = 512
_CHUNK = 100_000
# Shares of the rows that pass, and the filter of the views that lets them pass: width is a number below 10 000.
_WIDTHS = {"50 %": 5000, "5 %": 9500, "0.5 %": 9950, "0.01 %": 9999}
# Merged parts go at once: otherwise the disk would need twice the room.
_TABLE = "index_granularity = 64, old_parts_lifetime = 1"
_CODES = "vector_search_use_quantized_codes = 1"
_MULTIPLIER = "vector_search_index_fetch_multiplier"
_POST = "vector_search_filter_strategy = 'postfilter'"
_NEAREST = "SELECT id FROM {table} WHERE width >= {width} ORDER BY cosineDistance({column}, {query}) LIMIT 10 SETTINGS "
_VIEW = (
    "SELECT id FROM search_{table}_filtered_by_embedding(embedding = {query}, k = 10, folder = '',"
    " min_width = {width}, min_height = 0) SETTINGS "
)
_BITS = "cosineDistanceTransposed(v, CAST(randomHadamardTransform({query}, 1), 'Array(BFloat16)'), {})"
_QBIT = (
    f"SELECT id FROM (SELECT id, v FROM bits WHERE width >= {{width}} ORDER BY {_BITS.replace('{}', '10')} LIMIT 40)"
    f" ORDER BY {_BITS.replace('{}', '16')} LIMIT 10 SETTINGS "
)


@dataclass(frozen=True)
class Method:
    """One way to search.

    Attributes:
        name: Its name in the table.
        table: The table that it searches.
        statement: A search, up to its settings.
        settings: What it needs besides one thread.
    """

    name: str
    table: str
    statement: str
    settings: str = ""

    def sql(self, query: str, width: int) -> str:
        """The search for one query and filter."""
        text = self.statement.replace("{table}", self.table).replace("{column}", "image_embedding")
        text = text.replace("{query}", query).replace("{width}", str(width))
        return text + ", ".join(["max_threads = 1", *([self.settings] if self.settings else [])])


BRUTE = Method("brute force", "hnsw", _NEAREST, "use_skip_indexes = 0")
METHODS = (
    BRUTE,
    Method("the views, HNSW index", "hnsw", _VIEW),
    Method("the views, quantized codes", "coded", _VIEW, _CODES),
    Method("index, prefilter", "hnsw", _NEAREST, "vector_search_filter_strategy = 'prefilter'"),
    Method("index, postfilter, multiplier 10", "hnsw", _NEAREST, f"{_POST}, {_MULTIPLIER} = 10"),
    Method("index, postfilter, multiplier 100", "hnsw", _NEAREST, f"{_POST}, {_MULTIPLIER} = 100"),
    Method("codes, multiplier 10", "coded", _NEAREST, f"{_CODES}, {_MULTIPLIER} = 10"),
    Method("QBit rotated, 10 bits", "bits", _QBIT),
)


class Tables:
    """The same rows with an HNSW index, with quantized codes, and as QBit, on chDB."""

    def __init__(self, place: Path, rows: int, m: int, ef_construction: int, *, only_codes: bool = False) -> None:
        """Fill the tables and build the index; ``only_codes`` leaves out the index and QBit, which take long."""
        import chdb.session

        config = place / "config.xml"
        config.write_text(
            f"<clickhouse><path>{place}/data/</path><user_files_path>{place}/</user_files_path></clickhouse>",
            encoding="utf-8",
        )
        self._session = chdb.session.Session(f"{place}/data?config-file={config}")
        clusters = Clusters(_DIMENSION)
        codec = f"CODEC(Quantized('rabitq', {_DIMENSION}))"
        for name, vectors in (("hnsw", "CODEC(NONE)"), ("coded", codec)):
            self.run(
                f"CREATE TABLE {name} (id Int64, path String, width UInt32, height UInt32,"
                f" image_embedding Array(Float32) {vectors}) ENGINE = MergeTree ORDER BY id"
                f" SETTINGS {_TABLE}, enable_quantized_codec = 1"
            )
            layout = Layout(("id", "path", "width", "height"), text=None, caption=None, filter="pictures", noun=name)
            for one in view_objects(SchemaParameters(table=name, dimension=_DIMENSION, layout=layout)):
                self.run(one.statement.sql)
        # One row in ten thousand has each width, in no order, so that exactly the shares of the table pass.
        for first in range(0, rows, _CHUNK):
            np.save(place / "rows.npy", clusters.draw(min(_CHUNK, rows - first)))
            self.run(
                f"INSERT INTO hnsw SELECT {first} + rowNumberInAllBlocks() AS id, 'x', id * 7919 % 10000, 1, array"
                f" FROM file('{place}/rows.npy', Npy) SETTINGS max_threads = 1, max_insert_threads = 1"
            )
            _say(f"{first + _CHUNK:,} rows")
        self.run("OPTIMIZE TABLE hnsw FINAL")
        self.run("INSERT INTO coded SELECT * FROM hnsw SETTINGS max_threads = 1, max_insert_threads = 1")
        self.run("OPTIMIZE TABLE coded FINAL")
        self.queries = [str(list(map(float, one))) for one in clusters.draw(100)]
        _say("codes written")
        if not only_codes:
            self._write_bits()
            self._build_index(m, ef_construction)

    def _write_bits(self) -> None:
        self.run(
            f"CREATE TABLE bits (id Int64, width UInt32, v QBit(BFloat16, {_DIMENSION})) ENGINE = MergeTree ORDER BY id"
            f" SETTINGS {_TABLE}"
        )
        rotated = "CAST(randomHadamardTransform(image_embedding, 1), 'Array(BFloat16)')"
        self.run(f"INSERT INTO bits SELECT id, width, {rotated} FROM hnsw SETTINGS max_threads = 1")
        self.run("OPTIMIZE TABLE bits FINAL")
        _say("QBit written")

    def _build_index(self, m: int, ef_construction: int) -> None:
        index = f"'hnsw', 'cosineDistance', {_DIMENSION}, 'bf16', {m}, {ef_construction}"
        self.run(f"ALTER TABLE hnsw ADD INDEX image_index image_embedding TYPE vector_similarity({index})")
        began = time.monotonic()
        self.run("ALTER TABLE hnsw MATERIALIZE INDEX image_index SETTINGS mutations_sync = 2")
        _say(f"index built in {time.monotonic() - began:.0f} s")

    def __enter__(self) -> Tables:
        """Nothing more to do."""
        return self

    def __exit__(self, *error: object) -> None:
        """Close the engine."""
        self._session.close()

    def run(self, statement: str) -> str:
        """Run one statement."""
        return str(self._session.query(statement, "TSV"))

    def bytes_read(self) -> int:
        """Bytes that the engine has read from tables so far, compressed or not."""
        return int(self.run("SELECT sum(value) FROM system.events WHERE event = 'ReadCompressedBytes'") or 0)

    def memory(self) -> dict[str, int]:
        """Bytes that a search needs in memory: of the index only."""
        sizes = "SELECT sum(data_uncompressed_bytes) FROM system.data_skipping_indices WHERE table = 'hnsw'"
        return {"hnsw": int(self.run(sizes) or 0), "coded": 0, "bits": 0}


def measure(tables: Tables, queries: int, methods: Sequence[Method] = METHODS) -> Iterator[dict[str, Any]]:
    """Recall, time and bytes of every method at every share, the methods in turns."""
    memory = tables.memory()
    for share, width in _WIDTHS.items():
        passing = int(tables.run(f"SELECT count() FROM hnsw WHERE width >= {width}"))
        found: dict[str, list[tuple[float, float, int]]] = {method.name: [] for method in methods}
        for number, query in enumerate(tables.queries[: queries + 1]):
            right: set[str] = set()
            brute = 0.0
            for method in methods:
                read = tables.bytes_read()
                began = time.perf_counter()
                answer = set(tables.run(method.sql(query, width)).split())
                taken = time.perf_counter() - began
                if method is BRUTE:
                    right, brute = answer, taken
                if number > 0:  # the first query loads the index
                    recall = len(answer & right) / max(1, len(right))
                    found[method.name].append((recall, taken / brute, tables.bytes_read() - read))
        for method in methods:
            recalls, ratios, read_bytes = zip(*found[method.name], strict=True)
            one = {
                "share": share,
                "passing": passing,
                "method": method.name,
                "recall": statistics.mean(recalls),
                "time": statistics.median(ratios),
                "bytes_read": statistics.median(read_bytes),
                "memory": 0 if method is BRUTE else memory[method.table],
            }
            _say(json.dumps(one))
            yield one


def markdown(record: dict[str, Any]) -> str:
    """The table of a record, with the machine and the load."""
    on, load = record["machine"], record["load_average"]
    index = f", HNSW bf16 with M {record['m']} and ef {record['ef_construction']}" if "m" in record else ""
    lines = [
        f"`{record['command']}` on {on['cores']} cores of {on['cpu']}, {on['memory']}, chDB {on['chdb']}, at a load"
        f" average of {load['least']:.1f} to {load['most']:.1f}: the times are ratios to brute force, the methods in"
        f" turns on one thread, medians of {record['queries']} queries; {record['rows']:,} rows in {Clusters.COUNT:,}"
        f" clusters, granules of 64 rows{index}.",
        "",
    ]
    shares = list(dict.fromkeys(one["share"] for one in record["filters"]))
    lines.append("| recall@10, time, MiB read | " + " | ".join(shares) + " | in memory |")
    lines.append("| --- " * (len(shares) + 2) + "|")
    for method in dict.fromkeys(one["method"] for one in record["filters"]):
        cells = [one for one in record["filters"] if one["method"] == method]
        shown = [f"{one['recall']:.3f}, {one['time']:.2f}, {one['bytes_read'] / 2**20:.0f}" for one in cells]
        lines.append(f"| {method} | {' | '.join(shown)} | {cells[0]['memory'] / 2**20:.0f} MiB |")
    return "\n".join(lines)


def plot(record: dict[str, Any], path: Path) -> None:
    """Recall and time of every method over the share of rows that pass."""
    import matplotlib as mpl
    from matplotlib.figure import Figure

    mpl.rcParams["svg.hashsalt"] = "filters"
    shares = list(dict.fromkeys(one["share"] for one in record["filters"]))
    figure = Figure(figsize=(9, 4), layout="constrained")
    for axes, what, label in zip(
        figure.subplots(1, 2), ("recall", "time"), ("recall@10", "time, of brute force's"), strict=True
    ):
        for method in dict.fromkeys(one["method"] for one in record["filters"]):
            values = [one[what] for one in record["filters"] if one["method"] == method]
            axes.plot(shares, values, marker="o", markersize=4, label=method)
        axes.set_xlabel("rows that pass the filter")
        axes.set_ylabel(label)
        axes.set_ylim(bottom=0)
    figure.axes[1].axhline(0.25, color="grey", linestyle=":")
    figure.legend(*figure.axes[0].get_legend_handles_labels(), loc="outside lower center", ncols=3, fontsize=8)
    figure.savefig(path, metadata={"Date": None})


def figures(records: Sequence[dict[str, Any]]) -> str:
    """What the page shows of the records."""
    return "\n\n".join(map(markdown, records))


def draw(records: Sequence[dict[str, Any]]) -> None:
    """Write the tables into the page, and the plot of the record with the most methods, of the largest such table."""
    page = PAGE.read_text(encoding="utf-8")
    page = rendered(page, "filters", figures(records))
    PAGE.write_text(page, encoding="utf-8")
    plot(max(records, key=lambda one: (len(one["filters"]), one["rows"])), PLOT)


def kept() -> list[dict[str, Any]]:
    """The records, one for each size, smallest first."""
    return sorted(json.loads(RECORD.read_text(encoding="utf-8")), key=lambda one: int(one["rows"]))


@click.command()
@click.option("--rows", default=100_000, show_default=True, help="Rows of the table.")
@click.option("--queries", default=20, show_default=True, help="Queries at each share.")
@click.option("--m", default=64, show_default=True, help="Connections of each vector in the index.")
@click.option("--ef-construction", default=256, show_default=True, help="Candidates considered while building it.")
@click.option("--only-codes", is_flag=True, help="Leave out HNSW and QBit, whose tables take long to build.")
@click.option("--draw", "only_draw", is_flag=True, help="Measure nothing: write table and plot of the kept record.")
def main(rows: int, queries: int, m: int, ef_construction: int, only_codes: bool, only_draw: bool) -> None:
    """Measure searches with a filter."""
    if not only_draw:
        least = machine.load()
        methods = [one for one in METHODS if one is BRUTE or one.table == "coded"] if only_codes else METHODS
        with (
            tempfile.TemporaryDirectory() as place,
            Tables(Path(place), rows, m, ef_construction, only_codes=only_codes) as tables,
        ):
            found = list(measure(tables, queries, methods))
        loads = sorted((least, machine.load()))
        asked = f"--rows {rows} --queries {queries}"
        asked += " --only-codes" if only_codes else f" --m {m} --ef-construction {ef_construction}"
        record = {
            "command": f"python -m benchmarks.search.filters {asked}",
            "machine": machine.describe(),
            "load_average": {"least": loads[0], "most": loads[1]},
            "rows": rows,
            "queries": queries,
            **({} if only_codes else {"m": m, "ef_construction": ef_construction}),
            "filters": found,
        }
        others = [one for one in kept() if one["rows"] != rows] if RECORD.exists() else []
        RECORD.parent.mkdir(exist_ok=True)
        RECORD.write_text(json.dumps([*others, record], indent=1) + "\n", encoding="utf-8")
    draw(kept())


def _say(text: str) -> None:
    sys.stderr.write(text + "\n")


if __name__ == "__main__":
    main()
