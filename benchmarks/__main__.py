"""``python -m benchmarks``: measure, compare, print a table, write JSON and a plot."""

from __future__ import annotations

import json
import time
from pathlib import Path

import click
from rich.console import Console

from benchmarks import machine, report
from benchmarks.functions.deployment import Models, deploy
from benchmarks.functions.measurement import QUICK, Bench, Measurement, Scale
from benchmarks.functions.works import WORKS
from benchmarks.material import pictures
from benchmarks.plot import plot
from benchmarks.record import markdown

OUTPUT = Path(__file__).parent / "out"


@click.command()
@click.option("--quick", is_flag=True, help="A short run: fewer rows, fewer repetitions.")
@click.option("--only", "chosen", type=click.Choice(list(WORKS)), multiple=True, help="Only this work; repeatable.")
@click.option("--texts", type=int, help="With --only growth: up to so many texts, in steps of ten.")
@click.option("--output", type=click.Path(path_type=Path), default=OUTPUT, help="Directory of everything written.")
def main(quick: bool, chosen: tuple[str, ...], texts: int | None, output: Path) -> None:
    """Measure the functions and their peers, on the same chDB, weights and machine."""
    started = time.monotonic()
    console = Console(stderr=True, highlight=False)
    output = output.absolute()

    def say(line: str) -> None:
        console.print(f"[{time.monotonic() - started:5.0f} s] {line}", markup=False)

    scale = QUICK if quick else Scale()
    if texts is not None:
        scale = Scale(growth=tuple(10**power for power in range(3, 9) if 10**power <= texts))
    say("pictures")
    material = pictures(output / "pictures", scale.pictures)
    deployment = deploy(output / "server", Models(output / "model", say), output / "pictures", say)
    bench = Bench(deployment, scale, material, output / "workers.log", say)
    labels = {one.name: one.label for one in deployment.contenders}
    all_labels = {**labels, "int8": "int8", "openvino": "OpenVINO", "openvino_bf16": "OpenVINO, bf16"}
    described = machine.describe()
    caption = f"{described['cpu']}, {described['cores']} cores"
    loads = [machine.load()]
    measurements: list[Measurement] = []
    for work in chosen or WORKS:
        say(work)
        for one in WORKS[work](bench):
            measurements.append(one)
            who = all_labels[one.contender]
            say(f"  {one.work}, {who}: {report.spoken(report.typical(one), one.unit)}")
        loads.append(machine.load())
        results = {
            "command": "python -m benchmarks" + " --quick" * quick + "".join(f" --only {work}" for work in chosen),
            "machine": described,
            "load_average": {"least": min(loads), "most": max(loads)},
            "labels": all_labels,
            "targets": report.against_targets(measurements),
            "measurements": [one.to_dict() for one in measurements],
        }
        (output / "results.json").write_text(json.dumps(results, indent=1) + "\n", encoding="utf-8")
        (output / "results.md").write_text(markdown(results) + "\n", encoding="utf-8")
    drawn = plot(measurements, labels, output / "results.png", caption)
    screen = Console(highlight=False)
    heading, lines = report.rows(measurements, all_labels)
    screen.print(report.table("Medians; in brackets, how many times ours", heading, lines))
    heading, lines = report.verdict_rows(report.against_targets(measurements))
    screen.print(report.table("Targets", heading, lines))
    screen.print(f"{caption}, {described['memory']}; load average {min(loads):.1f} to {max(loads):.1f}", markup=False)
    screen.print(
        f"{output / 'results.json'}, {output / 'results.md'}" + f", {output / 'results.png'}" * drawn, soft_wrap=True
    )


if __name__ == "__main__":
    main()
