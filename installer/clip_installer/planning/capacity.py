"""How much memory, disk, time and how many machines a table takes: computed from measured costs."""

from __future__ import annotations

import math
from dataclasses import dataclass
from itertools import pairwise

from clip_installer.errors import UsageProblem
from clip_installer.planning.figures import Figures, IndexCost
from clip_installer.planning.machines import GIB, Layout, Machine
from clip_installer.planning.sizing import VECTOR_COLUMNS
from clip_installer.tables.schema import NUMBER_BITS

# QBit(BFloat16) with fewer loses too many neighbours of real CLIP vectors, whatever it does on clustered ones.
LEAST_BITS = 10
_HOUR = 3600
_HOURS_OF_A_MONTH = 730
# Share of a machine's memory that the indexes may take; the rest is for queries, workers and the page cache.
INDEX_SHARE = 0.75
# ClickHouse merges no further than max_bytes_to_merge_at_max_space_in_pool, so a larger shard has several parts, and
# each has an index of its own.
PART_BYTES = 150 * GIB
# Address, caption and the other columns, compressed. An assumption: system.columns says what they are in your table.
OTHER_BYTES = 150
# One import-laion was measured on so many cores.
IMPORT_CORES = 2


@dataclass(frozen=True)
class Range:
    """A figure for a table that is larger than those that were measured.

    Attributes:
        least: If costs grow as theory expects of HNSW, with the logarithm of the rows.
        most: If they grow on as they did from the smaller to the larger measured table.
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
        quantization: What the index keeps of a number.
        m: Connections of a vector.
        memory: Bytes of both indexes, one replica.
        disk: Bytes of table and indexes, one replica.
        shards: Machines that hold one replica.
        replicas: Copies of each shard.
        machines: Of all replicas.
        machine_memory: Bytes of both indexes of one machine.
        fits: Whether that is no more than a machine's share for indexes.
        cache_size: What ``vector_similarity_index_cache_size`` has to be on each machine, in bytes.
        parts: Data parts of a shard, each with its own index.
        import_hours: To import ready vectors, each shard from files of its own; None if not measured.
        build_hours: To build both indexes, all machines at work.
        window_hours: To import and to build, as it should be planned; None if the import was not measured.
        queries: Searches by text a second, all machines at work.
        latency: Seconds of a search by text alone on the machines.
        month: Price of the machines for a month; None without a price.
        scan_seconds: A search of the same rows as QBit on the same machines, alone on them; None if not measured.
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
    """What ``rows`` of two vectors each need with an HNSW index of these parameters on both columns.

    Args:
        figures: The measured costs.
        rows: Rows of the table.
        quantization: What the index keeps of a number.
        m: Connections of a vector.
        dimension: Length of the vectors; time and bytes grow with it.
        machine: Each of the machines.
        layout: Number of shards and replicas; every replica answers queries.
        bits: Bits of a number that QBit reads, for comparison.
        build_rate: Rows a second, each index counted, that a machine was seen to build; None takes the figures.

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
        # At best each part has a core, and the text all of the two that it was measured on; at worst all share one.
        latency=Range(
            text / 2 + part_seconds.least * math.ceil(parts / machine.cores), text + part_seconds.most * parts
        ),
        month=None if machine.price is None else machines * machine.price * _HOURS_OF_A_MONTH,
        scan_seconds=None if scan is None else rows * scan.seconds_per_row * longer / (machines * machine.cores),
    )


def rows_in_memory(figures: Figures, quantization: str, m: int, *, dimension: int, machine: Machine) -> int:
    """Rows whose two indexes one machine holds in memory: beyond, there are shards, or no index.

    Raises:
        UsageProblem: There is no measurement for these parameters.
    """
    cost = _largest(figures, quantization, m)
    per_row = _bytes_per_row(cost, quantization, figures.dimension, dimension) * VECTOR_COLUMNS
    return int(machine.memory * INDEX_SHARE / per_row)


def _import_hours(figures: Figures, shard_rows: float, machine: Machine) -> Range | None:
    """To import the rows of a shard: with an import for every two cores, or with one import."""
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
            f" benchmarks.vector_index --quantization {quantization} --m {m} and give its output with --figures"
        )
    return sizes[-1]


def _bytes_per_row(cost: IndexCost, quantization: str, measured: int, dimension: int) -> float:
    return cost.bytes_per_row + (dimension - measured) * NUMBER_BITS[quantization] / 8


def _candidates_seconds(figures: Figures) -> float:
    """What the exact order of a search's candidates costs: it reads their granules, whatever the index was."""
    largest = max((size for sizes in figures.indexes.values() for size in sizes), key=lambda size: size.rows)
    return largest.view_seconds - largest.index_seconds


def _grown(figures: Figures, cost: IndexCost, what: str, rows: float) -> Range:
    """What a row, or a search, costs in a table of ``rows``, from what it costs in those that were measured."""
    measured: float = getattr(cost, what)
    if rows <= cost.rows:
        return Range(measured, measured)
    least = measured * math.log(rows) / math.log(cost.rows)
    # A variant that was measured at one size grows as those do that were measured at several.
    powers = [
        math.log(getattr(larger, what) / getattr(smaller, what)) / math.log(larger.rows / smaller.rows)
        for sizes in figures.indexes.values()
        for smaller, larger in pairwise(sizes[-2:])
    ]
    return Range(least, max([least, *(measured * (rows / cost.rows) ** power for power in powers)]))
