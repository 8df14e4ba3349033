"""Vectors in npy files: the header is checked first, then rows are read a batch at a time.

The format is described in numpy's ``numpy/lib/format.py`` (NEP 1).
"""

from __future__ import annotations

import io
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO

import numpy as np
import numpy.typing as npt

from clip_installer.errors import ImportRefused

_DTYPES = (np.dtype("<f2"), np.dtype("<f4"))
# All exponent bits set means infinity or NaN; testing integers is many times faster than isfinite on float16.
_EXPONENTS = {np.dtype("<f2"): (np.uint16, 0x7C00), np.dtype("<f4"): (np.uint32, 0x7F800000)}


@dataclass(frozen=True)
class VectorFile:
    """One npy file of vectors whose header agrees with its size.

    Attributes:
        path: The file.
        rows: Number of vectors.
        dimension: Numbers in each vector.
        dtype: Little-endian float16 or float32.
        offset: Bytes before the first vector.
    """

    path: Path
    rows: int
    dimension: int
    dtype: np.dtype[np.floating]
    offset: int

    @classmethod
    def open(cls, path: Path) -> VectorFile:
        """Read and check the header of ``path``.

        Raises:
            ImportRefused: It is not a C-ordered matrix of float16 or float32, or not of the size that its header
                promises.
        """
        try:
            with path.open("rb") as stream:
                shape, fortran, dtype = _header(stream, path)
                offset = stream.tell()
            size = path.stat().st_size
        except OSError as error:
            raise ImportRefused(f"cannot read {path}: {error.strerror}") from error
        if len(shape) != 2 or shape[1] < 1:
            raise ImportRefused(f"{path}: the array's shape is {shape}, expected (rows, dimension)")
        if dtype not in _DTYPES:
            raise ImportRefused(
                f"{path}: the numbers are {dtype.str}, expected little-endian float16 or float32 (<f2, <f4)"
            )
        if fortran:
            raise ImportRefused(
                f"{path}: the array is in Fortran order, column by column;"
                " save it again through numpy.ascontiguousarray"
            )
        rows, dimension = shape
        promised = offset + rows * dimension * dtype.itemsize
        if size != promised:
            raise ImportRefused(
                f"{path}: {size} bytes but the header promises {promised} ({rows} rows of {dimension}"
                f" {dtype}); the file is not complete, fetch it again"
            )
        return cls(path, rows, dimension, dtype, offset)

    def read(self, start: int, stop: int) -> npt.NDArray[np.floating]:
        """Vectors ``start`` to ``stop`` as a matrix, in the file's dtype.

        Raises:
            ImportRefused: The file has become shorter, or cannot be read.
        """
        count = (stop - start) * self.dimension
        try:
            numbers = np.fromfile(
                self.path,
                dtype=self.dtype,
                count=count,
                offset=self.offset + start * self.dimension * self.dtype.itemsize,
            )
        except OSError as error:
            raise ImportRefused(f"cannot read {self.path}: {error.strerror}") from error
        if numbers.size != count:
            raise ImportRefused(f"{self.path}: was truncated while it was read")
        return numbers.reshape(stop - start, self.dimension)

    def check(self, batch_rows: int) -> None:
        """Refuse a file with vectors that have no direction, reading ``batch_rows`` vectors at a time.

        Raises:
            ImportRefused: It has; the message names the first row with NaN, infinity or only zeros. The distance of
                such a vector is NaN, and no vector index accepts it.
        """
        integer, exponent = _EXPONENTS[self.dtype]
        for start in range(0, self.rows, batch_rows):
            batch = self.read(start, min(start + batch_rows, self.rows))
            infinite = ((batch.view(integer) & exponent) == exponent).any(axis=1)
            if infinite.any():
                row = start + int(infinite.argmax())
                raise ImportRefused(f"{self.path}: row {row} contains NaN or infinity, which cannot be searched")
            directionless = ~_has_length(batch)
            if directionless.any():
                row = start + int(directionless.argmax())
                raise ImportRefused(
                    f"{self.path}: row {row} is all zeros, or too small or too large for a length in Float32, which"
                    " cannot be searched"
                )


def _has_length(batch: npt.NDArray[np.floating]) -> npt.NDArray[np.bool_]:
    """For each vector, whether ClickHouse's cosineDistance, which squares in Float32, can divide by its norm."""
    if batch.dtype == np.float16:  # neither does its smallest number square to 0 in float32, nor its largest to inf
        return np.asarray((batch.view(np.uint16) & 0x7FFF).any(axis=1))
    with np.errstate(over="ignore", under="ignore"):
        squares = np.einsum("ij,ij->i", batch, batch)
    return np.asarray((squares > 0) & np.isfinite(squares))


def size_of_npy(head: bytes) -> int | None:
    """The size in bytes that an npy file's first bytes promise; None if they do not tell."""
    stream = io.BytesIO(head)
    try:
        shape, _, dtype = _header(stream, Path("head"))
    except (ImportRefused, ValueError):
        return None
    return stream.tell() + int(np.prod(shape, dtype=object)) * dtype.itemsize


def _header(stream: BinaryIO, path: Path) -> tuple[tuple[int, ...], bool, np.dtype[np.floating]]:
    try:
        version = np.lib.format.read_magic(stream)
        if version == (1, 0):
            return np.lib.format.read_array_header_1_0(stream)
        if version == (2, 0):
            return np.lib.format.read_array_header_2_0(stream)
    except ValueError as error:
        raise ImportRefused(f"{path} is not an npy file: {str(error).splitlines()[0]}") from error
    raise ImportRefused(f"{path}: npy format {version[0]}.{version[1]} is not one of 1.0 and 2.0")
