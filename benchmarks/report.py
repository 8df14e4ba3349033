"""Reports for people: a table with ratios, and the targets of the design."""

from __future__ import annotations

import statistics
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

from rich.table import Table

from benchmarks.functions.measurement import Measurement

MIN_COSINE = 0.99999


@dataclass(frozen=True)
class Target:
    """A target of the design: how many times less than ``peer`` our ``work`` should take."""

    work: str
    peer: str
    ratio: float


TARGETS = (
    Target("one text, warm", "guide", 5),
    Target("captions", "guide", 12),
    Target("captions", "open_clip", 8),
    Target("pictures from disk", "guide", 1.8),
    Target("pictures from disk", "open_clip", 1.3),
    Target("first query", "guide", 10),
    Target("second worker, text", "guide", 12),
    Target("second worker, image", "guide", 12),
    Target("LAION part, files to table", "guide", 30),
)
SHARE_OF_PEAK = 0.9
# Seconds a row of the most rows for one of the fewest, and memory so; four queries' throughput for one of one query's;
# the slowest of four queries for one of the quickest, where two of them wait for the two others; memory for the plan's.
STRAIGHT, FLAT, THROUGHPUT, FAIR, AS_PLANNED = 1.25, 1.1, 1.0, 3.0, 1.0
# Milliseconds: half of the first query recorded on 2026-11-22, and what the first vector of a worker may take.
FIRST_QUERY, FIRST_VECTOR = 238, 250
MILLISECONDS, MICROSECONDS = "at most, ms", "at most, µs a row"
COSINE = "cosine to open_clip"
WIRE = {"wire, TabSeparated": 80e-6, "wire, RowBinary": 15e-6}

# Why a target may be missed, by its work and what it is measured against.
REASONS = {
    ("one text, warm", "guide"): (
        "A dozen tokens are one product with 151 MB of weights, which two cores need 4 ms to read; the rest of the"
        " engine's 8 to 9 ms is the multiplication, and 2 ms are the query and its pipe. Only smaller weights would be"
        " faster, and then the vectors would no longer equal open_clip's. Other load on the machine weighs more on so"
        " short a query than on the peers' long ones."
    ),
    ("second worker, image", "guide"): (
        "It varies from 76 to 106 MiB, depending on how malloc fits decoded photographs between the engine's buffers."
        " These workers have all cores as engine threads; in a pool of two, where there is a second worker, each has"
        " half of them and takes 57 MiB."
    ),
    ("engine, share of peak", "fp32 matmul peak"): (
        "In ONNX Runtime's profile of one thread, matrix products take 93 % of the image tower's time, QuickGELU 2.4 %,"
        " transposes 1.5 %, additions 1 %, splits 0.9 % and layer norms 0.7 %; batches of 2, 4 and 6 images take alike."
    ),
    ("wire, TabSeparated", MICROSECONDS): (
        "The time goes into orjson, which writes 512 numbers a row, and into ClickHouse, which reads them. A CPU with"
        " AVX-512, which also starts Python twice as fast, took 68 µs. The default format sends numbers as bytes and"
        " needs neither step."
    ),
    ("first query", MILLISECONDS): (
        "What remains is importing NumPy and ONNX Runtime, and loading the graph. ONNX Runtime packs each matrix again,"
        " only to check the packed copy in the file (see below)."
    ),
    ("start, first vector, as installed", MILLISECONDS): (
        "As for the first query, without ClickHouse and the launcher's shell."
    ),
}


def typical(measurement: Measurement) -> float:
    """The median of the repetitions."""
    return statistics.median(measurement.values)


def ratio(ours: Measurement, peer: Measurement) -> float:
    """How many times less ours takes: the median over pairs measured one after the other."""
    if len(ours.values) == len(peer.values):
        return statistics.median(theirs / own for own, theirs in zip(ours.values, peer.values, strict=True))
    return typical(peer) / typical(ours)


def find(measurements: Sequence[Measurement], work: str, contender: str) -> Measurement | None:
    """The measurement of that work and contender, if it was made."""
    return next((one for one in measurements if (one.work, one.contender) == (work, contender)), None)


def against_targets(measurements: Sequence[Measurement]) -> list[dict[str, object]]:
    """Each measured target of the design: what was asked, what was reached, and whether that is enough."""
    found: list[dict[str, object]] = []
    for target in TARGETS:
        ours, peer = find(measurements, target.work, "ours"), find(measurements, target.work, target.peer)
        if ours and peer:
            reached = ratio(ours, peer)
            found.append(_verdict(target.work, target.peer, target.ratio, reached, reached >= target.ratio))
    if share := find(measurements, "engine, share of peak", "ours"):
        reached = typical(share)
        found.append(_verdict(share.work, "fp32 matmul peak", SHARE_OF_PEAK, reached, reached >= SHARE_OF_PEAK))
    for work, most in WIRE.items():
        if wire := find(measurements, work, "ours"):
            # The fastest repetition: the cost of the format, not of other load.
            microseconds = min(wire.values) * 1e6
            found.append(_verdict(work, MICROSECONDS, most * 1e6, microseconds, microseconds <= most * 1e6))
    for work, most in (("first query", FIRST_QUERY), ("start, first vector, as installed", FIRST_VECTOR)):
        if first := find(measurements, work, "ours"):
            taken = 1000 * typical(first)
            found.append(_verdict(work, MILLISECONDS, most, taken, taken <= most))
    found += _of_growth(measurements)
    found += _of_pools(measurements)
    for one in measurements:
        if one.notes.get("reference") == "open_clip":
            cosine = float(one.notes["cosine"])
            name = f"{one.work}, {one.contender}"
            found.append(_verdict(name, COSINE, MIN_COSINE, cosine, cosine > MIN_COSINE))
    return found


def _of_growth(measurements: Sequence[Measurement]) -> Iterator[dict[str, object]]:
    """Linear time and flat memory: the most rows compared with the fewest."""
    grown = sorted((one for one in measurements if one.work.startswith("growth, ")), key=lambda one: one.rows)
    if len(grown) < 2:
        return
    least, most = grown[0], grown[-1]
    name = f"growth, {least.rows:,} to {most.rows:,} texts"
    slope = typical(most) / typical(least)
    yield _verdict(name, "at most, seconds a row", STRAIGHT, slope, slope <= STRAIGHT)
    peaks = [float(one.notes["worker_peak_bytes"]) for one in (least, most)]
    yield _verdict(name, "at most, peak memory", FLAT, peaks[1] / peaks[0], peaks[1] / peaks[0] <= FLAT)


def _of_pools(measurements: Sequence[Measurement]) -> Iterator[dict[str, object]]:
    for together in measurements:
        alone = find(measurements, together.work.replace("four at once", "one query"), "ours")
        if together.work.startswith("pool of two, ") and alone and alone is not together:
            gained = ratio(together, alone)
            yield _verdict(together.work, "one query's throughput", THROUGHPUT, gained, gained >= THROUGHPUT)
            spread = float(together.notes["slowest_to_quickest"])
            yield _verdict(together.work, "at most, slowest to quickest", FAIR, spread, spread <= FAIR)
    if memory := find(measurements, "pools of two, all six functions, memory", "ours"):
        share = float(memory.notes["share_of_plan"])
        yield _verdict(memory.work, "at most, share of the plan", AS_PLANNED, share, share <= AS_PLANNED)


def _verdict(work: str, against: str, asked: float, reached: float, enough: bool) -> dict[str, object]:
    return {"work": work, "against": against, "asked": asked, "reached": reached, "enough": bool(enough)}


def spoken(value: float, unit: str) -> str:
    """A figure for people."""
    if unit == "bytes":
        return f"{value / 2**20:.0f} MiB"
    if unit == "share":
        return f"{value:.2f}"
    for name, size in (("s", 1.0), ("ms", 1e-3), ("µs", 1e-6)):
        if value >= size or name == "µs":
            return f"{value / size:.3g} {name}" + ("/row" if unit == "s/row" else "")
    raise AssertionError(value)


def rows(measurements: Sequence[Measurement], labels: Mapping[str, str]) -> tuple[list[str], list[list[str]]]:
    """One row per work, one column per contender that did any of them, each with its multiple of ours.

    Returns:
        The heading, and the lines.
    """
    names = [name for name in labels if any(one.contender == name for one in measurements)]
    lines = []
    for work in dict.fromkeys(one.work for one in measurements):
        ours = find(measurements, work, "ours")
        cells = [work]
        for name in names:
            one = find(measurements, work, name)
            if one is None:
                cells.append("")
                continue
            times = f" ({ratio(ours, one):.3g}x)" if ours and one is not ours else ""
            cells.append(spoken(typical(one), one.unit) + times)
        lines.append(cells)
    return ["work", *(labels[name] for name in names)], lines


def verdict_rows(verdicts: Sequence[Mapping[str, object]]) -> tuple[list[str], list[list[str]]]:
    """Asked and reached: the heading, and the lines."""
    lines = []
    for one in verdicts:
        form = ".7f" if one["against"] == COSINE else ".3g"
        figures = [format(one[key], form) for key in ("asked", "reached")]
        lines.append([str(one["work"]), str(one["against"]), *figures, "reached" if one["enough"] else "**missed**"])
    return ["work", "against", "asked", "reached", ""], lines


def reasons(verdicts: Sequence[Mapping[str, object]]) -> list[str]:
    """A line for each target that was missed for a known reason."""
    found = []
    for one in verdicts:
        if not one["enough"] and (why := REASONS.get((str(one["work"]), str(one["against"])))):
            found.append(f"**{one['work']}: {one['reached']:.3g} instead of {one['asked']:g}.** {why}")
    return found


def table(title: str, heading: Sequence[str], lines: Sequence[Sequence[str]]) -> Table:
    """A table for the screen."""
    shown = Table(title=title, title_justify="left")
    for number, column in enumerate(heading):
        shown.add_column(column, justify="left" if number == 0 else "right")
    for line in lines:
        shown.add_row(*line)
    return shown
