"""ftfy's repair of one line, step by step, with a bound on the work.

ftfy repeats its steps until nothing changes. A hostile line changes by one character each time: ``&amp;amp;amp;…``, or
``Ã`` followed by many ``ƒ``. A thousand such characters take a second, a MiB of them a day. So do marks in the wrong
order, which Python sorts by insertion. The steps here are those of ftfy 6 in the same order, with its own tables and
functions; only their number is bounded.
"""

from __future__ import annotations

import re
import unicodedata

from ftfy import chardata, fixes
from ftfy.badness import is_bad

from clip_udfs.errors import ValueRefused

# Real texts need four or five rounds. The reserve lets a short one have more.
_ROUNDS, _RESERVE = 10, 20_000
_COST_OF_STEP = 50  # what a step takes in any case, as a number of characters
_STEPS = (
    fixes.fix_c1_controls,
    fixes.fix_latin_ligatures,
    fixes.fix_character_width,
    fixes.uncurl_quotes,
    fixes.fix_line_breaks,
    fixes.fix_surrogates,
    fixes.remove_terminal_escapes,
    fixes.remove_control_chars,
)
# What Java and CESU-8 write differently from UTF-8: U+0000, and characters beyond U+FFFF as surrogate pairs.
_VARIANTS = re.compile(rb"\xc0\x80|\xed[\xa0-\xaf][\x80-\xbf]\xed[\xb0-\xbf][\x80-\xbf]")
# The only characters of class 0 whose decomposition begins with a mark, and what they decompose to.
_HIDDEN_MARKS = {0x0F73: "\u0f71\u0f72", 0x0F75: "\u0f71\u0f74", 0x0F81: "\u0f71\u0f80"}
_MANY_MARKS = re.compile(rb"[^\0]{33,}")


class Work:
    """How much more may be done for one text."""

    def __init__(self, characters: int) -> None:
        """Allow what a text of so many ``characters`` can need."""
        self._left = _ROUNDS * characters + _RESERVE

    def charge(self, characters: int) -> None:
        """Count a step on so many ``characters``.

        Raises:
            ValueRefused: It is one too many.
        """
        self._left -= characters + _COST_OF_STEP
        if self._left < 0:
            raise ValueRefused("the text was escaped or wrongly decoded too many times over to be repaired")


def repaired_line(text: str, work: Work, *, entities: bool) -> str:
    """``ftfy.fix_and_explain(text).text``; ``entities``: whether HTML entities are decoded.

    Raises:
        ValueRefused: It would take too long.
    """
    while True:
        before = text
        work.charge(len(text))
        if entities:
            text = fixes.unescape_html(text)
        text = _decoded(text, work, {})
        for step in _STEPS:
            text = step(text)
        text = composed(text)
        if text == before:
            return text


def composed(text: str) -> str:
    """Normal form C, in linear time."""
    if text.isascii():
        return text
    text = text.translate(_HIDDEN_MARKS)
    pieces: list[str] = []
    place = 0
    for run in _MANY_MARKS.finditer(bytes(map(unicodedata.combining, text))):
        pieces += [text[place : run.start()], *sorted(text[slice(*run.span())], key=unicodedata.combining)]
        place = run.end()
    return unicodedata.normalize("NFC", "".join([*pieces, text[place:]]))


def _decoded(text: str, work: Work, known: dict[str, str]) -> str:
    """``ftfy.fix_encoding``; ``known`` has the parts that were decoded before."""
    while True:
        before = text
        text = _decoded_once(text, work, known)
        if text == before:
            return text


def _decoded_once(text: str, work: Work, known: dict[str, str]) -> str:
    if text.isascii():
        return text
    work.charge(len(text))
    if not is_bad(text):
        return text
    possible = [encoding for encoding in chardata.CHARMAP_ENCODINGS if chardata.possible_encoding(text, encoding)]
    for encoding in possible:
        encoded = text.encode(encoding)
        if encoding != "macroman" and chardata.ALTERED_UTF8_RE.search(encoded):
            encoded = fixes.restore_byte_a0(encoded)
        if encoding.startswith("sloppy"):
            encoded = fixes.replace_lossy_sequences(encoded)
        try:
            return _VARIANTS.sub(_in_utf8, encoded).decode()
        except UnicodeDecodeError:
            continue
    parts = chardata.UTF8_DETECTOR_RE.sub(lambda part: _decoded_part(part[0], text, work, known), text)
    if parts != text:
        return parts
    if "latin-1" in possible:
        if "windows-1252" in possible:
            return text
        try:
            return text.encode("latin-1").decode("windows-1252")
        except UnicodeDecodeError:
            pass
    return fixes.fix_c1_controls(text)


def _decoded_part(part: str, text: str, work: Work, known: dict[str, str]) -> str:
    if len(part) == len(text):
        return part
    if part not in known:
        known[part] = _decoded(part, work, known) if is_bad(part) else part
    return known[part]


def _in_utf8(variant: re.Match[bytes]) -> bytes:
    if variant[0] == b"\xc0\x80":
        return b"\0"
    pair = variant[0].decode("utf-8", "surrogatepass")
    return pair.encode("utf-16", "surrogatepass").decode("utf-16").encode()
