"""What the pipelines share: their interface, how far they read ahead, and rows that are refused."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING, Protocol

from clip_udfs.errors import ValueRefused
from clip_udfs.pipe.wire import Oversized, Value

if TYPE_CHECKING:
    from clip_udfs.pipe.vectors import Vectors


# Bytes of images that may wait to be decoded; beyond that, no more are read.
AHEAD_BYTES = 64 << 20
# Images that are decoded ahead of an engine that takes one batch at a time; two batches where that is more, on a GPU.
AHEAD = 16


class RowRefused(ValueRefused):
    """A row of a block that cannot be encoded, with its place."""

    def __init__(self, row: int, reason: str) -> None:
        """Name row ``row`` (counted from 1 in the block) and say which value it has and what is wrong with it."""
        super().__init__(f"row {row}: {reason}")


class Pipeline(Protocol):
    """Encodes the rows of one block."""

    def encode(self, values: Iterator[Value]) -> Iterator[Vectors]:
        """Vectors of all rows in order, in pieces, each as soon as it is done.

        Raises:
            RowRefused: A row cannot be encoded and the function is strict.
            EngineError: The engine failed.
            BundleError: The model's vectors are not of the dimension that its manifest says.
        """


def refusal(value: Oversized | None) -> str:
    """What is wrong with a value that is not bytes."""
    return "NULL cannot be encoded" if value is None else f"{value.size} bytes are more than this function takes"
