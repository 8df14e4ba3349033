"""Hugging Face tokenizers: in a bundle, they produce the same ids as open_clip's own wrapper."""

from __future__ import annotations

import random
from pathlib import Path
from typing import Any

import pytest
from open_clip.tokenizer import HFTokenizer

from clip_installer.errors import ModelError
from clip_installer.models.build.tokenizer_file import write_tokenizer
from clip_udfs.manifest import TextManifest
from clip_udfs.text.tokenizer import Tokenizer
from tests.models.hub import SCRIPTS, WORDS, tokenizer_folder
from tests.models.test_tokenizer import PIECES

# Before 5.24, transformers hands the files of a vocabulary to a constructor that has long warned against it.
pytestmark = pytest.mark.filterwarnings("ignore:Deprecated in 0.9.0:DeprecationWarning")
KINDS: dict[str, dict[str, Any]] = {
    "T5Tokenizer": {"extra_ids": 0, "pad_token": "</s>"},
    "XLMRobertaTokenizer": {},
    "NllbTokenizer": {},
    "RobertaTokenizer": {},
    "BertTokenizer": {},
}
SPECIALS = ("</s>", "<s>", "<pad>", "[SEP]", "[CLS]", "[PAD]", "<unk>", "\u2581", "<extra_id_0>")
# Cleaning, context length, and what else open_clip's configurations pass; T5's has no separator to strip.
OPTIONS: dict[str, dict[str, Any]] = {
    "siglip": {"clean": "canonicalize", "context_length": 64},
    "short": {"clean": "whitespace", "context_length": 8},
    "clipa": {"clean": "lower", "context_length": 32, "strip_sep_token": True},
}


@pytest.fixture(autouse=True)
def offline(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")


def texts(count: int) -> list[str]:
    choose = random.Random(4)
    pieces = (*PIECES, *SPECIALS, *WORDS, *SCRIPTS)
    return [
        "".join(choose.choice(pieces) + choose.choice(("", " ", "  ")) for _ in range(choose.randint(0, 12)))
        for _ in range(count)
    ]


def carried(theirs: HFTokenizer, folder: Path) -> tuple[Tokenizer, TextManifest]:
    manifest = write_tokenizer(theirs, folder / "tokenizer.json")
    return Tokenizer(folder / "tokenizer.json", manifest), manifest


@pytest.mark.parametrize(
    ("kind", "options"),
    [(kind, options) for kind in KINDS for options in OPTIONS if (kind, options) != ("T5Tokenizer", "clipa")],
)
def test_no_token_sequence_differs(kind: str, options: str, tmp_path: Path) -> None:
    theirs = HFTokenizer(str(tokenizer_folder(tmp_path / "hub", kind, **KINDS[kind])), **OPTIONS[options])
    ours, _ = carried(theirs, tmp_path)
    sample = texts(3000)
    different = (ours.pad(ours(sample)) != theirs(sample).numpy()).any(axis=1)
    assert [text for text, differs in zip(sample, different, strict=True) if differs] == []


def test_the_mode_clips(tmp_path: Path) -> None:
    folder = tokenizer_folder(tmp_path / "hub", "BertTokenizer", bos_token="[unused1]", eos_token="[unused2]")
    theirs = HFTokenizer(str(folder), context_length=16, tokenizer_mode="clips")
    ours, manifest = carried(theirs, tmp_path)
    assert manifest.framing == "clips"
    sample = texts(500)
    assert (ours.pad(ours(sample)) == theirs(sample).numpy()).all()


def test_a_tokenizer_that_pads_at_the_left_is_refused(tmp_path: Path) -> None:
    folder = tokenizer_folder(tmp_path / "hub", "BertTokenizer", padding_side="left")
    with pytest.raises(
        ModelError, match="pads on the left and truncates on the right; a bundle supports the right side only"
    ):
        carried(HFTokenizer(str(folder)), tmp_path)


def test_a_mode_without_its_tokens_is_refused(tmp_path: Path) -> None:
    theirs = HFTokenizer(str(tokenizer_folder(tmp_path / "hub", "T5Tokenizer")), tokenizer_mode="clips")
    with pytest.raises(ModelError, match="lacks a start, end or class token, which the mode 'clips' needs"):
        carried(theirs, tmp_path)
