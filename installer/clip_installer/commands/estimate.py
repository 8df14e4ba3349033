"""``clip-udfs estimate``: machines, memory, days and cost of a table that does not exist yet."""

from __future__ import annotations

import json
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING

import click

from clip_installer.commands.options import json_option
from clip_installer.planning.capacity import LEAST_BITS
from clip_installer.tables.schema import QUANTIZATIONS

if TYPE_CHECKING:
    from clip_installer.planning.capacity import Machine
    from clip_installer.planning.figures import Figures

_HELP = """\
Compute what a large table needs, from measured costs, and name every assumption.

The costs are those that came with the package, of two slow cores, or your own machine's:

\b
  python -m benchmarks.vector_index > index.json       (in a checkout; python -m benchmarks for encoding)
  clip-udfs estimate --rows 2e8 --figures index.json --memory 512 --cores 64 --price 3.50
"""


def _rows(context: click.Context, parameter: click.Parameter, values: tuple[str, ...]) -> tuple[int, ...]:
    try:
        rows = tuple(int(float(value)) for value in values)
    except (OverflowError, ValueError) as error:
        raise click.BadParameter(f"{values[-1]!r} is not a number such as 400e6") from error
    if min(rows) < 1:
        raise click.BadParameter("there must be at least one row")
    return rows


@click.command(help=_HELP, short_help="Memory, machines, time and cost of a large table.")
@click.option(
    "--rows",
    multiple=True,
    default=("1e6", "1e8", "4e8", "5e9"),
    show_default=True,
    callback=_rows,
    help="Rows of the table; repeatable.",
)
@click.option("--dimension", type=click.IntRange(1), default=512, show_default=True, help="Length of the vectors.")
@click.option(
    "--quantization",
    "quantizations",
    type=click.Choice(QUANTIZATIONS),
    multiple=True,
    help="What the index keeps of a number; repeatable [default: those that were measured].",
)
@click.option("--m", "connections", type=int, multiple=True, help="Connections of a vector; repeatable [the same].")
@click.option(
    "--bits",
    type=click.IntRange(LEAST_BITS, 16),
    default=16,
    show_default=True,
    help="Bits of a number that QBit(BFloat16) reads; fewer than 10 lose too many neighbours of CLIP vectors.",
)
@click.option("--replicas", type=click.IntRange(1), default=2, show_default=True, help="Copies of the data.")
@click.option("--memory", type=click.FloatRange(1), default=256, show_default=True, help="GiB of a machine.")
@click.option("--cores", type=click.IntRange(1), default=32, show_default=True, help="Cores of a machine.")
@click.option("--price", type=click.FloatRange(0), help="Price of a machine for an hour.")
@click.option("--encode", default=("1e9",), callback=_rows, multiple=True, help="Rows to encode [default: 1e9].")
@click.option("--machines", type=click.IntRange(1), default=10, show_default=True, help="Machines, or GPUs, for that.")
@click.option(
    "--gpu-pictures", type=click.FloatRange(min=0, min_open=True), help="Pictures that one GPU encodes a second."
)
@click.option("--gpu-price", type=click.FloatRange(0), help="Price of a GPU for an hour.")
@click.option(
    "--figures",
    "files",
    type=click.Path(exists=True, dir_okay=False, path_type=Path),
    multiple=True,
    help="Costs measured elsewhere: what the benchmarks wrote; repeatable.",
)
@json_option
def estimate(
    rows: tuple[int, ...],
    dimension: int,
    quantizations: tuple[str, ...],
    connections: tuple[int, ...],
    bits: int,
    replicas: int,
    memory: float,
    cores: int,
    price: float | None,
    encode: tuple[int, ...],
    machines: int,
    gpu_pictures: float | None,
    gpu_price: float | None,
    files: tuple[Path, ...],
    as_json: bool,
) -> None:
    """Compute what a large table needs, from measured costs, and name every assumption."""
    from clip_installer.planning import capacity
    from clip_installer.planning import capacity_report as report
    from clip_installer.planning.figures import read_figures

    figures = read_figures(files)
    machine = capacity.Machine(round(memory * capacity.GIB), cores, price)
    variants = _variants(figures, quantizations, connections)
    indexes = [
        capacity.index_estimate(
            figures, size, *variant, dimension=dimension, machine=machine, replicas=replicas, bits=bits
        )
        for size in rows
        for variant in variants
    ]
    encodings = {
        size: capacity.encoding_estimates(figures, size, machine, machines, gpu_pictures, gpu_price) for size in encode
    }
    said = report.assumptions(figures, dimension, machine, replicas)
    if as_json:
        answer = {
            "indexes": [asdict(one) for one in indexes],
            "encoding": [{"rows": size, **asdict(one)} for size, found in encodings.items() for one in found],
            "assumptions": said,
        }
        click.echo(json.dumps(answer))
        return
    click.echo(report.index_table(indexes, bits))
    click.echo("\n" + report.limit_table(_limits(figures, variants, dimension, machine)))
    click.echo("\n" + report.scan_table(figures, machine))
    for size, found in encodings.items():
        click.echo("\n" + report.encoding_table(found, size, machines))
    click.echo("\nAssumptions\n")
    click.echo("\n".join(f"{number}. {one}" for number, one in enumerate(said, 1)))


def _variants(figures: Figures, quantizations: tuple[str, ...], connections: tuple[int, ...]) -> list[tuple[str, int]]:
    if quantizations or connections:
        known = list(figures.indexes)
        names = quantizations or tuple(dict.fromkeys(name for name, _ in known))
        numbers = connections or tuple(dict.fromkeys(m for _, m in known))
        return [(name, m) for name in names for m in numbers]
    return list(figures.indexes)


def _limits(
    figures: Figures, variants: list[tuple[str, int]], dimension: int, machine: Machine
) -> list[tuple[str, int, int, float]]:
    from clip_installer.planning.capacity import rows_in_memory

    return [
        (
            name,
            m,
            rows_in_memory(figures, name, m, dimension=dimension, machine=machine),
            figures.indexes[name, m][-1].recall,
        )
        for name, m in variants
    ]
