"""Untrusted JSON: limited in size and depth, each value checked as it is read.

An impossible value is reported in one line that names the file, the key and the value; no content of a file causes a
traceback.
"""

from __future__ import annotations

import json
import math
import re
from collections.abc import Callable, Sequence
from typing import Any, NoReturn, TypeVar

from clip_udfs.errors import ClipUdfError, printable

MOST_BYTES = 8 << 20
MOST_DEPTH = 16
_SHOWN = 60
_MISSING: Any = object()
_Found = TypeVar("_Found")


class Document:
    """A JSON object of a file; its methods return the value of a key, or raise the error that it was given."""

    def __init__(self, values: dict[str, Any], where: str, error: type[ClipUdfError]) -> None:
        """Wrap ``values``, found at ``where``: the file, and the keys that lead to them."""
        self._values = values
        self._where = where
        self._error = error

    @classmethod
    def parse(
        cls, content: bytes, where: str, error: type[ClipUdfError], *, most: int = MOST_BYTES, depth: int = MOST_DEPTH
    ) -> Document:
        """Parse a JSON object.

        Args:
            content: The file's bytes.
            where: What messages call it.
            error: What to raise if anything is wrong with it.
            most: Largest number of bytes.
            depth: Largest number of nested objects and lists.
        """
        if len(content) > most:
            raise error(f"{where} has more than {most} bytes")
        try:
            values = json.loads(content, object_pairs_hook=_unique, parse_constant=_no_constant)
        except RecursionError as problem:
            raise error(f"{where} is nested more than {depth} levels deep") from problem
        except ValueError as problem:
            raise error(f"{where} is not JSON: {printable(str(problem))}") from problem
        if _is_deeper(values, depth):
            raise error(f"{where} is nested more than {depth} levels deep")
        if not isinstance(values, dict):
            raise error(f"{where} is not a JSON object")
        return cls(values, where, error)

    def plain(self) -> dict[str, Any]:
        """The object as a plain dictionary, its values unchecked."""
        return dict(self._values)

    def only(self, *known: str) -> None:
        """Refuse every key but ``known``."""
        for key in self._values:
            if key not in known:
                self.refuse(f"has the unknown key {_shown(key)}")

    def raw(self, key: str, default: Any = _MISSING) -> Any:
        """The value of ``key``, unchecked."""
        value = self._values.get(key, default)
        if value is _MISSING:
            self.refuse(f"lacks the key {key!r}")
        return value

    def text(
        self, key: str, default: str = _MISSING, *, most: int = 4096, pattern: str | None = None, line: bool = False
    ) -> str:
        """A text of at most ``most`` characters that matches ``pattern``, if given; ``line``: printable."""
        value = self.raw(key, default)
        if not isinstance(value, str):
            self._wrong(key, value, "a text")
        if len(value) > most:
            self._wrong(key, value, f"at most {most} characters")
        if pattern is not None and not re.fullmatch(pattern, value):
            self._wrong(key, value, f"of the form {pattern}")
        # Half a surrogate pair cannot be written to a file or a terminal.
        if any(map(_is_half_a_pair, value)) or (line and not value.isprintable()):
            self._wrong(key, value, "printable text")
        return str(value)

    def choice(self, key: str, among: Sequence[str], default: str = _MISSING) -> str:
        """One of the texts ``among``."""
        value = self.text(key, default)
        if value not in among:
            self._wrong(key, value, f"one of {', '.join(among)}")
        return value

    def integer(self, key: str, low: int, high: int, default: int = _MISSING) -> int:
        """A whole number from ``low`` to ``high``."""
        value = self.raw(key, default)
        if not isinstance(value, int) or isinstance(value, bool) or not low <= value <= high:
            self._wrong(key, value, f"a whole number from {low} to {high}")
        return int(value)

    def number(self, key: str, low: float, high: float) -> float:
        """A number from ``low`` to ``high``."""
        return self._number(key, self.raw(key), low, high)

    def flag(self, key: str) -> bool:
        """True or false."""
        value = self.raw(key)
        if not isinstance(value, bool):
            self._wrong(key, value, "true or false")
        return value

    def numbers(self, key: str, count: int, low: float, high: float) -> tuple[float, ...]:
        """A list of ``count`` numbers from ``low`` to ``high``."""
        values = self.items(key, count)
        if len(values) != count:
            self._wrong(key, values, f"a list of {count} numbers")
        return tuple(self._number(key, value, low, high) for value in values)

    def texts(self, key: str, most: int, default: Sequence[str] = _MISSING, *, length: int = 4096) -> tuple[str, ...]:
        """A list of at most ``most`` texts of at most ``length`` characters each."""
        values = self.items(key, most, default)
        for value in values:
            if not isinstance(value, str) or len(value) > length:
                self._wrong(key, value, f"a text of at most {length} characters")
        return tuple(values)

    def items(self, key: str, most: int, default: Any = _MISSING) -> Sequence[Any]:
        """A list of at most ``most`` values, unchecked."""
        values = self.raw(key, default)
        if not isinstance(values, (list, tuple)) or len(values) > most:
            self._wrong(key, values, f"a list of at most {most}")
        return values

    def objects(self, key: str, most: int, default: Any = _MISSING) -> list[Document]:
        """A list of at most ``most`` objects."""
        return [self._object(f"{key}[{number}]", value) for number, value in enumerate(self.items(key, most, default))]

    def object(self, key: str, default: Any = _MISSING) -> Document:
        """An object."""
        return self._object(key, self.raw(key, default))

    def mapping(
        self, key: str, most: int, read: Callable[[Document, str], _Found], default: Any = _MISSING
    ) -> dict[str, _Found]:
        """An object of at most ``most`` keys, each read with ``read(object, key)``."""
        inner = self.object(key, default)
        if len(inner._values) > most:
            self.refuse(f"has more than {most} entries in {key!r}")
        return {name: read(inner, name) for name in inner._values}

    def refuse(self, problem: str) -> NoReturn:
        """Raise this document's error with ``problem``."""
        raise self._error(printable(f"{self._where} {problem}"))

    def _object(self, key: str, value: Any) -> Document:
        if not isinstance(value, dict):
            self._wrong(key, value, "an object")
        return Document(value, f"{self._where}, {key}:", self._error)

    def _number(self, key: str, value: Any, low: float, high: float) -> float:
        if not isinstance(value, (int, float)) or isinstance(value, bool) or not low <= value <= high:
            self._wrong(key, value, f"a number from {low:g} to {high:g}")
        if not math.isfinite(value):
            self._wrong(key, value, "a finite number")
        return value

    def _wrong(self, key: str, value: Any, expected: str) -> NoReturn:
        self.refuse(f"has {key} = {_shown(value)}, expected {expected}")


def _shown(value: Any) -> str:
    shown = printable(ascii(value) if isinstance(value, (bytes, float)) else json.dumps(value, default=str))
    return shown if len(shown) <= _SHOWN else f"{shown[:_SHOWN]}…"


def _is_deeper(value: Any, most: int) -> bool:
    """Whether ``value`` is nested more than ``most`` levels deep."""
    level = [value]
    for _ in range(most + 1):
        level = [
            inner
            for one in level
            if isinstance(one, (dict, list))
            for inner in (one.values() if isinstance(one, dict) else one)
        ]
        if not level:
            return False
    return True


def _unique(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    values = dict(pairs)
    if len(values) != len(pairs):
        raise ValueError("a key is there twice")
    if any(_is_half_a_pair(character) for key in values for character in key):
        raise ValueError("a key has half of a surrogate pair, which no file can hold")
    return values


def _is_half_a_pair(character: str) -> bool:
    return "\ud800" <= character <= "\udfff"


def _no_constant(name: str) -> NoReturn:
    raise ValueError(f"{name} is not a number of JSON")
