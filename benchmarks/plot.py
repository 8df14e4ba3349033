"""The ratios as a chart."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from benchmarks.functions.measurement import Measurement
from benchmarks.report import find, ratio


def plot(measurements: Sequence[Measurement], labels: dict[str, str], target: Path, caption: str) -> bool:
    """Write a bar chart of every work that a peer does too; False if matplotlib is not installed."""
    try:
        import matplotlib

        matplotlib.use("agg")
        from matplotlib import pyplot
    except ImportError:
        return False
    peers = [name for name in labels if name != "ours"]
    works = [
        work
        for work in dict.fromkeys(one.work for one in measurements)
        if find(measurements, work, "ours") and any(find(measurements, work, peer) for peer in peers)
    ]
    if not works:
        return False
    figure, axes = pyplot.subplots(figsize=(9, 1.2 + 0.6 * len(works)), layout="constrained")
    height = 0.8 / len(peers)
    for index, peer in enumerate(peers):
        places, lengths = [], []
        for row, work in enumerate(works):
            ours, other = find(measurements, work, "ours"), find(measurements, work, peer)
            if ours and other:
                places.append(row + (index - (len(peers) - 1) / 2) * height)
                lengths.append(ratio(ours, other))
        bars = axes.barh(places, lengths, height, label=labels[peer])
        axes.bar_label(bars, fmt="%.3gx", padding=3, fontsize=8)
    axes.axvline(1, color="black", linewidth=1)
    axes.set_xscale("log")
    axes.set_yticks(range(len(works)), works)
    axes.invert_yaxis()
    axes.margins(x=0.15)
    axes.set_xlabel(f"times what {labels['ours']} takes (time, memory): logarithmic\n{caption}", fontsize=9)
    axes.legend(fontsize=8)
    axes.spines[["top", "right"]].set_visible(False)
    figure.savefig(target, dpi=130)
    pyplot.close(figure)
    return True
