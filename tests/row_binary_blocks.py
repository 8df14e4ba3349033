"""Blocks in RowBinaryWithNamesAndTypes as ClickHouse writes them, and vectors read out of what a worker answers."""

from __future__ import annotations

import struct
from collections.abc import Sequence

# What an answer begins with: one column called ``embedding``; the length of the type takes two bytes.
ANSWER = b"\1\x09embedding\x8e\x00Array(Float32)"


def leb128(number: int) -> bytes:
    """A length: seven bits a byte, the lowest first."""
    encoded = bytearray()
    while number > 0x7F:
        encoded.append(number & 0x7F | 0x80)
        number >>= 7
    return bytes([*encoded, number])


def string(value: bytes) -> bytes:
    """A value of String, also a column's name and type."""
    return leb128(len(value)) + value


def block(types: Sequence[str], *rows: bytes, names: Sequence[str] = ("text", "size")) -> bytes:
    """What a worker is sent for a block: ClickHouse's header, the columns' names and types, and the rows."""
    header = leb128(len(types)) + b"".join(string(one.encode()) for one in (*names[: len(types)], *types))
    return b"%d\n" % len(rows) + header + b"".join(rows)


def texts(*values: bytes | None) -> bytes:
    """A block of one column of ``String``, or of ``Nullable(String)`` where a value is None."""
    if None not in values:
        return block(["String"], *(string(one or b"") for one in values))
    return block(["Nullable(String)"], *(b"\1" if one is None else b"\0" + string(one) for one in values))


def vectors(output: bytes) -> list[tuple[float, ...]]:
    """The vectors of a block's answer: a column called ``embedding`` of ``Array(Float32)``."""
    assert output.startswith(ANSWER)
    output = output[len(ANSWER) :]
    found: list[tuple[float, ...]] = []
    while output:
        size, output = _number(output)
        found.append(struct.unpack_from(f"<{size}f", output))
        output = output[4 * size :]
    return found


def _number(encoded: bytes) -> tuple[int, bytes]:
    number = length = 0
    while True:
        number |= (encoded[length] & 0x7F) << 7 * length
        length += 1
        if encoded[length - 1] < 0x80:
            return number, encoded[length:]
