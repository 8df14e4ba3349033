"""What the works share: measurements, the amount of work, and the environment."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from benchmarks.functions.deployment import Deployment
from benchmarks.functions.engine import Engine


@dataclass(frozen=True)
class Scale:
    """How much work: the full run takes some twenty minutes on two idle cores, the quick one a few."""

    captions: int = 1000
    pictures: int = 320
    turns: int = 4
    singles: int = 15
    starts: int = 3
    indexed: int = 10_000
    wire: int = 20_000
    rounds: int = 12
    growth: tuple[int, ...] = (1000, 10_000, 50_000)
    part: int = 100_000
    together: int = 256
    pictures_together: int = 48


QUICK = Scale(64, 32, 2, 5, 1, 1000, 4000, 4, (100, 300, 1000), 5000, 64, 16)


@dataclass(frozen=True)
class Measurement:
    """One figure.

    Attributes:
        work: What was done.
        contender: The contender.
        unit: ``s/row`` and ``s`` (less is better), ``bytes`` (less is better), ``share`` (of the peak), ``cosine``.
        values: Each repetition; measured in turns with the other contenders.
        rows: Rows of one repetition.
        notes: What else was seen.
    """

    work: str
    contender: str
    unit: str
    values: tuple[float, ...]
    rows: int = 1
    notes: dict[str, Any] = field(default_factory=dict)

    def to_dict(self) -> dict[str, Any]:
        """For JSON."""
        return asdict(self)

    @classmethod
    def from_dict(cls, values: dict[str, Any]) -> Measurement:
        """From JSON."""
        return cls(**{**values, "values": tuple(values["values"])})


@dataclass(frozen=True)
class Bench:
    """What every work needs."""

    deployment: Deployment
    scale: Scale
    pictures: list[Path]
    log: Path
    say: Callable[[str], None]

    def engine(self) -> Engine:
        """A fresh engine; no worker runs in it yet."""
        return Engine(self.deployment.config, self.deployment.data, self.log)
