"""The record of a run, and the pages that show it.

``python -m benchmarks.record NAME RESULTS.json`` keeps the results of a run as ``benchmarks/records/NAME.json`` and
puts their tables into the pages; without arguments it writes the tables of the kept records again. In a page they are
between ``<!-- figures: NAME, begin -->`` and ``<!-- figures: NAME, end -->``, and a test compares. What ``clip-udfs
estimate`` knows of encoding, and the page of its answers, follow the record ``speed``.
"""

from __future__ import annotations

import json
import re
import shlex
import statistics
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from click.testing import CliRunner

from benchmarks.functions.measurement import Measurement
from benchmarks.report import against_targets, reasons, rows, verdict_rows
from clip_installer.commands.installation.estimate import estimate
from clip_installer.planning.figures import COSTED_WORKS, RECORDED

ROOT = Path(__file__).parent.parent
RECORDS = Path(__file__).parent / "records"
COSTS = RECORDED / "encoding.json"
ESTIMATES = ROOT / "docs" / "scaling.md"
SHORT = (
    "first query",
    "one text, warm",
    "captions",
    "pictures from disk",
    "second worker, text",
    "second worker, image",
)
_TITLES = {
    "engines": "The engine alone: ONNX Runtime, as the workers use it, and OpenVINO on the same graphs",
    "int8": "int8 beside fp32; the cosine is the smallest with the fp32 vector",
    "growth": "More and more texts",
    "pools": "Four queries at once on pools of two workers",
    "start": "A worker's start: CPU time of each step and of a whole worker, and the time until its first vector",
}


def section_of(measurement: Measurement) -> str:
    """The table that a measurement belongs to; '' for that of the peers."""
    first = measurement.work.partition(",")[0]
    return "pools" if first.startswith("pool") else first if first in _TITLES else ""


def markdown(record: Mapping[str, Any]) -> str:
    """All tables of a run in Markdown, with the command and the machine."""
    measurements = [Measurement.from_dict(one) for one in record["measurements"]]
    verdicts = against_targets(measurements)
    machine, load = record["machine"], record["load_average"]
    versions = ", ".join(f"{name} {machine[name]}" for name in machine if name not in _PLACE)
    said = [
        f"`{record['command']}` on {machine['cores']} cores of {machine['cpu']}, {machine['memory']},"
        f" {machine['system']}; load average {load['least']:.1f} to {load['most']:.1f}; {versions}."
        + (" A quick run, of few rows and repetitions." if "--quick" in record["command"] else "")
        + (f" {record['note']}" if "note" in record else ""),
        "",
        "Medians. In brackets: how many times ours.",
        "",
        *_table(*rows([one for one in measurements if not section_of(one)], record["labels"])),
        "",
        "Targets:",
        "",
        *_table(*verdict_rows(verdicts)),
    ]
    if missed := reasons(verdicts):
        said += ["", "Targets missed, and why:", "", *(f"* {line}" for line in missed)]
    for section, title in _TITLES.items():
        chosen = [one for one in measurements if section_of(one) == section]
        if chosen:
            heading, lines = rows(chosen, record["labels"])
            said += ["", f"{title}:", "", *_table(*_with_notes(chosen, heading, lines))]
    return "\n".join(said)


def short(record: Mapping[str, Any]) -> str:
    """The main works compared with the peers, in Markdown, with the command and the machine."""
    machine, load = record["machine"], record["load_average"]
    return "\n".join(
        [
            f"`{record['command']}` on {machine['cores']} cores of {machine['cpu']}, at a load average of",
            f"{load['least']:.1f} to {load['most']:.1f}: ViT-B-32-quickgelu with the same weights for all, as",
            "ClickHouse functions on the same chDB, with every vector compared. Medians; in brackets, how many",
            "times ours. All figures, and which targets were missed and why: [docs/speed.md](docs/speed.md).",
            "",
            *_short_table(record),
        ]
    )


def short_in_chinese(record: Mapping[str, Any]) -> str:
    """The same for the Chinese page."""
    words = json.loads((Path(__file__).parent / "chinese.json").read_text(encoding="utf-8"))
    said = words["sentence"].format(command=record["command"], **record["machine"], **record["load_average"])
    table = "\n".join(_short_table(record)).replace("/row", words["/row"])
    for english in ("work", *record["labels"].values(), *SHORT):
        table = table.replace(f"| {english} |", f"| {words.get(english, english)} |")
    return f"{said}\n\n{table}"


def _short_table(record: Mapping[str, Any]) -> list[str]:
    measurements = [Measurement.from_dict(one) for one in record["measurements"] if one["work"] in SHORT]
    return _table(*rows(sorted(measurements, key=lambda one: SHORT.index(one.work)), record["labels"]))


PAGES = {
    ROOT / "docs" / "speed.md": markdown,
    ROOT / "README.md": short,
    ROOT / "README.zh-CN.md": short_in_chinese,
}


def _with_notes(
    measurements: Sequence[Measurement], heading: list[str], lines: list[list[str]]
) -> tuple[list[str], list[list[str]]]:
    """The table with a last column of notes, if there are any."""
    noted = []
    for line in lines:
        notes = [one.notes for one in measurements if one.work == line[0]][-1]
        noted.append([*line, ", ".join(_NOTES[name](value) for name, value in notes.items() if name in _NOTES)])
    return ([*heading, ""], noted) if any(line[-1] for line in noted) else (heading, lines)


_PLACE = ("cpu", "cores", "memory", "system")
_NOTES = {
    "cosine": lambda value: f"cosine {value:.5f}",
    "slowest_to_quickest": lambda value: f"slowest query {value:.2f} times the quickest",
    "share_of_plan": lambda value: f"{value:.0%} of what the plan says",
    "workers": lambda value: f"{value} workers",
    "worker_peak_bytes": lambda value: f"worker's peak {value / 2**20:.0f} MiB",
    "rows_a_second": lambda value: f"{value:,.0f} a second",
    "device": str,
}


def _table(heading: Sequence[str], lines: Sequence[Sequence[str]]) -> list[str]:
    return [f"| {' | '.join(line)} |" for line in (heading, ["---"] * len(heading), *lines)]


def rendered(page: str, name: str, figures: str) -> str:
    """``page`` with ``figures`` between the marks of ``name``.

    Raises:
        ValueError: The page has no such marks.
    """
    begin = re.search(f"<!-- figures: {name}, begin[^\\n]*-->\\n", page)
    end = page.find(f"<!-- figures: {name}, end -->", begin.end() if begin else 0)
    if begin is None or end < 0:
        raise ValueError(f"there is no place for the figures {name}")
    return f"{page[: begin.end()]}{figures}\n{page[end:]}"


def costs(record: Mapping[str, Any]) -> dict[str, Any]:
    """What the package keeps of a record to estimate with: medians of our works, to three digits as the pages show."""
    return {
        "command": record["command"],
        "machine": {name: record["machine"][name] for name in ("cpu", "cores")},
        "load_average": record["load_average"],
        "measurements": [
            {**{name: one[name] for name in ("work", "contender", "unit", "rows")}, "values": [_median(one["values"])]}
            for one in record["measurements"]
            if one["contender"] == "ours" and one["work"] in COSTED_WORKS
        ],
    }


def _median(values: Sequence[float]) -> float:
    return float(f"{statistics.median(values):.3g}")


def estimated(page: str) -> str:
    """``page`` with what its first command of ``clip-udfs estimate`` prints now."""
    found = re.search(r"^clip-udfs estimate (.*)$", page, re.MULTILINE)
    if found is None:
        raise ValueError("there is no command to estimate with")
    answer = CliRunner().invoke(estimate, shlex.split(found[1]), catch_exceptions=False)
    return rendered(page, "estimate", f"\n{answer.output.strip()}\n")


def kept() -> dict[str, dict[str, Any]]:
    """The records by their names."""
    return {path.stem: json.loads(path.read_text(encoding="utf-8")) for path in sorted(RECORDS.glob("*.json"))}


def main(name: str | None = None, results: str | None = None) -> None:
    """Keep ``results`` as the record ``name``, if they are given, and write the pages."""
    if name is not None and results is not None:
        (RECORDS / f"{name}.json").write_text(Path(results).read_text(encoding="utf-8"), encoding="utf-8")
    for page, figures in PAGES.items():
        text = page.read_text(encoding="utf-8")
        for record, values in kept().items():
            text = rendered(text, record, figures(values))
        page.write_text(text, encoding="utf-8")
    COSTS.write_text(json.dumps(costs(kept()["speed"]), indent=1) + "\n", encoding="utf-8")
    ESTIMATES.write_text(estimated(ESTIMATES.read_text(encoding="utf-8")), encoding="utf-8")


if __name__ == "__main__":
    main(*sys.argv[1:])
