"""The tokenizer as a table gives the tokens of the ``tokenizers`` package, without which a query's few texts do."""

from __future__ import annotations

import json
import random
from pathlib import Path

import pytest
from tokenizers import Tokenizer as Package

from clip_installer import resources
from clip_udfs.bundle import Bundle
from clip_udfs.errors import BundleError
from clip_udfs.manifest import TOKENIZER
from clip_udfs.text.merges import Merges, write_merges
from clip_udfs.text.tokenizer import Tokenizer

SHIPPED = Bundle.open(resources.builtin_models() / "emoji")  # with the whole vocabulary of OpenAI's CLIP
FILE = SHIPPED.file(TOKENIZER)
LETTERS = "aeintshrd's 1.,!"
RANGES = ((32, 127), (0xA0, 0x600), (0x4E00, 0x9FFF), (0x1F300, 0x1F700), (0x20, 0xD000))


@pytest.fixture(scope="module")
def table(tmp_path_factory: pytest.TempPathFactory) -> Path:
    target = tmp_path_factory.mktemp("table") / "merges.bin"
    assert write_merges(FILE, target)
    return target


@pytest.fixture(scope="module")
def package() -> Package:
    return Package.from_file(str(FILE))


def random_texts(words: list[str]) -> list[str]:
    choose = random.Random(5)
    known = [" ".join(choose.sample(words, 6)) for _ in range(1000)]
    typed = ["".join(choose.choices(LETTERS, k=choose.randrange(60))) for _ in range(1000)]
    any_characters = [
        "".join(chr(choose.randrange(*choose.choice(RANGES))) for _ in range(choose.randrange(40))) for _ in range(1000)
    ]
    return ["", " ", *known, *typed, *any_characters]


def test_the_tokens_are_those_of_the_package(table: Path, package: Package) -> None:
    merges = Merges(table)
    words = [word.removesuffix("</w>") for word in package.get_vocab()]
    texts = random_texts(words)
    theirs = package.encode_batch_fast(texts, add_special_tokens=False)
    for text, wanted in zip(texts, theirs, strict=True):
        assert merges.ids(text) == wanted.ids, text
    for word in words[::7]:
        assert merges.ids(word) == package.encode(word, add_special_tokens=False).ids, word


def test_an_overlong_word_is_left_to_the_package(table: Path) -> None:
    """Its merges are looked for one by one, which a hostile text could make slow."""
    assert Merges(table).ids("x" * 65) is None
    assert Merges(table).ids("x" * 64) is not None


def test_few_texts_need_no_package_and_many_do(table: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    few = ["a cat", "<end_of_text"], ["naïve — café"]
    others = ["a cat"] * 65, ["cat " * 2000], ["x" * 65], ["a <end_of_text> b"]
    parsed = Tokenizer(FILE, SHIPPED.manifest.text)
    for texts in few:
        tokenizer = Tokenizer(FILE, SHIPPED.manifest.text, Merges(table))
        monkeypatch.setattr(Tokenizer, "_of_many", None)
        found = tokenizer(texts)
        monkeypatch.undo()
        assert found == parsed(texts)
    for texts in others:
        tokenizer = Tokenizer(FILE, SHIPPED.manifest.text, Merges(table))
        monkeypatch.setattr(Merges, "ids", lambda self, text: None)
        found = tokenizer(texts)
        monkeypatch.undo()
        assert found == parsed(texts)


def test_a_tokenizer_that_is_removed_meanwhile_is_still_read(table: Path, tmp_path: Path) -> None:
    """An upgrade removes the files of workers that still run."""
    copy = tmp_path / TOKENIZER
    copy.write_bytes(FILE.read_bytes())
    tokenizer = Tokenizer(copy, SHIPPED.manifest.text, Merges(table), SHIPPED.manifest.files[TOKENIZER])
    copy.unlink()
    assert tokenizer(["a cat"] * 65)[64] == tokenizer(["a cat"])[0]


def test_a_tokenizer_that_is_altered_before_it_is_read_is_refused(table: Path, tmp_path: Path) -> None:
    copy = tmp_path / TOKENIZER
    copy.write_bytes(FILE.read_bytes())
    tokenizer = Tokenizer(copy, SHIPPED.manifest.text, Merges(table), SHIPPED.manifest.files[TOKENIZER])
    copy.write_bytes(copy.read_bytes().replace(b"cat", b"dog"))
    with pytest.raises(BundleError, match=r"tokenizer\.json was altered after this worker started"):
        tokenizer._of_many(["a cat"])


@pytest.mark.parametrize(
    "change",
    [
        {"normalizer": {"type": "Lowercase"}},
        {"added_tokens": [{"id": 1, "content": "x"}]},
        {"pre_tokenizer": None},
        {"model": {"type": "Unigram", "vocab": []}},
        {"model": {"type": "BPE", "vocab": {"a": 0, "b": 1}, "merges": ["a b"]}},
        {"model": {"type": "BPE", "vocab": {"a": 0, "b": 1, "ab": 2}, "merges": [["a", "b"]], "unk_token": "a"}},
        {"model": []},
    ],
    ids=lambda change: next(iter(change)),
)
def test_a_tokenizer_that_does_more_than_a_table_has_none(tmp_path: Path, change: dict[str, object]) -> None:
    model = {"type": "BPE", "vocab": {"a": 0, "b": 1, "ab": 2}, "merges": [["a", "b"]]}
    file, target = tmp_path / TOKENIZER, tmp_path / "merges.bin"
    file.write_text(json.dumps({"pre_tokenizer": {"type": "Whitespace"}, "model": model}))
    assert write_merges(file, target)
    assert Merges(target).ids("ab a") == [2, 0]
    target.unlink()
    file.write_text(json.dumps({"pre_tokenizer": {"type": "Whitespace"}, "model": model} | change))
    assert not write_merges(file, target)
    assert not target.exists()


@pytest.mark.parametrize("damage", [b"", b"[]\n", b"{}\n", b'{"entries": 2, "words": null}\n' + bytes(8)])
def test_a_damaged_table_is_refused(tmp_path: Path, damage: bytes) -> None:
    (tmp_path / "merges.bin").write_bytes(damage)
    with pytest.raises(BundleError, match="is not a table of merges"):
        Merges(tmp_path / "merges.bin")
