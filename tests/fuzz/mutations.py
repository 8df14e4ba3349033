"""New cases from old ones: what a careless or a hostile hand would change."""

from __future__ import annotations

import random
import struct
import zlib
from collections.abc import Sequence

_NUMBERS = (0, 1, 2, 7, 8, 127, 128, 255, 256, 32_767, 32_768, 65_535, 65_536, 2**31 - 1, 2**31, 2**32 - 1)
_PNG = b"\x89PNG\r\n\x1a\n"
MAX_BYTES = 1 << 18


def mutated(chosen: random.Random, corpus: Sequence[bytes]) -> bytes:
    """A case from ``corpus`` with one to six changes, or, now and then, bytes from nowhere."""
    if chosen.random() < 0.05:
        return chosen.randbytes(chosen.randint(0, 2000))
    content = bytearray(chosen.choice(corpus)[:MAX_BYTES])
    for _ in range(chosen.randint(1, 6)):
        chosen.choice(_CHANGES)(chosen, content, corpus)
    if content.startswith(_PNG) and chosen.random() < 0.7:
        _mend_png(content)
    return bytes(content)


def _flip(chosen: random.Random, content: bytearray, corpus: Sequence[bytes]) -> None:
    if content:
        content[_place(chosen, content)] ^= 1 << chosen.randrange(8)


def _number(chosen: random.Random, content: bytearray, corpus: Sequence[bytes]) -> None:
    form = chosen.choice((">B", "<H", ">H", "<I", ">I"))
    size = struct.calcsize(form)
    if len(content) >= size:
        start = min(_place(chosen, content), len(content) - size)
        content[start : start + size] = struct.pack(form, chosen.choice(_NUMBERS) % (1 << 8 * size))


def _cut(chosen: random.Random, content: bytearray, corpus: Sequence[bytes]) -> None:
    del content[_place(chosen, content) :]


def _remove(chosen: random.Random, content: bytearray, corpus: Sequence[bytes]) -> None:
    start = _place(chosen, content)
    del content[start : start + chosen.randint(1, 64)]


def _repeat(chosen: random.Random, content: bytearray, corpus: Sequence[bytes]) -> None:
    start = _place(chosen, content)
    piece = content[start : start + chosen.randint(1, 512)] * chosen.randint(1, 20)
    content[start:start] = piece[:MAX_BYTES]


def _insert(chosen: random.Random, content: bytearray, corpus: Sequence[bytes]) -> None:
    start = _place(chosen, content)
    content[start:start] = chosen.randbytes(chosen.randint(1, 32))


def _splice(chosen: random.Random, content: bytearray, corpus: Sequence[bytes]) -> None:
    other = chosen.choice(corpus)[:MAX_BYTES]
    content[_place(chosen, content) :] = other[_place(chosen, other) :]


_CHANGES = (_flip, _flip, _number, _number, _number, _cut, _remove, _repeat, _insert, _splice)


def _place(chosen: random.Random, content: Sequence[int]) -> int:
    # What matters most of a file is at its start.
    limit = len(content) if chosen.random() < 0.5 else min(len(content), 200)
    return chosen.randrange(limit) if limit else 0


def _mend_png(content: bytearray) -> None:
    """Correct the checksums, or every changed chunk would be refused for the same reason."""
    start = len(_PNG)
    while start + 12 <= len(content):
        (size,) = struct.unpack_from(">I", content, start)
        end = start + 8 + size
        if end + 4 > len(content):
            return
        struct.pack_into(">I", content, end, zlib.crc32(content[start + 4 : end]))
        start = end + 4
