"""An estimate for people: tables in Markdown, the assumptions, and where each measured figure comes from."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from clip_installer.planning.capacity import (
    INDEX_SHARE,
    LEAST_BITS,
    OTHER_BYTES,
    PART_BYTES,
    EncodingEstimate,
    IndexEstimate,
    Machine,
    Range,
)
from clip_installer.planning.figures import Figures
from clip_installer.planning.sizing import spoken

_NOT_MEASURED = "not measured"


def index_table(estimates: Sequence[IndexEstimate], bits: int) -> str:
    """Both vector indexes in memory: one line a size and variant."""
    heads = (
        *("rows", "index", "M", "index memory", "disk", "machines", "parts", "a month", "build h", "searches/s"),
        f"as QBit, {bits} bits: s a search",
    )
    return _markdown(
        heads,
        (
            (
                spoken_rows(one.rows),
                one.quantization,
                str(one.m),
                spoken(one.memory),
                spoken(one.disk),
                f"{one.machines} ({_plural(one.shards, 'shard')})",
                str(one.parts),
                "" if one.month is None else f"{one.month:,.0f}",
                _range(one.build_hours),
                _range(one.queries),
                _NOT_MEASURED if one.scan_seconds is None else _figure(one.scan_seconds),
            )
            for one in estimates
        ),
    )


def limit_table(limits: Sequence[tuple[str, int, int, float]]) -> str:
    """What one machine holds: quantization, M, rows, recall of the index alone."""
    return _markdown(
        ("index", "M", "rows that one machine holds", "recall@10 of the index alone"),
        ((name, str(m), spoken_rows(rows), f"{recall:.3f}") for name, m, rows, recall in limits),
    )


def scan_table(figures: Figures, machine: Machine) -> str:
    """What one machine reads of QBit."""
    return _markdown(
        ("QBit, bits that are read", "bytes a row on disk", "rows that one machine reads a second", "recall@10"),
        (
            (
                str(bits),
                f"{scan.bytes_per_row:.0f}",
                spoken_rows(machine.cores / scan.seconds_per_row),
                f"{scan.recall:.3f}",
            )
            for bits, scan in sorted(figures.scans.items())
            if bits >= LEAST_BITS
        ),
    )


def encoding_table(estimates: Sequence[EncodingEstimate], rows: int, machines: int) -> str:
    """Encoding ``rows``."""
    return _markdown(
        (
            f"{spoken_rows(rows)} rows",
            "on",
            "rows/s of a core or GPU",
            "machine hours",
            f"days with {machines}",
            "cost",
        ),
        (
            (
                one.what,
                one.where,
                *(
                    _NOT_MEASURED if value is None else _figure(value)
                    for value in (one.rows_per_second, one.machine_hours, one.days)
                ),
                "" if one.cost is None else f"{one.cost:,.0f}",
            )
            for one in estimates
        ),
    )


def assumptions(figures: Figures, dimension: int, machine: Machine, replicas: int) -> list[str]:
    """What the tables take for granted, and where their figures were measured."""
    price = "no price was given" if machine.price is None else f"{machine.price:.2f} an hour, as given"
    return [
        f"A machine has {spoken(machine.memory)} of memory and {machine.cores} cores like the measured ones; {price}.",
        f"Vectors have {dimension} numbers, a row has two of them, and both have an index; there are"
        f" {_plural(replicas, 'replica')}. Memory is of one replica, machines are of all.",
        f"Indexes may take {INDEX_SHARE:.0%} of the memory. Where that is too little, there are more shards.",
        f"The other columns take {OTHER_BYTES} bytes a row on disk; vectors do not compress.",
        f"A data part ends at {spoken(PART_BYTES)} (ClickHouse's default); each has an index, and a search asks all.",
        "A range is from the logarithm of the rows (what theory expects of HNSW) to the growth between the two measured"
        " sizes. The truth for large tables was not measured; the upper end is for planning.",
        "Time grows with the length of the vectors. Searches keep all cores busy and find the index in memory; waiting"
        " for disk and network is not counted. Each search encodes one text.",
        f"Indexes were measured on tables of {_sizes(figures)}.",
        "Recall was measured on synthetic vectors round cluster centres. Real CLIP vectors are further from"
        " clusters, and their recall is lower: of CLIP L/14 photos ClickHouse publishes a recall@100 of 0.41"
        " for QBit(BFloat16) at 8 bits and of 0.91 at 10, and a recall of 0.617, 0.946 and 0.985 for Quantized"
        " codes with a fetch multiplier of 1, 5 and 10. Measure your own table with clip-udfs recall.",
        f"Seconds of a core for a caption: {_milliseconds(figures.encoding['captions'])}, a picture from disk:"
        f" {_milliseconds(figures.encoding['pictures'])}, one text alone:"
        f" {_milliseconds(figures.encoding['one text'])}.",
        *(f"Measured with {origin}." for origin in figures.origins),
    ]


def _sizes(figures: Figures) -> str:
    """Which variants were measured at which sizes, e.g. ``25 k and 100 k rows (bf16 with M 16)``."""
    variants: dict[str, list[str]] = {}
    for (quantization, m), sizes in figures.indexes.items():
        rows = " and ".join(spoken_rows(size.rows) for size in sizes)
        variants.setdefault(rows, []).append(f"{quantization} with M {m}")
    return "; ".join(f"{rows} rows ({', '.join(names)})" for rows, names in variants.items())


def spoken_rows(rows: float) -> str:
    """A number of rows for a person, e.g. ``400 M``."""
    for size, unit in ((1e9, "B"), (1e6, "M"), (1e3, "k")):
        if rows >= size:
            return f"{rows / size:.3g} {unit}"
    return f"{rows:.0f}"


def _markdown(heads: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    lines = [heads, ["---"] * len(heads), *rows]
    return "\n".join("| " + " | ".join(line) + " |" for line in lines)


def _range(values: Range) -> str:
    least, most = _figure(values.least), _figure(values.most)
    return least if least == most else f"{least} to {most}"


def _figure(value: float) -> str:
    return f"{value:,.0f}" if value >= 100 else f"{value:.2g}" if value < 10 else f"{value:.3g}"


def _milliseconds(seconds: float) -> str:
    return f"{1000 * seconds:.1f} ms"


def _plural(count: int, noun: str) -> str:
    return f"{count} {noun}" + "s" * (count != 1)
