"""Folders as Hugging Face's hub has them, made here: a small tokenizer of each kind, a small text tower's config."""

from __future__ import annotations

import json
from collections.abc import Iterator
from io import BytesIO
from pathlib import Path
from typing import Any

SENTENCE = "a photo of cat dog snow red heart the quick brown fox jumps over lazy 12 345 it's café"
WORDS = tuple(SENTENCE.split())
SCRIPTS = ("猫と犬", "一只在雪地里的猫", "привет мир", "안녕 하세요", "नमस्ते", "مرحبا", "Straße ÜBER naïve", "ΟΔΟΣ")

# The files that transformers turns into a fast tokenizer, by the class that reads them.
SENTENCEPIECE = {
    "T5Tokenizer": ("spiece.model", {"pad_id": 0, "eos_id": 1, "unk_id": 2, "bos_id": -1}),
    "XLMRobertaTokenizer": ("sentencepiece.bpe.model", {}),
    "NllbTokenizer": ("sentencepiece.bpe.model", {"model_type": "bpe"}),
}
SIZES = {"hidden_size": 32, "num_hidden_layers": 2, "num_attention_heads": 2, "intermediate_size": 64}
VOCABULARY = 700


def tokenizer_folder(folder: Path, kind: str, **options: Any) -> Path:
    """Make ``folder`` with a tokenizer of the class ``kind``; ``options`` go into its configuration."""
    folder.mkdir()
    options["tokenizer_class"] = kind
    (folder / "tokenizer_config.json").write_text(json.dumps(options))
    if kind == "BertTokenizer":
        (folder / "vocab.txt").write_text("\n".join(_word_pieces()), encoding="utf-8")
    elif kind == "RobertaTokenizer":
        _write_byte_pairs(folder)
    else:
        name, settings = SENTENCEPIECE[kind]
        (folder / name).write_bytes(_sentencepiece(**settings))
    return folder


def text_tower_folder(folder: Path, kind: str) -> Path:
    """Add the configuration of a small text tower of the type ``kind`` to ``folder``."""
    if kind == "mt5":
        config = {"d_model": 32, "d_kv": 16, "d_ff": 64, "num_layers": 2, "num_heads": 2, "is_encoder_decoder": True}
    elif kind == "m2m_100":
        config = {"d_model": 32, "is_encoder_decoder": True, "pad_token_id": 1}
        for part in ("encoder", "decoder"):
            config |= {f"{part}_layers": 2, f"{part}_attention_heads": 2, f"{part}_ffn_dim": 64}
    else:
        config = {**SIZES, "pad_token_id": 0 if kind == "bert" else 1}
    config |= {"model_type": kind, "vocab_size": VOCABULARY}
    (folder / "config.json").write_text(json.dumps(config))
    return folder


def corpus() -> Iterator[str]:
    """Sentences that a small tokenizer is trained on."""
    for start in range(len(WORDS)):
        yield " ".join(WORDS[start:] + WORDS[:start])
    yield from SCRIPTS


def _sentencepiece(model_type: str = "unigram", **settings: Any) -> bytes:
    from sentencepiece import SentencePieceTrainer

    model = BytesIO()
    SentencePieceTrainer.train(
        sentence_iterator=corpus(),
        model_writer=model,
        vocab_size=180,
        model_type=model_type,
        hard_vocab_limit=False,
        minloglevel=2,
        **settings,
    )
    return model.getvalue()


def _word_pieces() -> list[str]:
    letters = sorted(set("".join(corpus()).lower()) - {" "})
    return ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]", *letters, *(f"##{one}" for one in letters), *WORDS[:8]]


def _write_byte_pairs(folder: Path) -> None:
    from tokenizers import ByteLevelBPETokenizer

    pairs = ByteLevelBPETokenizer()
    specials = ["<s>", "<pad>", "</s>", "<unk>", "<mask>"]
    pairs.train_from_iterator(corpus(), vocab_size=400, special_tokens=specials, show_progress=False)
    pairs.save_model(str(folder))
