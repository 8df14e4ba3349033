"""What it takes to fill a table by encoding captions and images."""

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
        rows_per_second: Of one core or one GPU; None if not measured.
        machine_hours: Hours of machines with all cores working, or of GPUs.
        hours: Hours with the given number of machines or GPUs.
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
    """The cost of encoding ``rows`` captions, and as many images.

    Args:
        figures: The measured costs.
        rows: Rows to encode.
        machine: Each of the machines.
        machines: How many there are.
        gpu_images: Images per second of one GPU; None if not measured.
        gpus: How many there are.
        gpu_price: Price of a GPU per hour.
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
