"""The repair of a line: ftfy's, step for step, with an amount of work that no text can inflate."""
# ruff: noqa: RUF001 - wrongly decoded texts are what is tested

from __future__ import annotations

import random
import unicodedata

import ftfy
import pytest

from clip_udfs.errors import ValueRefused
from clip_udfs.text.mojibake import Work, composed, repaired_line

# What ftfy has a step for, wrongly decoded in one way or another.
PIECES = (
    "Ã", "ƒ", "Â", "©", "â€™", "â", "€", "™", "\xa0", " ", "é", "中", "&amp;", "amp;", "&", "lt;", "&eacute;", "&#128;",
    "\x85", "\x93", "ﬁ", "Ａ", "\u0300", "\u0327", "\u0f73", "\u0344", "í\xa0½í¸\x80", "À\x80", "\xed", "\ufffd",
    "\x1a", "quela", "Ã ", "ÃƒÂ©", "â€œ", "ð\x9f", "\x98", "ðŸ˜€", "\ud83d", "\ude00", "\x1b[1m", "“", "\r\n",
    "РџСЂ", "√©", "ï»¿", "x",
)  # fmt: skip
SIZE = 1 << 17


def halves(first: str, second: str) -> str:
    """A text of 128 KiB: one piece many times, then another."""
    return "a" + first * (SIZE // 2 // len(first.encode())) + second * (SIZE // 2 // len(second.encode()))


class Counted(Work):
    """Counts the steps, and on how many characters they were."""

    def __init__(self, characters: int) -> None:
        super().__init__(characters)
        self.steps, self.characters = 0, 0

    def charge(self, characters: int) -> None:
        self.steps, self.characters = self.steps + 1, self.characters + characters
        super().charge(characters)


@pytest.mark.parametrize("entities", [True, False])
def test_a_line_is_repaired_as_by_ftfy(entities: bool) -> None:
    chosen = random.Random(1)
    config = ftfy.TextFixerConfig(explain=False, unescape_html=entities)
    for _ in range(400):
        text = "".join(chosen.choices(chosen.sample(PIECES, chosen.randint(1, 8)), k=chosen.randint(1, 30)))
        expected = ftfy.fix_and_explain(text, config).text
        assert repaired_line(text, Work(len(text)), entities=entities) == expected, repr(text)


def test_a_caption_that_was_escaped_twenty_times_is_repaired() -> None:
    text = "cats &" + "amp;" * 20 + " dogs"
    assert repaired_line(text, Work(len(text)), entities=True) == "cats & dogs"


@pytest.mark.parametrize(
    "text",
    [
        "&" + "amp;" * (SIZE // 4),
        "&" + "#38;" * (SIZE // 4),
        halves("Ã", "ƒ"),
        "Ã" + "ƒ" * (SIZE // 2),
        "中" + halves("ÃƒÆ’", "ƒ"),
    ],
    ids=["escaped", "escaped by number", "wrongly decoded", "wrongly decoded once", "wrongly decoded in part"],
)
def test_a_text_that_would_be_repaired_a_character_at_a_time_is_refused(text: str) -> None:
    """ftfy takes as many rounds as there are characters: a day for a MiB."""
    work = Counted(len(text))
    with pytest.raises(ValueRefused, match="too many times over to be repaired"):
        repaired_line(text, work, entities=True)
    assert work.steps < 100
    assert work.characters < 15 * len(text)


@pytest.mark.parametrize(("first", "second"), [("\u0300", "\u0327"), ("\u0344", "\u0f73"), ("\u0f73", "\u0f73")])
def test_marks_in_the_wrong_order_are_put_in_order(first: str, second: str) -> None:
    """In any number: the standard library moves each mark past all others, ten minutes for a MiB."""
    few = "é" + first * 40 + "b" + first * 50 + second * 50 + first + "c"
    assert composed(few) == unicodedata.normalize("NFC", few)
    many = composed(halves(first, second))
    assert many == unicodedata.normalize("NFC", many)
