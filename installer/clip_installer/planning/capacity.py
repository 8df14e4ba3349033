"""How much memory, disk and time, and how many machines, a table needs, computed from measured costs."""

from __future__ import annotations

import math
from dataclasses import dataclass
from itertools import pairwise

from clip_installer.errors import UsageProblem
from clip_installer.planning.figures import Figures, IndexCost
from clip_installer.planning.machines import GIB, Layout, Machine
from clip_installer.planning.sizing import VECTOR_COLUMNS
from clip_installer.tables.schema import NUMBER_BITS

# With fewer bits, QBit(BFloat16) misses too many neighbours of real CLIP vectors, however well it does on clustered
# ones.
LEAST_BITS = 10
_HOUR = 3600
_HOURS_OF_A_MONTH = 730
# Share of a machine's memory for indexes; the rest is for queries, workers and the page cache.
INDEX_SHARE = 0.75
# ClickHouse merges only up to max_bytes_to_merge_at_max_space_in_pool, so a larger shard has several parts, each with
# its own index.
PART_BYTES = 150 * GIB
# Address, caption and the other columns, compressed. An assumption: system.columns says what they are in your table.
OTHER_BYTES = 150
# Cores on which one import-laion was measured.
IMPORT_CORES = 2


@dataclass(frozen=True)
class Range:
    """A figure for a table larger than the measured ones.

    Attributes:
        least: If costs grow with the logarithm of the rows, as theory predicts for HNSW.
        most: If costs keep growing as they did from the smaller to the larger measured table.
    """

    least: float
    most: float

    def times(self, factor: float) -> Range:
        """Both ends, multiplied."""
        return Range(self.least * factor, self.most * factor)


@dataclass(frozen=True)
class IndexEstimate:
    """A table with both vector indexes in memory.

    Attributes:
        rows: Of the whole table.
        quantization: Number format in the index.
        m: Connections of a vector.
        memory: Bytes of both indexes, one replica.
        disk: Bytes of table and indexes, one replica.
        shards: Machines that hold one replica.
        replicas: Copies of each shard.
        machines: Machines of all replicas.
        machine_memory: Bytes of both indexes of one machine.
        fits: Whether that is within a machine's share for indexes.
        cache_size: Required ``vector_similarity_index_cache_size`` of each machine, in bytes.
        parts: Data parts of a shard, each with its own index.
        import_hours: Hours to import ready vectors, each shard from its own files; None if not measured.
        build_hours: Hours to build both indexes with all machines working.
        window_hours: Hours to plan for import and build; None if the import was not measured.
        queries: Searches by text per second, with all machines working.
        latency: Seconds of a single search by text.
        month: Price of the machines per month; None without a price.
        scan_seconds: Seconds of a single search of the same rows as QBit on the same machines; None if not measured.
        codes_seconds: The same by quantized codes, of the quickest method.
    """

    rows: int
    quantization: str
    m: int
    memory: int
    disk: int
    shards: int
    replicas: int
    machines: int
    machine_memory: int
    fits: bool
    cache_size: int
    parts: int
    import_hours: Range | None
    build_hours: Range
    window_hours: float | None
    queries: Range
    latency: Range
    month: float | None
    scan_seconds: float | None
    codes_seconds: float | None


def index_estimate(
    figures: Figures,
    rows: int,
    quantization: str,
    m: int,
    *,
    dimension: int,
    machine: Machine,
    layout: Layout,
    bits: int,
    build_rate: float | None = None,
) -> IndexEstimate:
    """What ``rows`` with two vectors each need, with an HNSW index of these parameters on both columns.

    Args:
        figures: The measured costs.
        rows: Rows of the table.
        quantization: Number format in the index.
        m: Connections of a vector.
        dimension: Length of the vectors; time and bytes grow with it.
        machine: Each of the machines.
        layout: Number of shards and replicas; every replica answers queries.
        bits: Bits of each number that QBit reads, for comparison.
        build_rate: Measured rows per second, counted for each index, that a machine builds; None uses the figures.

    Raises:
        UsageProblem: There is no measurement for these parameters.
    """
    cost = _largest(figures, quantization, m)
    longer = dimension / figures.dimension
    index_bytes = _bytes_per_row(cost, quantization, figures.dimension, dimension) * VECTOR_COLUMNS
    row_bytes = VECTOR_COLUMNS * 4 * dimension + OTHER_BYTES + index_bytes
    share = machine.memory * INDEX_SHARE
    shards = layout.shards or max(1, math.ceil(rows * index_bytes / share))
    shard_rows = rows / shards
    parts = max(1, math.ceil(shard_rows * row_bytes / PART_BYTES))
    build_seconds = (
        _grown(figures, cost, "build_seconds", shard_rows / parts).times(longer / machine.cores)
        if build_rate is None
        else Range(1 / build_rate, 1 / build_rate)
    )
    build = build_seconds.times(shard_rows * VECTOR_COLUMNS / _HOUR)
    loading = _import_hours(figures, shard_rows, machine)
    alone = _grown(figures, cost, "index_seconds", shard_rows / parts)
    part_seconds = Range(*((seconds + _candidates_seconds(figures)) * longer for seconds in (alone.least, alone.most)))
    machines = shards * layout.replicas
    text = figures.encoding["one text"]
    quickest, slowest = (
        machines * machine.cores / (seconds * parts * shards + text)
        for seconds in (part_seconds.least, part_seconds.most)
    )
    scan = figures.scans.get(bits)
    quickest_codes = min((one.seconds_per_row for one in figures.codes.values()), default=None)
    scanning = rows * longer / (machines * machine.cores)
    return IndexEstimate(
        rows=rows,
        quantization=quantization,
        m=m,
        memory=round(rows * index_bytes),
        disk=round(rows * row_bytes),
        shards=shards,
        replicas=layout.replicas,
        machines=machines,
        machine_memory=round(shard_rows * index_bytes),
        fits=shard_rows * index_bytes <= share,
        cache_size=math.ceil(shard_rows * index_bytes / GIB) * GIB,
        parts=parts,
        import_hours=loading,
        build_hours=build,
        window_hours=None if loading is None else loading.most + build.most,
        queries=Range(slowest, quickest),
        # At best, each part has a core, and the text has both cores on which it was measured; at worst, all share one.
        latency=Range(
            text / 2 + part_seconds.least * math.ceil(parts / machine.cores), text + part_seconds.most * parts
        ),
        month=None if machine.price is None else machines * machine.price * _HOURS_OF_A_MONTH,
        scan_seconds=None if scan is None else scan.seconds_per_row * scanning,
        codes_seconds=None if quickest_codes is None else quickest_codes * scanning,
    )


def rows_in_memory(figures: Figures, quantization: str, m: int, *, dimension: int, machine: Machine) -> int:
    """Rows whose two indexes fit into one machine's memory; more rows need shards, or no index.

    Raises:
        UsageProblem: There is no measurement for these parameters.
    """
    cost = _largest(figures, quantization, m)
    per_row = _bytes_per_row(cost, quantization, figures.dimension, dimension) * VECTOR_COLUMNS
    return int(machine.memory * INDEX_SHARE / per_row)


def _import_hours(figures: Figures, shard_rows: float, machine: Machine) -> Range | None:
    """Hours to import the rows of a shard: with one import for every two cores, or with a single import."""
    if figures.import_seconds is None:
        return None
    alone = shard_rows * figures.import_seconds / _HOUR
    return Range(alone / max(1, machine.cores // IMPORT_CORES), alone)


def _largest(figures: Figures, quantization: str, m: int) -> IndexCost:
    sizes = figures.indexes.get((quantization, m))
    if not sizes:
        known = ", ".join(f"{one} with M {connections}" for one, connections in figures.indexes)
        raise UsageProblem(
            f"no measurement of {quantization} with M {m} (there is: {known}); measure with python -m"
            f" benchmarks.search.vector_index --quantization {quantization} --m {m} and give its output with --figures"
        )
    return sizes[-1]


def _bytes_per_row(cost: IndexCost, quantization: str, measured: int, dimension: int) -> float:
    return cost.bytes_per_row + (dimension - measured) * NUMBER_BITS[quantization] / 8


def _candidates_seconds(figures: Figures) -> float:
    """Cost of ranking a search's candidates exactly: it reads their granules, whatever the index."""
    largest = max((size for sizes in figures.indexes.values() for size in sizes), key=lambda size: size.rows)
    return largest.view_seconds - largest.index_seconds


def _grown(figures: Figures, cost: IndexCost, what: str, rows: float) -> Range:
    """Cost of a row, or a search, in a table of ``rows``, extrapolated from the measured tables."""
    measured: float = getattr(cost, what)
    if rows <= cost.rows:
        return Range(measured, measured)
    least = measured * math.log(rows) / math.log(cost.rows)
    # A variant measured at one size grows like those measured at several.
    powers = [
        math.log(getattr(larger, what) / getattr(smaller, what)) / math.log(larger.rows / smaller.rows)
        for sizes in figures.indexes.values()
        for smaller, larger in pairwise(sizes[-2:])
    ]
    return Range(least, max([least, *(measured * (rows / cost.rows) ** power for power in powers)]))
