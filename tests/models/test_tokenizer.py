"""Token sequences equal open_clip's: for every code point, and for strings of common trouble-makers."""

from __future__ import annotations

import os
import random
import unicodedata
from collections.abc import Iterator, Sequence
from itertools import islice
from pathlib import Path

import numpy as np
import open_clip
import pytest

from clip_udfs.bundle import Bundle
from clip_udfs.text.tokenizer import Tokenizer

# Of the strings, so many; make test takes a tenth of what the models' page speaks of.
STRINGS = int(os.environ.get("CLIP_UDFS_STRINGS", "20000"))
PIECES = (
    "cat",
    "dog's",
    "DON'T",
    "<start_of_text>",
    "!!<start_of_text>",
    "<END_OF_TEXT>x",
    "_of_text>",
    "&amp;",
    "&lt;b&gt;",
    "&amp;lt;",
    "\u2019s",
    "'S",
    "\u017f",
    "'\u017f",
    "\n",
    "\t",
    "\x00",
    "\x1c",
    "\u2026",
    "\ufb01",
    "\ufb06",
    "\u0130",
    "ß",
    "12",
    "½",
    "³",
    "猫",
    "😀",
    "👩\u200d👩\u200d👧",
    "e\u0301",
    "Ã©",
    "â€™",
    "\u3000",
    "http://x.y/z?a=b&c=d",
    "a" * 200,
    "_",
    "İstanbul",
    "\u01c5",
    "\u0345",
    "ΟΔΟΣ",
    "\ufffd",
    "'re",
    "'VE",
    "''",
    "\u200b",
    "\u00ad",
    "½'ll",
)


@pytest.fixture(scope="module")
def tokenizer(tiny_bundle: Path) -> Tokenizer:
    bundle = Bundle.open(tiny_bundle)
    return Tokenizer(bundle.file("tokenizer.json"), bundle.manifest.text)


def differing(tokenizer: Tokenizer, texts: Iterator[str]) -> tuple[int, list[str]]:
    reference = open_clip.get_tokenizer("ViT-B-32")
    compared = 0
    different: list[str] = []
    while batch := list(islice(texts, 2000)):
        compared += len(batch)
        wanted = reference(batch).numpy()
        ours = np.zeros_like(wanted)
        padded = tokenizer.pad(tokenizer(batch))
        ours[:, : padded.shape[1]] = padded
        different += [text for text, same in zip(batch, (ours == wanted).all(axis=1), strict=True) if not same]
    return compared, different


def test_every_code_point_of_unicode(tokenizer: Tokenizer) -> None:
    """All assigned ones and a sample of the others, each inside, at the end of, and beside words."""
    characters = [
        chr(code)
        for code in range(1, 0x110000)
        if not 0xD800 <= code < 0xE000 and (unicodedata.category(chr(code)) not in ("Co", "Cn") or code % 97 == 0)
    ]
    assert len(characters) > 140_000
    # Three to a text: as many as the context holds where each takes four tokens a time.
    threes = (characters[start : start + 3] for start in range(0, len(characters), 3))
    compared, different = differing(tokenizer, (" ".join(f"a{c}b {c}1{c}" for c in three) for three in threes))
    assert compared == -(-len(characters) // 3)
    assert different == []


def test_strings_of_awkward_pieces(tokenizer: Tokenizer) -> None:
    choose = random.Random(1)
    strings = (
        "".join(choose.choice(PIECES) + choose.choice(("", " ", "")) for _ in range(choose.randint(1, 9)))
        for _ in range(STRINGS)
    )
    compared, different = differing(tokenizer, strings)
    assert compared == STRINGS
    assert different == []


def test_a_text_longer_than_the_context_is_cut_as_open_clip_cuts(tokenizer: Tokenizer) -> None:
    def ids(text: str) -> Sequence[int]:
        return tokenizer([text])[0]

    assert len(ids("word " * 500)) == 77
    assert ids("word " * 500)[-1] == ids("")[-1]
    assert len(ids("")) == 2
    _, different = differing(tokenizer, iter(["word " * count for count in range(70, 80)]))
    assert different == []
