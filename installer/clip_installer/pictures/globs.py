"""Patterns of file names, as a shell with ``globstar`` reads them, over bytes: names need not be UTF-8."""

from __future__ import annotations

import re

_SPECIAL = re.compile(rb"[*?\[{]")


def is_glob(path: bytes) -> bool:
    """Whether ``path`` contains a pattern character."""
    return _SPECIAL.search(path) is not None


def fixed_part(pattern: bytes) -> bytes:
    """The directories of ``pattern`` before the first one with a pattern character."""
    fixed = pattern[: match.start()] if (match := _SPECIAL.search(pattern)) else pattern
    return fixed.rpartition(b"/")[0] or b"/"


def deepest(pattern: bytes) -> int | None:
    """How many directories below :func:`fixed_part` a match can be; None if ``**`` allows any number."""
    if b"**" in pattern:
        return None
    return pattern[len(fixed_part(pattern)) :].strip(b"/").count(b"/")


def compiled(pattern: bytes) -> re.Pattern[bytes]:
    """The pattern as a regular expression for ``fullmatch``.

    ``*`` and ``?`` match anything but ``/``; ``**`` also matches ``/``, and ``**/`` may match nothing. ``[a-z]``,
    ``[!a-z]`` and ``{jpg,png}`` are supported. An unclosed bracket matches itself.
    """
    return re.compile(_translated(pattern), re.DOTALL)


def _translated(pattern: bytes) -> bytes:
    written: list[bytes] = []
    place = 0
    while place < len(pattern):
        rest = pattern[place:]
        if rest.startswith(b"**/"):
            written.append(b"(?:[^/]+/)*")
            place += 3
        elif rest.startswith(b"**"):
            written.append(b".*")
            place += 2
        elif rest.startswith(b"*"):
            written.append(b"[^/]*")
            place += 1
        elif rest.startswith(b"?"):
            written.append(b"[^/]")
            place += 1
        elif found := re.match(rb"\[(!?)(\]?[^\]/]*)\]", rest, re.DOTALL):
            inside = re.sub(rb"[\[\]\\&~|^]", rb"\\\g<0>", found[2])
            written.append(b"[" + (b"^/" if found[1] else b"") + inside + b"]")
            place += found.end()
        elif found := re.match(rb"\{([^{}]*)\}", rest, re.DOTALL):
            written.append(b"(?:" + b"|".join(_translated(one) for one in found[1].split(b",")) + b")")
            place += found.end()
        else:
            written.append(re.escape(rest[:1]))
            place += 1
    return b"".join(written)
