"""Text repair as open_clip does it (ftfy, then HTML entities twice), in a time that hostile texts cannot inflate.

ftfy repairs line by line and takes some thirty microseconds for each, however short: half a minute for a MiB of line
breaks. Here, lines that ftfy would not change are skipped, and a long text is cut where no model reads on. What is done
to a line is bounded by :mod:`clip_udfs.text.mojibake`.
"""

from __future__ import annotations

import re
from collections.abc import Iterator

from clip_udfs.errors import ValueRefused

# Printable ASCII without entities, which ftfy does not change.
_PLAIN_LINES = re.compile(r"[ -%'-~\n]*\n")
# What a word must contain for any tokenizer to make a token of it: a letter or digit. For some, any character will do.
WORD = re.compile(r"[^\W_]")
ANY_WORD = re.compile(r"")
# Texts of fewer characters are never cut.
_LONG = 16_384
# ftfy's max_decode_length.
_LONGEST_LINE = 1_000_000
_MOST_REPAIRS = 20_000


def repaired(text: str, limit: int = 0, word: re.Pattern[str] = WORD) -> str:
    """Repair mojibake and decode entities.

    Args:
        text: Any text.
        limit: Of a long text, whole lines are dropped after those that complete this many words; 0 drops none.
        word: What a word must contain for the tokenizer to make at least one token of it.

    Raises:
        ValueRefused: It has very many different lines that need repair and contain no words, or was escaped or wrongly
            decoded very many times over.
    """
    if text.isascii() and text.isprintable() and "&" not in text:
        return text.strip()  # nothing for ftfy or an entity to change
    limit = limit if len(text) > _LONG else 0
    found: list[str] = []
    words = 0
    for piece in _repaired_lines(text):
        found.append(piece)
        words += _words(_unescaped(piece), limit, word) if limit else 0
        if limit and words >= limit:
            break
    return _unescaped("".join(found)).strip()


def _unescaped(text: str) -> str:
    import html  # most texts need no repair, and the table of entities is long

    return html.unescape(html.unescape(text))


def _repaired_lines(text: str) -> Iterator[str]:
    """The segments of ``ftfy.fix_text``, with consecutive ones that need no repair in one piece."""
    from clip_udfs.text.mojibake import Work, repaired_line  # as above: importing ftfy takes time

    work, entities = Work(len(text)), True
    place = 0
    known: dict[tuple[str, bool], str] = {}
    while place < len(text):
        if (plain := _PLAIN_LINES.match(text, place)) is not None:
            segment = plain[0]
        else:
            end = text.find("\n", place) + 1 or len(text)
            segment = text[place : min(end, place + _LONGEST_LINE)]
        entities = entities and "<" not in segment  # as ftfy: from this line on, this is HTML
        if plain is not None:
            yield segment
        else:
            key = segment, entities
            if (repair := known.get(key)) is None:
                if len(known) == _MOST_REPAIRS:
                    raise ValueRefused(f"the text begins with {_MOST_REPAIRS} different lines without a word")
                repair = known[key] = repaired_line(segment, work, entities=entities)
            yield repair
        place += len(segment)


def _words(text: str, limit: int, word: re.Pattern[str]) -> int:
    """Number of words that contain ``word``, among the first few times ``limit``."""
    return sum(word.search(one) is not None for one in text.split(maxsplit=4 * limit)[: 4 * limit])
