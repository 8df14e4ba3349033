"""New cases from old ones: what a careless or a hostile hand would change."""

from __future__ import annotations

import json
import random
import struct
import zlib
from collections.abc import Sequence
from copy import deepcopy
from typing import Any

_NUMBERS = (0, 1, 2, 7, 8, 127, 128, 255, 256, 32_767, 32_768, 65_535, 65_536, 2**31 - 1, 2**31, 2**32 - 1)
_PNG = b"\x89PNG\r\n\x1a\n"
MAX_BYTES = 1 << 18
# What a document's value may be exchanged for: wrong types, numbers at an end, paths elsewhere, escapes of a terminal.
_VALUES: tuple[Any, ...] = (
    *(None, True, False, 0, -1, 1, 2**31, 2**63, 10**400, 0.5, 1e308, "", [], {}, [[]], [{}], [None], {"": None}),
    *("/", "/etc/shadow", "..", "../x", "./x", "//", "/etc/../etc/x_function.xml", "~", "a" * 5000, "x/" * 300),
    *("\x1b[2J", "\0", "\ud800", "\u202e", "a\nb", "NaN", "0" * 64, "f" * 64, "manifest.json", "replaced"),
    *("file", "link", "link to a directory", "second name", "pipe", "directory", "absent"),
)


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


def mutated_json(chosen: random.Random, corpus: Sequence[bytes]) -> bytes:
    """A document from ``corpus`` with one to four values or keys exchanged; now and then with changed bytes as well."""
    values = json.loads(chosen.choice(corpus))
    for _ in range(chosen.choice((1, 1, 1, 2, 4))):
        _exchange(chosen, values)
    content = json.dumps(values).encode()
    return mutated(chosen, [content]) if chosen.random() < 0.2 else content


def _exchange(chosen: random.Random, values: Any) -> None:
    place = values
    while True:
        keys = list(place) if isinstance(place, dict) else list(range(len(place)))
        if not keys:
            return
        key = chosen.choice(keys)
        inner = place[key]
        if not (isinstance(inner, (dict, list)) and inner) or chosen.random() < 0.15:
            break
        place = inner
    change = chosen.random()
    if change < 0.1:
        del place[key]
    elif change < 0.2 and isinstance(place, dict):
        place[str(chosen.choice(_VALUES))[:300]] = place.pop(key)
    elif change < 0.3 and isinstance(place, list):
        place.append(deepcopy(inner))
    elif change < 0.35:
        place[key] = _nested(chosen.choice((20, 60)), inner)
    elif change < 0.5 and isinstance(inner, str) and inner:
        place[key] = mutated(chosen, [inner.encode("utf-8", "surrogatepass")]).decode("utf-8", "surrogateescape")
    else:
        place[key] = deepcopy(chosen.choice(_VALUES))  # a later change must not reach the constant


def _nested(depth: int, inner: Any) -> Any:
    """``inner`` in so many lists: more than a document may have, and few enough to be copied and written here."""
    for _ in range(depth):
        inner = [inner]
    return inner


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
