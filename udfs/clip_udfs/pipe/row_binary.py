"""RowBinaryWithNamesAndTypes: a block begins with the name and the type of each column, then come its rows in binary.

Hardly any setting of a query reaches it, and the types say what an argument really is: ClickHouse casts arguments to
the declared types only from 26.7 on. (Native would do as well, but what it looks like depends on the client.)
"""

from __future__ import annotations

import re
import struct
from collections.abc import Callable, Sequence
from datetime import datetime, timezone
from typing import TYPE_CHECKING, NamedTuple

from clip_udfs.errors import ProtocolError, printable, shown
from clip_udfs.pipe.wire import ENDED, BlockReader, Oversized, Sized, Value, leb128
from clip_udfs.settings import ROW_BINARY

if TYPE_CHECKING:
    from clip_udfs.images.answers import ImageAnswer, ImageInfo
    from clip_udfs.pipe.vectors import Vectors

_MAX_SHIFT = 63
_MAX_NAME = 1 << 20
# None without parentheses is longer than IntervalMicrosecond.
_TYPE = re.compile(r"[A-Z][A-Za-z0-9]{2,18}|[A-Z][A-Za-z0-9]+\(.*\)", re.DOTALL)
_NULLABLE = re.compile(r"Nullable\((.*)\)", re.DOTALL)
_FIXED = re.compile(r"FixedString\((\d+)\)")
_INTEGER = re.compile(r"(U?)Int(8|16|32|64)")
_EPOCH = datetime(1970, 1, 1, tzinfo=timezone.utc)


class _Column(NamedTuple):
    """A column of a block: its name, its type without Nullable, and whether that was there."""

    name: str
    kind: str
    nullable: bool


class RowBinaryReader(BlockReader):
    """Reads blocks of one column of strings, or of two, the second of integers."""

    def __init__(self, read: Callable[[int], bytes], max_value: int, *, columns: int = 1) -> None:
        """Read from ``read(size)``; values of more than ``max_value`` bytes become :class:`Oversized`."""
        super().__init__(read, max_value)
        self._columns = columns
        self._nullable = False
        self._width: int | None = None  # of a FixedString
        self._size = _Column("", "", nullable=False)
        self._row = 0

    def read_columns(self) -> None:
        """Read the names and the types of the block's columns.

        Raises:
            ProtocolError: The input ends before them, or a column is of a type that is not read.
        """
        self._row = 0
        columns = self._length()
        if columns != self._columns:
            raise ProtocolError(f"a row has {columns} columns: this function takes {self._columns}")
        names = [self._name() for _ in range(columns)]
        first, *others = [self._column(name) for name in names]
        fixed = _FIXED.fullmatch(first.kind)
        if first.kind not in ("String", "Nothing") and fixed is None:
            raise ProtocolError(
                f"{first.name} is of the type {shown(first.kind)}, which ClickHouse before 26.7 does not convert:"
                " use toString"
            )
        self._nullable, self._width = first.nullable, int(fixed[1]) if fixed else None
        for self._size in others:
            if not _INTEGER.fullmatch(self._size.kind):
                raise ProtocolError(
                    f"{self._size.name} is of the type {shown(self._size.kind)}, not an integer: use toUInt32"
                )

    def value(self) -> Value:
        """See :class:`Reader`.

        Raises:
            ProtocolError: The input ends inside the block, or a length is none.
        """
        self._row += 1
        if self._nullable and self._byte():
            return None
        size = self._length() if self._width is None else self._width
        if size > self._max_value:
            if not self._source.skip(size):
                raise ProtocolError(ENDED)
            return Oversized(size)
        value = self._exactly(size)
        # A cast to String takes the zeros away that fill a FixedString.
        return value if self._width is None else value.rstrip(b"\0")

    def sized(self) -> Sized:
        """See :class:`Reader`.

        Raises:
            ProtocolError: As :meth:`value`, or the size is NULL.
        """
        value = self.value()
        if self._size.nullable and self._byte():
            raise ProtocolError(f"{self._size.name} is NULL in row {self._row}: give a number")
        width, signed = int(self._size.kind.removeprefix("U")[3:]) // 8, not self._size.kind.startswith("U")
        return Sized(value, int.from_bytes(self._exactly(width), "little", signed=signed))

    def _column(self, name: str) -> _Column:
        size = self._length()
        # A type in binary is a number of a few bytes: to wait for a name of that length could be in vain.
        begin = self._exactly(1) if 0 < size <= _MAX_NAME else b""
        kind = (begin + self._exactly(size - 1)).decode("utf-8", "replace") if begin.isupper() else ""
        if not _TYPE.fullmatch(kind):
            raise ProtocolError(
                "the type of an argument is not in words: set output_format_binary_encode_types_in_binary_format = 0"
            )
        nullable = _NULLABLE.fullmatch(kind)
        return _Column(name, nullable[1] if nullable else kind, nullable is not None)

    def _name(self) -> str:
        size = self._length()
        if size > _MAX_NAME:
            raise ProtocolError(f"a column's name has {size} bytes: the input is not {ROW_BINARY}")
        return printable(self._exactly(size).decode("utf-8", "replace"))

    def _byte(self) -> int:
        return self._exactly(1)[0]

    def _length(self) -> int:
        size = shift = 0
        while (byte := self._byte()) & 0x80:
            size |= (byte & 0x7F) << shift
            shift += 7
            if shift > _MAX_SHIFT:
                raise ProtocolError(f"a number of the input has more than 64 bits: the input is not {ROW_BINARY}")
        return size | byte << shift


def header(name: str, type_name: str) -> bytes:
    """What a block of one column begins with: the number of columns, their names, their types.

    The type's length takes two bytes even where one would do. A query with
    ``input_format_binary_decode_types_in_binary_format = 1`` takes the first of them for a type in binary, and no type
    has a number above 127: that is an error, where the length of ``Array(Float32)`` would stand for Float64.
    """
    kind = type_name.encode()
    return b"\1" + string(name.encode()) + bytes([len(kind) & 0x7F | 0x80, len(kind) >> 7]) + kind


class RowBinaryWriter:
    """Makes answers rows in binary; ``header`` has to be written before those of each block."""

    def __init__(self, name: str, type_name: str) -> None:
        """Answer in a column of this name and ClickHouse type, which the function's definition states."""
        self.header = header(name, type_name)

    def vectors(self, vectors: Vectors) -> bytes:
        """Rows of ``Array(Float32)``: length as LEB128, then little-endian float32.

        Raises:
            EngineError: A vector is not finite.
        """
        import numpy as np  # not above: the workers of functions without a model start without it

        matrix = vectors.finite().astype("<f4", copy=False)
        prefix = leb128(matrix.shape[1])
        if vectors.present.all():
            rows = np.empty((len(matrix), len(prefix) + matrix.shape[1] * 4), np.uint8)
            rows[:, : len(prefix)] = np.frombuffer(prefix, np.uint8)
            rows[:, len(prefix) :] = matrix.view(np.uint8).reshape(len(matrix), -1)
            return rows.tobytes()
        return b"".join(
            prefix + row.tobytes() if present else b"\0" for row, present in zip(matrix, vectors.present, strict=True)
        )

    def images(self, answers: Sequence[ImageAnswer]) -> bytes:
        """Rows of ``String`` for bytes, of a tuple for what is known of images."""
        return b"".join(string(one) if isinstance(one, bytes) else _info(one) for one in answers)


def string(value: bytes) -> bytes:
    """A value of ``String``: its length as LEB128, then its bytes."""
    return leb128(len(value)) + value


def _info(info: ImageInfo) -> bytes:
    time = b"\1" if info.taken is None else struct.pack("<?q", False, _seconds(info.taken))
    return b"".join(
        (
            struct.pack("<II", info.width, info.height),
            string(info.format.encode()),
            string(info.mode.encode()),
            struct.pack("<B", info.orientation),
            time,
            struct.pack("<Q", info.hash),
            string(info.reason.encode("utf-8", "replace")),
        )
    )


def _seconds(time: datetime) -> int:
    return int((time.replace(tzinfo=timezone.utc) - _EPOCH).total_seconds())
