"""How long a row takes with each architecture beside ViT-B-32, measured by ``python -m benchmarks.worker.models``."""

from __future__ import annotations

import json
from collections.abc import Mapping
from functools import cache
from pathlib import Path
from typing import Any

from clip_udfs.functions import Tower

RECORD = Path(__file__).with_name("recorded_speed.json")
BESIDE = "ViT-B-32"  # its towers take 1 each


@cache
def recorded() -> Mapping[str, Any]:
    """The record: the command, the machine, and ``times``, by architecture and tower."""
    return json.loads(RECORD.read_text(encoding="utf-8"))  # type: ignore[no-any-return]


def times(architecture: str) -> dict[Tower, float] | None:
    """How many times as long one text and one image take as with :data:`BESIDE`; None if they were not measured."""
    return recorded()["times"].get(architecture)  # type: ignore[no-any-return]
