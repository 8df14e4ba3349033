"""open_clip's tokenizer as a ``tokenizer.json`` of the ``tokenizers`` package."""

from __future__ import annotations

from functools import cache
from pathlib import Path
from typing import Any

from clip_installer.errors import ModelError
from clip_udfs.bundle import TextManifest

_CLEANING = {
    "_clean_lower": "lower",
    "_clean_whitespace": "whitespace",
    "_clean_canonicalize": "canonicalize",
}


def write_tokenizer(tokenizer: Any, path: Path, *, trim: bool) -> TextManifest:
    """Write ``tokenizer`` (open_clip's ``SimpleTokenizer``) to ``path`` and describe how to use it.

    Args:
        tokenizer: The tokenizer that open_clip gives for the model.
        path: Where ``tokenizer.json`` goes.
        trim: Whether the text tower allows padding to be cut off.

    Raises:
        ModelError: The tokenizer is of another kind, or reduces long texts in a way of its own.
    """
    from tokenizers import Regex, Tokenizer
    from tokenizers.models import BPE
    from tokenizers.pre_tokenizers import ByteLevel, Sequence, Split

    kind = type(tokenizer).__name__
    if kind != "SimpleTokenizer":
        raise ModelError(
            f"the model's text tower uses a {kind}; only models with open_clip's own tokenizer can be built"
        )
    if tokenizer.reduction_fn is not None:
        raise ModelError("the model's tokenizer shortens long texts by a reduction mask, which a bundle cannot express")
    clean = _CLEANING.get(tokenizer.clean_fn.__name__)
    if clean is None:
        raise ModelError(f"the model's tokenizer cleans texts by {tokenizer.clean_fn.__name__}, which is not known")
    bpe = Tokenizer(
        BPE(
            vocab=tokenizer.encoder,
            merges=list(tokenizer.bpe_ranks),
            end_of_word_suffix="</w>",
            fuse_unk=False,
        )
    )
    bpe.pre_tokenizer = Sequence(
        [Split(Regex(_pieces()), "removed", invert=True), ByteLevel(add_prefix_space=False, use_regex=False)]
    )
    bpe.save(str(path), pretty=False)
    return TextManifest(
        clean=clean,
        context_length=tokenizer.context_length,
        start_id=tokenizer.sot_token_id,
        end_id=tokenizer.eot_token_id,
        pad_id=0,
        trim=trim,
    )


def _pieces() -> str:
    r"""open_clip's pattern of words, spelled out as code point ranges.

    ``\p{L}`` under IGNORECASE is not the same set in the ``regex`` package as in the regular expressions of
    ``tokenizers``: their Unicode versions and case folding differ. Asking ``regex`` once about every code point settles
    it for good.
    """
    special = "|".join(_any_case(text) for text in ("<start_of_text>", "<end_of_text>"))
    endings = "|".join(_any_case(text) for text in ("'s", "'t", "'re", "'ve", "'m", "'ll", "'d"))
    letters, number, other = (_ranges(kind) for kind in (r"[\p{L}]", r"[\p{N}]", r"[^\s\p{L}\p{N}]"))
    return f"{special}|{endings}|[{letters}]+|[{number}]|[{other}]+"


def _any_case(text: str) -> str:
    import regex

    return "".join(f"[{_ranges(regex.escape(character))}]" for character in text)


@cache
def _ranges(pattern: str) -> str:
    """The code points that match ``pattern`` in ``regex`` under IGNORECASE, as the inside of a character class."""
    import regex

    matched = sorted(map(ord, regex.findall(pattern, _all_characters(), regex.IGNORECASE)))
    runs: list[tuple[int, int]] = []
    for code in matched:
        if runs and code == runs[-1][1] + 1:
            runs[-1] = runs[-1][0], code
        else:
            runs.append((code, code))
    return "".join(f"\\x{{{first:x}}}-\\x{{{last:x}}}" for first, last in runs)


@cache
def _all_characters() -> str:
    return "".join(chr(code) for code in range(0x110000) if not 0xD800 <= code < 0xE000)
