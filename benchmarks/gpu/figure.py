"""One figure of a GPU run, and the table of all."""

from __future__ import annotations

import statistics
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass, field
from time import perf_counter
from typing import Any


@dataclass(frozen=True)
class Figure:
    """The figure of one method.

    Attributes:
        work: What was done.
        way: The method: precision, batch size, number of processes.
        rows_a_second: Median over the repetitions.
        notes: What else was seen, such as the smallest cosine with the CPU's float32 vectors, or bytes of GPU memory.
    """

    work: str
    way: str
    rows_a_second: float
    notes: dict[str, Any] = field(default_factory=dict)

    def line(self) -> str:
        """For a person who watches."""
        said = "".join(f", {name} {value}" for name, value in self.notes.items())
        return f"{self.work}, {self.way}: {self.rows_a_second:,.0f} rows/s{said}"

    def to_dict(self) -> dict[str, Any]:
        """For JSON."""
        return asdict(self)


def table(figures: Sequence[Figure]) -> str:
    """All figures as Markdown."""
    lines = ["| work | way | rows a second | |", "|---|---|---|---|"]
    for one in figures:
        said = ", ".join(f"{name} {value}" for name, value in one.notes.items())
        lines.append(f"| {one.work} | {one.way} | {one.rows_a_second:,.0f} | {said} |")
    return "\n".join(lines) + "\n"


def rate(work: Callable[[], object], rows: int, repetitions: int) -> float:
    """Rows per second of ``work`` on ``rows``: the median of ``repetitions`` after one that is not counted."""
    work()
    seconds = []
    for _ in range(repetitions):
        start = perf_counter()
        work()
        seconds.append(perf_counter() - start)
    return rows / statistics.median(seconds)
