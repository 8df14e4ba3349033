"""What several benches compute with vectors."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

Vectors = NDArray[np.float32]


def unit(vectors: Vectors) -> Vectors:
    """Each row of ``vectors``, shape (rows, dimension), with length 1."""
    return vectors / np.linalg.norm(vectors, axis=1, keepdims=True)  # type: ignore[no-any-return]


def cosines(vectors: Vectors, others: Vectors) -> Vectors:
    """The cosine of each row with the same row of ``others``, both of shape (rows, dimension)."""
    lengths = np.linalg.norm(vectors, axis=1) * np.linalg.norm(others, axis=1)
    return (vectors * others).sum(axis=1) / lengths  # type: ignore[no-any-return]


class Clusters:
    """Unit vectors around 2000 random centres, alike in each run.

    Attributes:
        COUNT: Number of centres.
    """

    COUNT = 2000

    def __init__(self, dimension: int) -> None:
        """Draw centres of ``dimension`` numbers."""
        self._random = np.random.default_rng(1)
        self._centres = unit(self._random.standard_normal((self.COUNT, dimension), dtype=np.float32))

    def draw(self, count: int) -> Vectors:
        """The next ``count`` vectors, of shape (count, dimension), each near a centre drawn for it."""
        near = self._centres[self._random.integers(0, self.COUNT, count)]
        noise = self._random.standard_normal(near.shape, dtype=np.float32) / np.float32(near.shape[1] ** 0.5)
        return unit(near + noise)
