"""An estimate for people: tables in Markdown, the assumptions, and where each measured figure comes from."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from clip_installer.planning.capacity import (
    IMPORT_CORES,
    INDEX_SHARE,
    LEAST_BITS,
    OTHER_BYTES,
    PART_BYTES,
    IndexEstimate,
    Range,
)
from clip_installer.planning.encoding import EncodingEstimate
from clip_installer.planning.figures import Figures
from clip_installer.planning.machines import GIB, Machine, spoken_count, spoken_rows
from clip_installer.planning.sizing import spoken

_NOT_MEASURED = "not measured"


def verdict(estimates: Sequence[IndexEstimate], machine: Machine) -> str:
    """Whether the machines can hold the indexes, and how: one line per table size."""
    lines = []
    for rows in dict.fromkeys(one.rows for one in estimates):
        of_size = [one for one in estimates if one.rows == rows]
        fitting = dict.fromkeys(f"{one.quantization} with M {one.m} on {_layout(one)}" for one in of_size if one.fits)
        machines = f"{spoken_count(of_size[0].machines, 'machine')} of {spoken(machine.memory)}"
        if fitting:
            lines.append(f"{spoken_rows(rows)} rows fit into the memory of {machines}: {'; '.join(fitting)}.")
        else:
            least = min(of_size, key=lambda one: one.machine_memory)
            lines.append(
                f"{spoken_rows(rows)} rows do not fit into the memory of {machines}: the smallest index measured"
                f" ({least.quantization} with M {least.m}) takes {spoken(least.machine_memory)} of"
                f" {spoken(round(machine.memory * INDEX_SHARE))} on {_layout(least)}."
            )
    return "\n".join(lines)


def memory_table(estimates: Sequence[IndexEstimate], machine: Machine) -> str:
    """Memory and disk of both vector indexes and the table: one line per size, variant and layout."""
    share = spoken(round(machine.memory * INDEX_SHARE))
    heads = (
        *("rows", "index", "M", "machines", "index memory", f"per machine, of {share}"),
        *("vector_similarity_index_cache_size", "disk", "parts", "cost per month"),
    )
    return _markdown(
        heads,
        (
            (
                *_variant(one),
                f"{one.machines}: {_layout(one)}",
                spoken(one.memory),
                spoken(one.machine_memory) + ("" if one.fits else ", too much"),
                f"{one.cache_size} ({one.cache_size // GIB} GiB)" if one.fits else "",
                spoken(one.disk),
                str(one.parts),
                "" if one.month is None else f"{one.month:,.0f}",
            )
            for one in estimates
        ),
    )


def time_table(estimates: Sequence[IndexEstimate], bits: int) -> str:
    """How long loading, building and searching take, for layouts that fit."""
    heads = (
        *("rows", "index", "M", "machines", "import h", "build h", "plan h", "searches/s", "one search, ms"),
        f"as QBit, {bits} bits: s per search",
        "by quantized codes: s per search",
    )
    return _markdown(
        heads,
        (
            (
                *_variant(one),
                f"{one.machines}: {_layout(one)}",
                _NOT_MEASURED if one.import_hours is None else _range(one.import_hours),
                _range(one.build_hours),
                "" if one.window_hours is None else _figure(one.window_hours),
                _range(one.queries),
                _range(one.latency.times(1000)),
                *(
                    _NOT_MEASURED if seconds is None else _figure(seconds)
                    for seconds in (one.scan_seconds, one.codes_seconds)
                ),
            )
            for one in estimates
            if one.fits
        ),
    )


def limit_table(limits: Sequence[tuple[str, int, int, float]]) -> str:
    """What fits on one machine: quantization, M, rows, recall of the index alone."""
    return _markdown(
        ("index", "M", "rows that one machine holds", "recall@10 of the index alone"),
        ((name, str(m), spoken_rows(rows), f"{recall:.3f}") for name, m, rows, recall in limits),
    )


def scan_table(figures: Figures, machine: Machine) -> str:
    """What one machine searches without an index: as QBit, and by quantized codes."""
    named = [(f"QBit, {bits} bits read", scan) for bits, scan in sorted(figures.scans.items()) if bits >= LEAST_BITS]
    named += [(f"quantized codes, {method}", scan) for method, scan in figures.codes.items()]
    return _markdown(
        ("without an index", "bytes per row on disk", "rows searched per second by one machine", "recall@10"),
        (
            (
                name,
                f"{scan.bytes_per_row:.0f}",
                spoken_rows(machine.cores / scan.seconds_per_row),
                f"{scan.recall:.3f}",
            )
            for name, scan in named
        ),
    )


def encoding_table(estimates: Sequence[EncodingEstimate], machines: int, gpus: int) -> str:
    """Encoding captions and images."""
    heads = ("rows", "of", "on", "rows/s of a core or GPU", "machine hours", "hours", "cost")
    return _markdown(
        heads,
        (
            (
                spoken_rows(one.rows),
                one.what,
                spoken_count(gpus, "GPU") if one.where == "GPU" else spoken_count(machines, "machine"),
                *(
                    _NOT_MEASURED if value is None else _figure(value)
                    for value in (one.rows_per_second, one.machine_hours, one.hours)
                ),
                "" if one.cost is None else f"{one.cost:,.0f}",
            )
            for one in estimates
        ),
    )


def assumptions(figures: Figures, dimension: int, machine: Machine, build_rate: float | None) -> list[str]:
    """The assumptions of the tables, and where their figures were measured."""
    price = "no price was given" if machine.price is None else f"{machine.price:.2f} an hour, as given"
    return [
        f"A machine has {spoken(machine.memory)} of memory and {machine.cores} cores like the measured ones; {price}.",
        f"A row has two vectors of {dimension} numbers, each with an index. Index memory and disk are for one replica,"
        " machines for all. vector_similarity_index_cache_size is for each machine, in bytes.",
        f"Indexes may take {INDEX_SHARE:.0%} of the memory. The rest is for queries, the page cache and the workers of"
        " the functions: the plan of install-udfs states those, including what decoding images may take.",
        f"The other columns take {OTHER_BYTES} bytes per row on disk; vectors do not compress.",
        f"A data part ends at {spoken(PART_BYTES)} (ClickHouse's default); each has its own index, and a search"
        " reads all of them.",
        "A range extends from logarithmic growth with the rows (what theory predicts for HNSW) to the growth between"
        " the two measured sizes. Large tables were not measured.",
        _window(build_rate),
        "Imported vectors exist already. At worst one import-laion runs per shard, at best one for every"
        f" {IMPORT_CORES} cores. Downloads are not counted. Replicas fetch the data from each other.",
        "Times grow with the length of the vectors. Searches per second keep all cores busy; a single search uses one"
        " core per part at best, one core for all parts at worst. Each encodes one text and finds the index in memory;"
        " waiting for disk and network is not counted.",
        f"Indexes were measured on tables of {_sizes(figures)}.",
        *_about_codes(figures),
        "Recall was measured on synthetic vectors around cluster centres. Real CLIP vectors are less clustered, and"
        " their recall is lower: for CLIP L/14 photos, ClickHouse publishes a recall@100 of 0.41 for QBit(BFloat16) at"
        " 8 bits and 0.91 at 10, and a recall of 0.617, 0.946 and 0.985 for Quantized codes with a fetch multiplier of"
        " 1, 5 and 10. Measure your own table with clip-udfs recall.",
        f"Time of one core for a caption: {_milliseconds(figures.encoding['captions'])}, an image from disk:"
        f" {_milliseconds(figures.encoding['pictures'])}, one text alone:"
        f" {_milliseconds(figures.encoding['one text'])}.",
        *(f"Measured with {origin}." for origin in figures.origins),
    ]


def _about_codes(figures: Figures) -> list[str]:
    """What the time of quantized codes contains; nothing where they were not measured."""
    if not figures.codes:
        return []
    return [
        "The time of quantized codes contains that of reading the vectors of the nearest rows, which does not grow with"
        " the table: for each row, a search of a table larger than the measured one takes less."
    ]


def _sizes(figures: Figures) -> str:
    """Which variants were measured at which sizes, e.g. ``25 k and 100 k rows (bf16 with M 16)``."""
    variants: dict[str, list[str]] = {}
    for (quantization, m), sizes in figures.indexes.items():
        rows = " and ".join(spoken_rows(size.rows) for size in sizes)
        variants.setdefault(rows, []).append(f"{quantization} with M {m}")
    return "; ".join(f"{rows} rows ({', '.join(names)})" for rows, names in variants.items())


def _window(build_rate: float | None) -> str:
    plan = "The hours to plan for a change window are the upper ends of import and build together."
    if build_rate is not None:
        return f"{plan} Build hours follow from {build_rate:,.0f} rows per second on each machine, as given."
    return (
        f"{plan} For a narrower range, build the indexes of part of the table with clip-udfs build-index on one"
        " machine, and pass the rows per second that it shows to --build-rate."
    )


def _variant(one: IndexEstimate) -> tuple[str, str, str]:
    return spoken_rows(one.rows), one.quantization, str(one.m)


def _layout(one: IndexEstimate) -> str:
    return f"{spoken_count(one.shards, 'shard')} x {spoken_count(one.replicas, 'replica')}"


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
