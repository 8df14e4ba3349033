"""What the pipelines of both towers share: their interface, a row that is refused, vectors as they are answered."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from clip_udfs.errors import BundleError, ValueRefused
from clip_udfs.pipe.wire import Oversized, Value, Vectors


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


def checked_vectors(vectors: NDArray[np.float32], dimension: int, normalize: bool) -> NDArray[np.float32]:
    """An engine's vectors, of length one with ``normalize``.

    Raises:
        BundleError: They have another dimension than the manifest says.
    """
    if vectors.shape[1] != dimension:
        raise BundleError(
            f"the model gives vectors of {vectors.shape[1]} numbers, its manifest says {dimension}: "
            "build the bundle again"
        )
    if not normalize:
        return vectors
    lengths = np.linalg.norm(vectors, axis=1, keepdims=True)
    unit: NDArray[np.float32] = vectors / np.maximum(lengths, 1e-12)
    return unit
