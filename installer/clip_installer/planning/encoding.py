"""What it takes to fill a table: encoding captions and images, or importing vectors that somebody else has encoded."""

from __future__ import annotations

from dataclasses import dataclass

from clip_installer.planning.figures import Figures
from clip_installer.planning.machines import Machine

_HOUR = 3600


@dataclass(frozen=True)
class EncodingEstimate:
    """Encoding many rows.

    Attributes:
        rows: Captions, or images.
        what: ``captions`` or ``images``.
        where: ``CPU`` or ``GPU``.
        rows_per_second: Of one core, or of one GPU; None where nothing was measured.
        machine_hours: Of machines with all their cores at work, or of GPUs.
        hours: With the machines, or GPUs, that there are.
        cost: All machine hours at their price; None without a price.
    """

    rows: int
    what: str
    where: str
    rows_per_second: float | None
    machine_hours: float | None
    hours: float | None
    cost: float | None


def encoding_estimates(
    figures: Figures,
    rows: int,
    machine: Machine,
    machines: int,
    *,
    gpu_images: float | None = None,
    gpus: int = 1,
    gpu_price: float | None = None,
) -> list[EncodingEstimate]:
    """What it takes to encode ``rows`` captions, and as many images.

    Args:
        figures: The measured costs.
        rows: Rows to encode.
        machine: Each of the machines.
        machines: How many there are.
        gpu_images: Images a second of one GPU; None where it was not measured.
        gpus: How many there are.
        gpu_price: Of an hour of a GPU.
    """
    rates = [("captions", 1 / figures.encoding["captions"]), ("images", 1 / figures.encoding["pictures"])]
    return [
        *(_encoding(rows, what, "CPU", rate, machine.cores, machines, machine.price) for what, rate in rates),
        _encoding(rows, "images", "GPU", gpu_images, 1, gpus, gpu_price),
    ]


def _encoding(
    rows: int, what: str, where: str, rate: float | None, units: int, machines: int, price: float | None
) -> EncodingEstimate:
    if rate is None:
        return EncodingEstimate(rows, what, where, None, None, None, None)
    hours = rows / (rate * units) / _HOUR
    return EncodingEstimate(rows, what, where, rate, hours, hours / machines, None if price is None else hours * price)
