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
