"""``clip-udfs estimate``: machines, memory, time and cost of a table that does not exist yet."""

from __future__ import annotations

import json
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING

import click

from clip_installer.commands.options import counted, json_option
from clip_installer.planning.capacity import LEAST_BITS
from clip_installer.tables.schema import QUANTIZATIONS

if TYPE_CHECKING:
    from clip_installer.planning.figures import Figures

_HELP = """\
Estimate what a large table needs, from measured costs, and list every assumption.

\b
  clip-udfs estimate --rows 50M --machines 3 --memory 128 --cores 32
  clip-udfs estimate --rows 400M --replicas 2 --memory 512 --price 3.50

With --machines, every layout of shards and replicas is tried; without, there are as many shards as the memory requires.
The costs come with the package, measured on two slow cores; better ones come from your own machine:

\b
  python -m benchmarks.search.vector_index > index.json       (in a checkout; python -m benchmarks for encoding)
  clip-udfs estimate --rows 2e8 --figures index.json
"""


@click.command(help=_HELP, short_help="Memory, machines, time and cost of a large table.")
@click.option(
    "--rows",
    metavar="COUNT",
    callback=counted,
    multiple=True,
    default=("1M", "100M", "400M", "5B"),
    show_default=True,
    help="Rows of the table, such as 50M, 1.5B or 400e6; repeatable.",
)
@click.option("--machines", type=click.IntRange(1), help="Number of machines [default: as many as needed].")
@click.option("--shards", type=click.IntRange(1), help="Shards [default: as few as needed].")
@click.option(
    "--replicas", type=click.IntRange(1), help="Copies of the data [default: 2; with --machines, what they allow]."
)
@click.option("--memory", type=click.FloatRange(1), default=256, show_default=True, help="GiB of memory per machine.")
@click.option("--cores", type=click.IntRange(1), default=32, show_default=True, help="Cores per machine.")
@click.option("--price", type=click.FloatRange(0), help="Price of a machine per hour.")
@click.option("--dimension", type=click.IntRange(1), default=512, show_default=True, help="Length of the vectors.")
@click.option(
    "--quantization",
    "quantizations",
    type=click.Choice(QUANTIZATIONS),
    multiple=True,
    help="Number format in the index; repeatable [default: all that were measured].",
)
@click.option(
    "--m",
    "connections",
    type=int,
    multiple=True,
    help="Connections of each vector (HNSW's M); repeatable [default: all that were measured].",
)
@click.option(
    "--bits",
    type=click.IntRange(LEAST_BITS, 16),
    default=16,
    show_default=True,
    help="Bits of each number that QBit(BFloat16) reads; with fewer than 10, recall on CLIP vectors is too low.",
)
@click.option(
    "--build-rate",
    type=click.FloatRange(min=0, min_open=True),
    help="Rows per second that build-index showed on one machine [default: from the measured costs].",
)
@click.option(
    "--gpu-images", type=click.FloatRange(min=0, min_open=True), help="Images per second that one GPU encodes."
)
@click.option("--gpus", type=click.IntRange(1), default=1, show_default=True, help="GPUs for encoding.")
@click.option("--gpu-price", type=click.FloatRange(0), help="Price of a GPU per hour.")
@click.option(
    "--figures",
    "files",
    type=click.Path(exists=True, dir_okay=False, path_type=Path),
    multiple=True,
    help="Your own measurements, as the benchmarks wrote them; repeatable.",
)
@json_option
def estimate(
    rows: tuple[int, ...],
    machines: int | None,
    shards: int | None,
    replicas: int | None,
    memory: float,
    cores: int,
    price: float | None,
    dimension: int,
    quantizations: tuple[str, ...],
    connections: tuple[int, ...],
    bits: int,
    build_rate: float | None,
    gpu_images: float | None,
    gpus: int,
    gpu_price: float | None,
    files: tuple[Path, ...],
    as_json: bool,
) -> None:
    """Estimate what a large table needs, from measured costs, and list every assumption."""
    from clip_installer.planning import capacity
    from clip_installer.planning import capacity_report as report
    from clip_installer.planning.encoding import encoding_estimates
    from clip_installer.planning.figures import read_figures
    from clip_installer.planning.machines import GIB, Machine, layouts

    figures = read_figures(files)
    machine = Machine(round(memory * GIB), cores, price)
    variants = _variants(figures, quantizations, connections)
    indexes = [
        capacity.index_estimate(
            figures,
            size,
            *variant,
            dimension=dimension,
            machine=machine,
            layout=layout,
            bits=bits,
            build_rate=build_rate,
        )
        for size in rows
        for layout in layouts(machines, shards, replicas)
        for variant in variants
    ]
    encodings = [
        one
        for size in rows
        for one in encoding_estimates(
            figures, size, machine, machines or 1, gpu_images=gpu_images, gpus=gpus, gpu_price=gpu_price
        )
    ]
    limits = [
        (
            *variant,
            capacity.rows_in_memory(figures, *variant, dimension=dimension, machine=machine),
            figures.indexes[variant][-1].recall,
        )
        for variant in variants
    ]
    said = report.assumptions(figures, dimension, machine, build_rate)
    if as_json:
        answer = {
            "indexes": [asdict(one) for one in indexes],
            "encoding": [asdict(one) for one in encodings],
            "assumptions": said,
        }
        click.echo(json.dumps(answer))
        return
    fixed = [report.verdict(indexes, machine)] if machines or shards else []
    tables = [
        report.memory_table(indexes, machine),
        *([report.time_table(indexes, bits)] if any(one.fits for one in indexes) else []),
        report.limit_table(limits),
        report.scan_table(figures, machine),
        report.encoding_table(encodings, machines or 1, gpus),
        "Assumptions",
        "\n".join(f"{number}. {one}" for number, one in enumerate(said, 1)),
    ]
    click.echo("\n\n".join([*fixed, *tables]))


def _variants(figures: Figures, quantizations: tuple[str, ...], connections: tuple[int, ...]) -> list[tuple[str, int]]:
    if quantizations or connections:
        known = list(figures.indexes)
        names = quantizations or tuple(dict.fromkeys(name for name, _ in known))
        numbers = connections or tuple(dict.fromkeys(m for _, m in known))
        return [(name, m) for name in names for m in numbers]
    return list(figures.indexes)
