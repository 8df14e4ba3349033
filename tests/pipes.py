"""What a worker's readers and writers are given in tests: pieces of a pipe, and vectors."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from clip_udfs.pipe.vectors import Vectors


def source(data: bytes, step: int = 1 << 20) -> Callable[[int], bytes]:
    """A read function that gives ``data`` in pieces of ``step`` bytes, as a pipe may."""
    position = 0

    def read(size: int) -> bytes:
        nonlocal position
        piece = data[position : position + min(size, step)]
        position += len(piece)
        return piece

    return read


def vectors(rows: int, missing: tuple[int, ...] = ()) -> Vectors:
    """Vectors of 512 numbers, awkward ones among them; rows in ``missing`` have none."""
    matrix = np.random.default_rng(3).standard_normal((rows, 512)).astype(np.float32)
    matrix[0, :6] = [0.0, -0.0, 1e-45, 3.4e38, -1e-7, 1 / 3]
    present = np.ones(rows, bool)
    present[list(missing)] = False
    return Vectors(matrix, present)
