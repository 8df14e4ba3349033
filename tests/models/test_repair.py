"""Long and hostile texts: the same tokens as open_clip's, if it produces any, and quickly."""

from __future__ import annotations

import random
from pathlib import Path

import open_clip
import pytest

from clip_udfs.bundle import Bundle
from clip_udfs.errors import ValueRefused
from clip_udfs.text import mojibake
from clip_udfs.text.repair import repaired
from clip_udfs.text.tokenizer import CLEANERS, Tokenizer

PIECES = (
    "\n",
    "\n\n",
    " ",
    "cat",
    "é",
    "Ã©",
    "&amp;",
    "&nbsp;",
    "&#10;",
    "<b>",
    "\x01",
    "…",
    "\r",
    "\u2018x\u2019",
    "ﬁ",
    "a" * 50,
)


@pytest.fixture(scope="module")
def tokenizer(tiny_bundle: Path) -> Tokenizer:
    bundle = Bundle.open(tiny_bundle)
    return Tokenizer(bundle.file("tokenizer.json"), bundle.manifest.text)


def theirs(text: str) -> list[int]:
    ids = open_clip.get_tokenizer("ViT-B-32")([text])[0].tolist()
    return ids[: ids.index(49407) + 1]


@pytest.mark.parametrize("seed", range(12))
def test_a_long_text_of_many_lines_has_open_clips_tokens(tokenizer: Tokenizer, seed: int) -> None:
    """It is cut after the last word that can matter, and repeated lines are repaired once."""
    chosen = random.Random(seed)
    pieces = chosen.sample(PIECES, 8)
    text = "".join(chosen.choices(pieces, k=40_000 // (1 + sum(map(len, pieces)) // 8)))[:40_000]
    assert tokenizer([text]) == [theirs(text)]


@pytest.mark.parametrize("line", ["&nbsp;\n", "\x01\n", "<p>\n", "_\n", "\u200b\n", "&amp;nbsp;\n"])
def test_lines_that_leave_nothing_do_not_hide_the_words_behind_them(tokenizer: Tokenizer, line: str) -> None:
    text = line * 3000 + "a black cat"
    assert tokenizer([text]) == [theirs(text)]


def test_without_a_limit_the_repair_is_all_of_ftfy_and_html() -> None:
    import html

    import ftfy

    chosen = random.Random(1)
    for _ in range(200):
        text = "".join(chosen.choices(PIECES, k=60))
        assert repaired(text) == html.unescape(html.unescape(ftfy.fix_text(text))).strip(), repr(text)


@pytest.mark.parametrize("text", ["\n" * (1 << 20), "\x01\n" * (1 << 19), "é\n" * 350_000], ids=["\\n", "\\x01", "é"])
def test_a_mebibyte_of_short_lines_is_repaired_line_by_line_only_once(
    tokenizer: Tokenizer, text: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """ftfy takes thirty microseconds for each line: half a minute."""
    calls = 0
    real = mojibake.repaired_line

    def counted(text: str, work: mojibake.Work, *, entities: bool) -> str:
        nonlocal calls
        calls += 1
        return real(text, work, entities=entities)

    monkeypatch.setattr(mojibake, "repaired_line", counted)
    assert len(tokenizer([text])[0]) in (2, 77)
    assert calls <= 2


def test_what_a_library_cannot_read_is_refused_and_leaves_the_others_alone(tokenizer: Tokenizer) -> None:
    cat, number, lines, dog = tokenizer.attempt(
        ["cat", "&#" + "1" * 5000 + ";", "".join(f"\x01{chr(0x300 + n)}\n" for n in range(25_000)), "dog"]
    )
    assert [cat, dog] == tokenizer(["cat", "dog"])
    assert isinstance(number, ValueRefused)
    assert "ValueError" in str(number)
    assert isinstance(lines, ValueRefused) or lines == theirs("".join(f"\x01{chr(0x300 + n)}\n" for n in range(9000)))


@pytest.mark.parametrize("name", CLEANERS)
def test_each_cleaning_cuts_only_what_its_tokenizer_would_cut(name: str) -> None:
    text = "é …\n" * 10_000 + "cat"
    whole, cut = CLEANERS[name](text, 0), CLEANERS[name](text, 150)
    assert whole.startswith(cut)
    assert len(cut.split()) >= 150
