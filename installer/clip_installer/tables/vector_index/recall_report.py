"""A recall report for people: a table in Markdown, and a plot."""

from __future__ import annotations

from pathlib import Path

from clip_installer.errors import MissingExtra
from clip_installer.tables.vector_index.recall import Measurement, RecallReport

_HEADS = ("quantization", "M", "ef build", "ef search", "recall", "ms", "in views", "ms", "index MiB", "build s")


def markdown(report: RecallReport) -> str:
    """The measurements as a table in Markdown, columns aligned."""
    lines = [_HEADS] + [
        (
            line.quantization,
            str(line.m or ""),
            str(line.ef_construction or ""),
            str(line.ef_search),
            f"{line.index_recall:.4f}",
            f"{line.index_milliseconds:.1f}",
            f"{line.recall:.4f}",
            f"{line.milliseconds:.1f}",
            f"{line.index_bytes / 2**20:.1f}",
            f"{line.build_seconds:.1f}",
        )
        for line in report.measurements
    ]
    lines.append(("none: brute force", "", "", "", f"{1:.4f}", f"{report.exact_milliseconds:.1f}", "", "", "", ""))
    widths = [max(len(line[column]) for line in lines) for column in range(len(_HEADS))]
    rows = ["| " + " | ".join(map(str.ljust, line, widths)) + " |" for line in lines]
    rows.insert(1, "|" + "|".join("-" * (width + 2) for width in widths) + "|")
    return "\n".join(rows)


def variant(line: Measurement) -> str:
    """The index or the codes of a measurement, in words."""
    if line.m is None:
        return f"{line.quantization} codes"
    return f"{line.quantization}, M {line.m}, ef {line.ef_construction}"


def plot(report: RecallReport, path: Path) -> None:
    """Plot recall over search time, a line for each index, into ``path`` (png, svg or pdf).

    Raises:
        MissingExtra: matplotlib is not installed.
    """
    try:
        from matplotlib.figure import Figure
    except ImportError as error:
        raise MissingExtra("matplotlib", "plot", "--plot") from error
    figure = Figure(figsize=(7, 4.5), layout="constrained")
    axes = figure.subplots()
    indexes = dict.fromkeys((line.quantization, line.m, line.ef_construction) for line in report.measurements)
    for quantization, m, ef_construction in indexes:
        lines = [
            line
            for line in report.measurements
            if (line.quantization, line.m, line.ef_construction) == (quantization, m, ef_construction)
        ]
        size = lines[0].index_bytes / 2**20
        axes.plot(
            [line.index_milliseconds for line in lines],
            [line.index_recall for line in lines],
            marker="o",
            label=f"{variant(lines[0])}: {size:.0f} MiB",
        )
        for line in lines:
            axes.annotate(f" {line.ef_search}", (line.index_milliseconds, line.index_recall), fontsize=8)
    axes.axvline(report.exact_milliseconds, color="grey", linestyle=":", label="brute force")
    axes.set_xlabel("median milliseconds of a search; the numbers are ef_search")
    axes.set_ylabel(f"recall@{report.k} of the index or codes alone")
    axes.set_title(f"{report.queries} queries, {report.rows:,} rows")
    axes.legend()
    figure.savefig(path)
