"""Machines, and the layouts of a table on them; numbers of rows as people type and read them."""

from __future__ import annotations

import re
from dataclasses import dataclass

from clip_installer.errors import UsageProblem

GIB = 1 << 30
DEFAULT_REPLICAS = 2
_UNITS = {"": 1, "k": 10**3, "m": 10**6, "b": 10**9}
_COUNT = re.compile(r"(\d[\d_,]*(?:\.\d+)?(?:e\+?\d{1,2})?)\s*([kmb]?)", re.IGNORECASE)


@dataclass(frozen=True)
class Machine:
    """The machines to count.

    Attributes:
        memory: Bytes.
        cores: Cores of the measured kind.
        price: Price per hour; None to leave costs out.
    """

    memory: int
    cores: int
    price: float | None


@dataclass(frozen=True)
class Layout:
    """How a table is distributed over machines.

    Attributes:
        shards: Machines that hold the rows once; None for as few as have enough memory.
        replicas: Copies of each shard, each on its own machine.
    """

    shards: int | None
    replicas: int


def layouts(machines: int | None, shards: int | None, replicas: int | None) -> list[Layout]:
    """The layouts for ``machines``, most shards first; without a number of machines, only the requested one.

    Raises:
        UsageProblem: Shards and replicas do not add up to that number of machines.
    """
    if machines is None:
        return [Layout(shards, replicas or DEFAULT_REPLICAS)]
    found = [
        Layout(one, machines // one)
        for one in range(machines, 0, -1)
        if machines % one == 0 and one == (shards or one) and machines // one == (replicas or machines // one)
    ]
    if not found:
        asked = " of ".join(
            ([spoken_count(replicas, "replica")] if replicas else [])
            + ([spoken_count(shards, "shard")] if shards else [])
        )
        raise UsageProblem(
            f"{spoken_count(machines, 'machine')} cannot be {asked}: give a number of machines that is shards times"
            " replicas, or omit --shards or --replicas to see every layout"
        )
    return found


def parse_count(text: str) -> int:
    """A number of rows as people type it: ``50M``, ``1.5B``, ``10k``, ``400e6``, ``50_000_000``.

    Raises:
        ValueError: It is not a number, or less than one.
    """
    found = _COUNT.fullmatch(text.strip())
    if found is None:
        raise ValueError(f"{text!r} is not a number of rows such as 50M, 1.5B or 400e6")
    rows = int(float(found[1].replace("_", "").replace(",", "")) * _UNITS[found[2].lower()])
    if rows < 1:
        raise ValueError("there must be at least one row")
    return rows


def spoken_rows(rows: float) -> str:
    """A number of rows for a person, e.g. ``400 M``."""
    for size, unit in ((1e9, "B"), (1e6, "M"), (1e3, "k")):
        if rows >= size:
            return f"{rows / size:.3g} {unit}"
    return f"{rows:.0f}"


def spoken_count(count: int, noun: str) -> str:
    """A number of things, e.g. ``2 shards``."""
    return f"{count} {noun}" + "s" * (count != 1)
