"""Recall of vector indexes and quantized codes, measured against brute force on a sample, for a grid of parameters."""

from __future__ import annotations

import statistics
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from itertools import product
from typing import TYPE_CHECKING, Any

from clip_installer.clickhouse.sql import identifier, is_table, render
from clip_installer.errors import TableUnfit
from clip_installer.progress import Advance
from clip_installer.tables.schema import stored_dimension
from clip_installer.tables.vector_index.codes import USE_CODES, code_bytes, switch

if TYPE_CHECKING:
    from clip_installer.clickhouse.database import Database

_SCRATCH = ("rows", "queries", "found", "variant")
# The statements of recall/search.
_ALONE, _AS_VIEWS = 0, 1


@dataclass(frozen=True)
class RecallPlan:
    """What to measure.

    Attributes:
        table: The table whose vectors are searched.
        column: The indexed column, e.g. ``image_embedding``.
        query_column: The column whose vectors are the queries, e.g. ``text_embedding`` for search by text.
        rows: Largest number of rows to search.
        queries: Largest number of queries.
        k: Neighbours of each query.
        quantizations: Number formats of the indexes to build,
        m: their connections,
        ef_construction: and their candidates while building.
        ef_search: Candidates while searching.
        methods: Methods of the quantized codes to measure as well.
    """

    table: str
    column: str
    query_column: str
    rows: int
    queries: int
    k: int
    quantizations: tuple[str, ...]
    m: tuple[int, ...]
    ef_construction: tuple[int, ...]
    ef_search: tuple[int, ...]
    methods: tuple[str, ...] = ()


@dataclass(frozen=True)
class Measurement:
    """One row of the report.

    Attributes:
        quantization: Number format in the index, or the method of quantized codes.
        m: Connections of each vector; None for codes.
        ef_construction: Candidates while building; None for codes.
        ef_search: Candidates while searching.
        index_recall: Share of the true neighbours that the index alone found, or the codes with so many candidates.
        index_milliseconds: Median of such a search.
        recall: The share that the views find, which rank four times as many candidates exactly.
        milliseconds: Median of such a search.
        index_bytes: Size of the uncompressed index: the memory that a search needs. Of codes, what it reads.
        build_seconds: Time to build it.
    """

    quantization: str
    m: int | None
    ef_construction: int | None
    ef_search: int
    index_recall: float
    index_milliseconds: float
    recall: float
    milliseconds: float
    index_bytes: int
    build_seconds: float


@dataclass(frozen=True)
class RecallReport:
    """All rows of a report, and what to compare them with.

    Attributes:
        rows: Rows that were searched.
        queries: Searches of each variant.
        k: Neighbours of each.
        exact_milliseconds: Median of a search by brute force.
        measurements: The rows, in the order of the plan.
    """

    rows: int
    queries: int
    k: int
    exact_milliseconds: float
    measurements: tuple[Measurement, ...]

    def best(self, target: float) -> Measurement | None:
        """Of the variants whose index alone reaches ``target``, the smallest, then the fastest."""
        good = [line for line in self.measurements if line.index_recall >= target]
        return min(good, key=lambda line: (line.index_bytes, line.index_milliseconds), default=None)


def measure(database: Database, plan: RecallPlan, advance: Advance) -> RecallReport:
    """Search the sample by brute force and with each variant of the index.

    Works on copies beside the table, ``<table>_recall_…``, which are dropped at the end.

    Raises:
        TableUnfit: There is no such table, it does not state the length of its vectors, or the server has no codes.
    """
    dimension = stored_dimension(database, plan.table)
    if dimension is None:
        raise TableUnfit(f"no table {plan.table} has a constraint with its vectors' length; import first")
    values: dict[str, Any] = {
        **vars(plan),
        "table": identifier(plan.table),
        "dimension": dimension,
        "scratch": lambda name: identifier(f"{plan.table}_recall_{name}"),
    }
    variants: list[tuple[str, int | None, int | None]] = [
        *product(plan.quantizations, plan.m, plan.ef_construction),
        *((method, None, None) for method in plan.methods),
    ]
    allowed = {switch(database): 1} if plan.methods else {}
    steps = 1 + len(variants) * (1 + len(plan.ef_search))
    done = 0

    def step() -> None:
        nonlocal done
        done += 1
        advance("recall", done, steps, "steps")

    with _scratch_tables(database, values):
        _run(database, "recall/scratch", values)
        rows, queries = (_count(database, values, name) for name in ("rows", "queries"))
        search = _Search(database, values, queries)
        exact = search.median_milliseconds(_ALONE, "rows", "", 1)
        step()
        lines = []
        for quantization, m, ef_construction in variants:
            variant = {"quantization": quantization, "m": m, "ef_construction": ef_construction}
            began = time.monotonic()
            _run(database, "recall/variant", {**values, **variant}, **({} if m else allowed))
            seconds = time.monotonic() - began
            size = (
                _index_bytes(database, f"{plan.table}_recall_variant")
                if m
                else rows * code_bytes(quantization, dimension)
            )
            step()
            for ef_search in plan.ef_search:
                parameters = (quantization, m, ef_construction, ef_search)
                times = [
                    search.median_milliseconds(form, "variant", f"{form} {parameters}", ef_search, by_codes=m is None)
                    for form in (_ALONE, _AS_VIEWS)
                ]
                lines.append((parameters, times, (size, seconds)))
                step()
        (report,) = render("recall/report", values)
        recalls = {variant: float(share) for variant, share in database.rows(report.sql)}
    measurements = []
    for parameters, (alone, as_views), costs in lines:
        found = [recalls.get(f"{form} {parameters}", 0.0) for form in (_ALONE, _AS_VIEWS)]
        measurements.append(Measurement(*parameters, found[0], alone, found[1], as_views, *costs))
    return RecallReport(rows, queries, plan.k, exact, tuple(measurements))


class _Search:
    """Runs every query of the sample in one of the two forms, and stores the results."""

    def __init__(self, database: Database, values: dict[str, Any], queries: int) -> None:
        self._database = database
        self._values = values
        self._queries = queries

    def median_milliseconds(
        self, form: int, source: str, variant: str, ef_search: int, *, by_codes: bool = False
    ) -> float:
        """Search ``source``, store the results as ``variant``'s, and return the median time."""
        search = render("recall/search", {**self._values, "source": source})[form]
        settings: dict[str, float] = {"use_skip_indexes": int(source == "variant")}
        if by_codes:
            k = self._values["k"]
            limit = k if form == _ALONE else max(k, min(4 * k, 1000))
            settings |= {USE_CODES: 1, "vector_search_index_fetch_multiplier": max(1.0, ef_search / limit)}
        else:
            settings["hnsw_candidate_list_size_for_search"] = ef_search
        found, times = [], []
        for n in range(self._queries):
            began = time.perf_counter()
            answer = self._database.rows(search.sql, {"n": n}, settings)
            times.append(time.perf_counter() - began)
            found += [[variant, n, identity] for (identity,) in answer]
        table = self._values["scratch"]("found")
        self._database.insert(table, found, ["variant", "n", "id"])
        return 1000 * statistics.median(times)


def _run(database: Database, file: str, values: dict[str, Any], **settings: int) -> None:
    for statement in render(file, values):
        database.command(statement.sql, **settings)


def _count(database: Database, values: dict[str, Any], name: str) -> int:
    return int(database.value(f"SELECT count() FROM {values['scratch'](name)}"))


def _index_bytes(database: Database, table: str) -> int:
    query = f"SELECT data_uncompressed_bytes FROM system.data_skipping_indices WHERE {is_table(table)}"
    return int(database.value(query))


@contextmanager
def _scratch_tables(database: Database, values: dict[str, Any]) -> Iterator[None]:
    try:
        yield
    finally:
        for name in _SCRATCH:
            database.command(f"DROP TABLE IF EXISTS {values['scratch'](name)} SYNC")
