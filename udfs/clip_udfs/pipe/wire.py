r"""What both formats of the pipe share: ClickHouse's blocks with ``send_chunk_header``.

ClickHouse writes ``N\n`` and then N rows; it must get exactly N rows back. The header of a block is described in
https://clickhouse.com/docs/en/engines/table-functions/executable (``send_chunk_header``), the formats in
https://clickhouse.com/docs/en/interfaces/formats.
"""

from __future__ import annotations

import os
from collections.abc import Callable
from dataclasses import dataclass
from typing import NamedTuple, Protocol

from clip_udfs.errors import ProtocolError

READ_SIZE = 1 << 20
_MAX_HEADER = 20
ENDED = "the input ended in the middle of a block"


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
    """Reads blocks: of one column with ``value``, or of two, the second a number, with ``sized``."""

    def next_block(self) -> int | None:
        """Number of rows of the next block, None at the end of input."""

    def read_columns(self) -> None:
        """Read what a block says of its columns before the first row."""

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


class BlockReader:
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

    def read_columns(self) -> None:
        """See :class:`Reader`; there is nothing to read in a format without names and types."""

    def _exactly(self, size: int) -> bytes:
        taken = self._source.exactly(size)
        if taken is None:
            raise ProtocolError(ENDED)
        return taken


def leb128(number: int) -> bytes:
    """A length as ClickHouse's binary formats write it: seven bits a byte, the lowest first."""
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
