"""Vectors between the engine and the pipe: checked, and with the rows that have none."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from clip_udfs.errors import BundleError, EngineError


@dataclass(frozen=True)
class Vectors:
    """Answers of consecutive rows.

    Attributes:
        matrix: float32, shape (rows, dimension).
        present: bool, shape (rows,): False where the answer is ``[]`` and the matrix row is meaningless.
    """

    matrix: NDArray[np.float32]
    present: NDArray[np.bool_]

    def finite(self) -> NDArray[np.float32]:
        """The matrix, contiguous.

        Raises:
            EngineError: A vector is not finite.
        """
        if not np.isfinite(self.matrix[self.present]).all():
            raise EngineError("the model returned a vector that is not finite (NaN or infinity): the bundle is damaged")
        return np.ascontiguousarray(self.matrix, dtype=np.float32)


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
