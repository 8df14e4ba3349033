"""From measurements to what people read: a table with ratios, and the targets of the design beside them."""

from __future__ import annotations

import statistics
from collections.abc import Sequence
from dataclasses import dataclass

from rich.table import Table

from benchmarks.works import Measurement

MIN_COSINE = 0.99999


@dataclass(frozen=True)
class Target:
    """A ratio that the design asks for: how many times less than ``peer`` our ``work`` shall take."""

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
WIRE = {"wire, TabSeparated": 80e-6, "wire, RowBinary": 15e-6}


def typical(measurement: Measurement) -> float:
    """The median of the repetitions."""
    return statistics.median(measurement.values)


def ratio(ours: Measurement, peer: Measurement) -> float:
    """How many times less ours is: the median over the pairs that were measured one after the other."""
    if len(ours.values) == len(peer.values):
        return statistics.median(theirs / own for own, theirs in zip(ours.values, peer.values, strict=True))
    return typical(peer) / typical(ours)


def find(measurements: Sequence[Measurement], work: str, contender: str) -> Measurement | None:
    """The measurement of that work and contender, if it was made."""
    return next((one for one in measurements if (one.work, one.contender) == (work, contender)), None)


def against_targets(measurements: Sequence[Measurement]) -> list[dict[str, object]]:
    """Each target of the design that was measured: what was asked, what was reached, and whether it is enough."""
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
            # The quickest repetition: the cost of the format, not of the neighbours.
            microseconds = min(wire.values) * 1e6
            found.append(_verdict(work, "at most, µs a row", most * 1e6, microseconds, microseconds <= most * 1e6))
    for one in measurements:
        if "cosine_to_open_clip" in one.notes:
            cosine = float(one.notes["cosine_to_open_clip"])
            name = f"{one.work}, {one.contender}"
            found.append(_verdict(name, "cosine to open_clip", MIN_COSINE, cosine, cosine > MIN_COSINE))
    return found


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


def table(measurements: Sequence[Measurement], labels: dict[str, str]) -> Table:
    """One line a work, one column a contender, each peer with how many times it takes of ours."""
    shown = Table(title="Medians; in brackets how many times ours", title_justify="left")
    shown.add_column("work")
    for label in labels.values():
        shown.add_column(label, justify="right")
    for work in dict.fromkeys(one.work for one in measurements):
        ours = find(measurements, work, "ours")
        cells = []
        for name in labels:
            one = find(measurements, work, name)
            if one is None:
                cells.append("")
                continue
            times = f" ({ratio(ours, one):.3g}x)" if ours and one is not ours else ""
            cells.append(spoken(typical(one), one.unit) + times)
        shown.add_row(work, *cells)
    return shown


def target_table(verdicts: Sequence[dict[str, object]]) -> Table:
    """Asked and reached."""
    shown = Table(title="Targets of the design", title_justify="left")
    for column in ("work", "against", "asked", "reached", ""):
        shown.add_column(column)
    for one in verdicts:
        cosine = one["against"] == "cosine to open_clip"
        figures = [f"{one[key]:.7f}" if cosine else f"{one[key]:.3g}" for key in ("asked", "reached")]
        shown.add_row(str(one["work"]), str(one["against"]), *figures, "ok" if one["enough"] else "missed")
    return shown
