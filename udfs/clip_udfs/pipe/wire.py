r"""Bytes on the pipe: ClickHouse blocks with ``send_chunk_header``, in TabSeparated or RowBinary.

ClickHouse writes ``N\n`` and then N rows of one column; it must get exactly N rows back. Both formats are described in
https://clickhouse.com/docs/en/interfaces/formats; the block header in
https://clickhouse.com/docs/en/engines/table-functions/executable (``send_chunk_header``).
"""

from __future__ import annotations

import os
from collections.abc import Callable
from dataclasses import dataclass
from typing import NamedTuple, Protocol

import numpy as np
import orjson
from numpy.typing import NDArray

from clip_udfs.errors import EngineError, ProtocolError

READ_SIZE = 1 << 20
_MAX_HEADER = 20
_MAX_SHIFT = 63
_NUMBER_BYTES = 4  # of a UInt32


@dataclass(frozen=True)
class Oversized:
    """A value that was longer than the limit: it was counted and thrown away while it arrived.

    Attributes:
        size: Its length in bytes as it came over the pipe, escapes included.
    """

    size: int


Value = bytes | None | Oversized


class Sized(NamedTuple):
    """A row of two columns: the value, and how large the answer may be."""

    value: Value
    size: int


class Reader(Protocol):
    """Reads blocks of one column, or of two where the second is a number."""

    def next_block(self) -> int | None:
        """Number of rows of the next block, None at the end of input."""

    def value(self) -> Value:
        """The next row: its bytes, None for NULL, or :class:`Oversized`."""

    def sized(self) -> Sized:
        """The next row of two columns."""


class _Input:
    """A growing window over a byte source that forgets what was taken."""

    def __init__(self, read: Callable[[int], bytes]) -> None:
        self._read = read
        self._buffer = bytearray()
        self._start = 0

    def _fill(self) -> bool:
        chunk = self._read(READ_SIZE)
        if self._start:
            del self._buffer[: self._start]
            self._start = 0
        self._buffer += chunk
        return bool(chunk)

    def at_end(self) -> bool:
        """True when no byte is left and none will come; waits for one to arrive."""
        return self._start == len(self._buffer) and not self._fill()

    def line(self, limit: int) -> bytes | Oversized | None:
        """Bytes up to the next newline without it; None when the input ends before one."""
        searched = self._start
        dropped = 0
        while (end := self._buffer.find(b"\n", searched)) < 0:
            searched = len(self._buffer) - self._start
            if searched > limit:
                dropped += searched
                self._buffer.clear()
                self._start = searched = 0
            if not self._fill():
                return None
        size = dropped + end - self._start
        taken = bytes(memoryview(self._buffer)[self._start : end])
        self._start = end + 1
        return Oversized(size) if size > limit else taken

    def exactly(self, size: int) -> bytes | None:
        """The next ``size`` bytes; None when the input ends before."""
        while len(self._buffer) - self._start < size:
            if not self._fill():
                return None
        taken = bytes(memoryview(self._buffer)[self._start : self._start + size])
        self._start += size
        return taken

    def skip(self, size: int) -> bool:
        """Throw ``size`` bytes away; False when the input ends before."""
        while size > 0:
            if self.at_end():
                return False
            step = min(size, len(self._buffer) - self._start)
            self._start += step
            size -= step
        return True


class _BlockReader:
    """What both formats share: the source, the limit of a value, and the header of a block."""

    def __init__(self, read: Callable[[int], bytes], max_value: int) -> None:
        """Read from ``read(size)``; values of more than ``max_value`` bytes become :class:`Oversized`."""
        self._source = _Input(read)
        self._max_value = max_value

    def next_block(self) -> int | None:
        """See :class:`Reader`.

        Raises:
            ProtocolError: There is no block header where one must be.
        """
        if self._source.at_end():
            return None
        header = self._source.line(_MAX_HEADER)
        if not isinstance(header, bytes) or not header.isdigit():
            shown = repr(header.decode("utf-8", "replace")) if isinstance(header, bytes) else "something else"
            raise ProtocolError(
                f"expected a block header (a number of rows), got {shown}: "
                "the function's XML needs <send_chunk_header>1</send_chunk_header> and the format it was installed with"
            )
        return int(header)


class TabSeparatedReader(_BlockReader):
    r"""Reads one column of TabSeparated rows: escaped bytes, one row a line, ``\N`` for NULL."""

    def value(self) -> Value:
        """See :class:`Reader`.

        Raises:
            ProtocolError: The input ends inside the block, or the row has more than one column.
        """
        line = self._line()
        if not isinstance(line, Oversized) and b"\t" in line:
            raise ProtocolError("a row has more than one column: this function takes one argument")
        return self._unescaped(line)

    def sized(self) -> Sized:
        """See :class:`Reader`.

        Raises:
            ProtocolError: The input ends inside the block, or the row has not two columns, the second a number.
        """
        line = self._line()
        if isinstance(line, Oversized):
            return Sized(line, 0)
        field, _, size = line.rpartition(b"\t")
        if not size.isdigit() or b"\t" in field:
            raise ProtocolError("a row has not two columns, the second a number: this function takes two arguments")
        return Sized(self._unescaped(field), int(size))

    def _line(self) -> bytes | Oversized:
        line = self._source.line(2 * self._max_value)
        if line is None:
            raise ProtocolError("the input ended in the middle of a block")
        # ClickHouse escapes a value's own CR, so this one is of output_format_tsv_crlf_end_of_line.
        return line if isinstance(line, Oversized) else line.removesuffix(b"\r")

    def _unescaped(self, field: bytes | Oversized) -> Value:
        if isinstance(field, Oversized) or field == b"\\N":
            return field if isinstance(field, Oversized) else None
        value = unescape(field) if b"\\" in field else field
        return Oversized(len(value)) if len(value) > self._max_value else value


_ESCAPES = (
    (b"\\n", b"\n"),
    (b"\\t", b"\t"),
    (b"\\0", b"\0"),
    (b"\\r", b"\r"),
    (b"\\b", b"\b"),
    (b"\\f", b"\f"),
    (b"\\'", b"'"),
)


def unescape(field: bytes) -> bytes:
    r"""Undo the escapes of a TabSeparated field: ``\t \n \\ \0 \b \f \r \'``.

    Escaped backslashes split the field into parts in which each remaining escape stands alone, so that every kind is
    one pass at C speed; pictures sent as bytes have tens of thousands of them.
    """
    parts = field.split(b"\\\\")
    for index, part in enumerate(parts):
        if b"\\" in part:
            for escape, byte in _ESCAPES:
                part = part.replace(escape, byte)
            parts[index] = part
    return b"\\".join(parts)


def escape(value: bytes) -> bytes:
    """A value as a TabSeparated field, with the escapes that :func:`unescape` undoes."""
    field = value.replace(b"\\", b"\\\\")
    for escaped, byte in _ESCAPES:
        field = field.replace(byte, escaped)
    return field


class RowBinaryReader(_BlockReader):
    """Reads one column of RowBinary strings: length as LEB128, then the bytes; one flag byte before where nullable."""

    def __init__(self, read: Callable[[int], bytes], max_value: int, nullable: bool) -> None:
        """Read from ``read(size)``; values of more than ``max_value`` bytes become :class:`Oversized`."""
        super().__init__(read, max_value)
        self._nullable = nullable

    def value(self) -> Value:
        """See :class:`Reader`.

        Raises:
            ProtocolError: The input ends inside the block, or a length is none.
        """
        if self._nullable and self._byte() == 1:
            return None
        size = shift = 0
        while (byte := self._byte()) & 0x80:
            size |= (byte & 0x7F) << shift
            shift += 7
            if shift > _MAX_SHIFT:
                raise ProtocolError("the length of a value has more than 64 bits: the input is not RowBinary")
        size |= byte << shift
        if size > self._max_value:
            if not self._source.skip(size):
                raise ProtocolError("the input ended in the middle of a block")
            return Oversized(size)
        return self._exactly(size)

    def sized(self) -> Sized:
        """See :class:`Reader`.

        Raises:
            ProtocolError: As :meth:`value`.
        """
        value = self.value()
        return Sized(value, int.from_bytes(self._exactly(_NUMBER_BYTES), "little"))

    def _byte(self) -> int:
        return self._exactly(1)[0]

    def _exactly(self, size: int) -> bytes:
        taken = self._source.exactly(size)
        if taken is None:
            raise ProtocolError("the input ended in the middle of a block")
        return taken


@dataclass(frozen=True)
class Vectors:
    """Answers of consecutive rows.

    Attributes:
        matrix: float32, shape (rows, dimension).
        present: bool, shape (rows,): False where the answer is ``[]`` and the matrix row is meaningless.
    """

    matrix: NDArray[np.float32]
    present: NDArray[np.bool_]


def _checked(vectors: Vectors) -> NDArray[np.float32]:
    if not np.isfinite(vectors.matrix[vectors.present]).all():
        raise EngineError("the model returned a vector that is not finite (NaN or infinity): the bundle is damaged")
    return np.ascontiguousarray(vectors.matrix, dtype=np.float32)


def format_tab_separated(vectors: Vectors) -> bytes:
    """Rows as TabSeparated ``Array(Float32)``: the shortest decimals that give each float32 back exactly.

    Raises:
        EngineError: A vector is not finite.
    """
    matrix = _checked(vectors)
    if vectors.present.all():
        if not len(matrix):
            return b""
        text = orjson.dumps(matrix, option=orjson.OPT_SERIALIZE_NUMPY)
        return text[1:-1].replace(b"],[", b"]\n[") + b"\n"
    return b"".join(
        (orjson.dumps(row, option=orjson.OPT_SERIALIZE_NUMPY) if present else b"[]") + b"\n"
        for row, present in zip(matrix, vectors.present, strict=True)
    )


def format_row_binary(vectors: Vectors) -> bytes:
    """Rows as RowBinary ``Array(Float32)``: length as LEB128, then little-endian float32.

    Raises:
        EngineError: A vector is not finite.
    """
    matrix = _checked(vectors).astype("<f4", copy=False)
    prefix = leb128(matrix.shape[1])
    if vectors.present.all():
        rows = np.empty((len(matrix), len(prefix) + matrix.shape[1] * 4), np.uint8)
        rows[:, : len(prefix)] = np.frombuffer(prefix, np.uint8)
        rows[:, len(prefix) :] = matrix.view(np.uint8).reshape(len(matrix), -1)
        return rows.tobytes()
    return b"".join(
        prefix + row.tobytes() if present else b"\0" for row, present in zip(matrix, vectors.present, strict=True)
    )


def leb128(number: int) -> bytes:
    """A length as RowBinary writes it: seven bits a byte, the lowest first."""
    encoded = bytearray()
    while number > 0x7F:
        encoded.append(number & 0x7F | 0x80)
        number >>= 7
    encoded.append(number)
    return bytes(encoded)


def write_all(descriptor: int, data: bytes) -> None:
    """Write every byte of ``data`` to ``descriptor``, however the pipe divides it."""
    view = memoryview(data)
    while view:
        view = view[os.write(descriptor, view) :]
