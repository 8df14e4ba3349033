"""How much memory, disk, time and how many machines: computed from measured costs."""

from __future__ import annotations

import math
from dataclasses import dataclass
from itertools import pairwise

from clip_installer.errors import UsageProblem
from clip_installer.planning.figures import Figures, IndexCost
from clip_installer.planning.sizing import INDEX_BITS, VECTOR_COLUMNS

GIB = 1 << 30
# QBit(BFloat16) with fewer loses too many neighbours of real CLIP vectors, whatever it does on clustered ones.
LEAST_BITS = 10
_HOUR = 3600
_DAY = 24 * _HOUR
_HOURS_OF_A_MONTH = 730
# Share of a machine's memory that the indexes may take; the rest is for queries, workers and the page cache.
INDEX_SHARE = 0.75
# ClickHouse merges no further than max_bytes_to_merge_at_max_space_in_pool, so a larger shard has several parts, and
# each has an index of its own.
PART_BYTES = 150 * GIB
# Address, caption and the other columns, compressed. An assumption: system.columns says what they are in your table.
OTHER_BYTES = 150


@dataclass(frozen=True)
class Machine:
    """The machines to count.

    Attributes:
        memory: Bytes.
        cores: Cores of the measured kind.
        price: Of an hour; None where it shall not be counted.
    """

    memory: int
    cores: int
    price: float | None


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
        shards: Machines that one replica needs for its memory.
        machines: Of all replicas.
        parts: Data parts of a shard, each with its own index.
        build_hours: To build both indexes, all machines at work.
        queries: Searches by text a second, all machines at work.
        month: Price of the machines for a month; None without a price.
        scan_seconds: A search of the same rows as QBit on the same machines, alone on them; None if not measured.
    """

    rows: int
    quantization: str
    m: int
    memory: int
    disk: int
    shards: int
    machines: int
    parts: int
    build_hours: Range
    queries: Range
    month: float | None
    scan_seconds: float | None


@dataclass(frozen=True)
class EncodingEstimate:
    """Encoding many rows.

    Attributes:
        what: ``captions`` or ``pictures``.
        where: ``CPU`` or ``GPU``.
        rows_per_second: Of one core, or of one GPU; None where nothing was measured.
        machine_hours: Of machines with all their cores at work, or of GPUs.
        days: With the machines that there are.
        cost: All machine hours at their price; None without a price.
    """

    what: str
    where: str
    rows_per_second: float | None
    machine_hours: float | None
    days: float | None
    cost: float | None


def index_estimate(
    figures: Figures,
    rows: int,
    quantization: str,
    m: int,
    *,
    dimension: int,
    machine: Machine,
    replicas: int,
    bits: int,
) -> IndexEstimate:
    """What ``rows`` of two vectors each need with an HNSW index of these parameters on both columns.

    Args:
        figures: The measured costs.
        rows: Rows of the table.
        quantization: What the index keeps of a number.
        m: Connections of a vector.
        dimension: Length of the vectors; time and bytes grow with it.
        machine: Each of the machines.
        replicas: Copies of the data, each of which answers queries.
        bits: Bits of a number that QBit reads, for comparison.

    Raises:
        UsageProblem: There is no measurement for these parameters.
    """
    cost = _largest(figures, quantization, m)
    longer = dimension / figures.dimension
    index_bytes = _bytes_per_row(cost, quantization, figures.dimension, dimension) * VECTOR_COLUMNS
    row_bytes = VECTOR_COLUMNS * 4 * dimension + OTHER_BYTES + index_bytes
    shards = max(1, math.ceil(rows * index_bytes / (machine.memory * INDEX_SHARE)))
    shard_rows = rows / shards
    parts = max(1, math.ceil(shard_rows * row_bytes / PART_BYTES))
    build = _grown(figures, cost, "build_seconds", shard_rows / parts).times(
        longer * shard_rows * VECTOR_COLUMNS / machine.cores / _HOUR
    )
    alone = _grown(figures, cost, "index_seconds", shard_rows / parts)
    searches = [
        (seconds + _candidates_seconds(figures)) * longer * parts * shards for seconds in (alone.least, alone.most)
    ]
    machines = shards * replicas
    text = figures.encoding["one text"]
    quickest, slowest = (machines * machine.cores / (seconds + text) for seconds in searches)
    scan = figures.scans.get(bits)
    return IndexEstimate(
        rows=rows,
        quantization=quantization,
        m=m,
        memory=round(rows * index_bytes),
        disk=round(rows * row_bytes),
        shards=shards,
        machines=machines,
        parts=parts,
        build_hours=build,
        queries=Range(slowest, quickest),
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


def encoding_estimates(
    figures: Figures, rows: int, machine: Machine, machines: int, gpu_rows: float | None, gpu_price: float | None
) -> list[EncodingEstimate]:
    """What it takes to encode ``rows`` captions, or pictures, with ``machines`` machines, or as many GPUs.

    Args:
        figures: The measured costs.
        rows: Rows to encode.
        machine: Each of the machines.
        machines: How many there are.
        gpu_rows: Pictures a second of one GPU; None where it was not measured.
        gpu_price: Of an hour of a GPU.
    """
    rates = [
        (what, "CPU", 1 / figures.encoding[what], machine.cores, machine.price) for what in ("captions", "pictures")
    ]
    estimates = [_encoding(*rate, rows, machines) for rate in rates]
    return [*estimates, _encoding("pictures", "GPU", gpu_rows, 1, gpu_price, rows, machines)]


def _encoding(
    what: str, where: str, rate: float | None, units: int, price: float | None, rows: int, machines: int
) -> EncodingEstimate:
    if rate is None:
        return EncodingEstimate(what, where, None, None, None, None)
    seconds = rows / (rate * units)
    hours = seconds / _HOUR
    return EncodingEstimate(
        what, where, rate, hours, seconds / machines / _DAY, None if price is None else hours * price
    )


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
    return cost.bytes_per_row + (dimension - measured) * INDEX_BITS[quantization] / 8


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
    # A variant that was measured at one size grows as those do that were measured at two.
    powers = [
        math.log(getattr(larger, what) / getattr(smaller, what)) / math.log(larger.rows / smaller.rows)
        for sizes in figures.indexes.values()
        for smaller, larger in pairwise(sizes[-2:])
    ]
    return Range(least, max([least, *(measured * (rows / cost.rows) ** power for power in powers)]))
