"""Writes open_clip's tokenizers as ``tokenizer.json`` for the ``tokenizers`` package."""

from __future__ import annotations

from functools import cache
from pathlib import Path
from typing import Any

from clip_installer.errors import ModelError
from clip_udfs.errors import one_line
from clip_udfs.manifest import TextManifest

_CLEANING = {
    "_clean_lower": "lower",
    "_clean_whitespace": "whitespace",
    "_clean_canonicalize": "canonicalize",
}


def write_tokenizer(tokenizer: Any, path: Path) -> TextManifest:
    """Write an open_clip tokenizer to ``path`` and describe how to use it, including padding.

    Args:
        tokenizer: open_clip's tokenizer for the model.
        path: Path of ``tokenizer.json``.

    Raises:
        ModelError: The tokenizer is of an unknown type, or does something that a bundle cannot express.
    """
    clean = _CLEANING.get(tokenizer.clean_fn.__name__)
    if clean is None:
        raise ModelError(
            f"the model's tokenizer cleans texts with {tokenizer.clean_fn.__name__}, which is not supported"
        )
    kind = type(tokenizer).__name__
    if kind == "SimpleTokenizer":
        return _write_simple(tokenizer, path, clean)
    if kind == "HFTokenizer":
        return _write_hugging_face(tokenizer, path, clean)
    raise ModelError(f"the model's text tower uses a {kind}, which is not supported")


def _write_simple(tokenizer: Any, path: Path, clean: str) -> TextManifest:
    """Write open_clip's own byte-level BPE."""
    from tokenizers import Regex, Tokenizer
    from tokenizers.models import BPE
    from tokenizers.pre_tokenizers import ByteLevel, Sequence, Split

    if tokenizer.reduction_fn is not None:
        raise ModelError(
            "the model's tokenizer drops tokens of long texts at random (reduction_mask), so a text would have no "
            "unique vector; remove reduction_mask from the model's configuration"
        )
    special = len(tokenizer.all_special_ids)
    if special != 2:
        raise ModelError(f"the model's tokenizer has {special} special tokens; a bundle supports two, start and end")
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
        trim=False,
    )


def _write_hugging_face(tokenizer: Any, path: Path, clean: str) -> TextManifest:
    """Write the fast tokenizer inside a ``transformers`` tokenizer, which runs no Python code of the model."""
    from tokenizers import Tokenizer

    theirs = tokenizer.tokenizer
    name = type(theirs).__name__
    try:
        ours = Tokenizer.from_str(theirs.backend_tokenizer.to_str())
    except Exception as error:  # the package raises bare Exception
        raise ModelError(
            f"the model's {name} has no fast version that runs without transformers: {one_line(error)}"
        ) from error
    if (theirs.padding_side, theirs.truncation_side) != ("right", "right"):
        raise ModelError(
            f"the model's {name} pads on the {theirs.padding_side} and truncates on the {theirs.truncation_side}; "
            "a bundle supports the right side only"
        )
    if theirs.pad_token_id is None:
        raise ModelError(f"the model's {name} has no padding token, which open_clip needs as well")
    ours.no_truncation()
    ours.no_padding()
    ours.save(str(path), pretty=False)
    if tokenizer.tokenizer_mode == "clips":
        ends = {"start_id": theirs.bos_token_id, "end_id": theirs.eos_token_id, "last_id": theirs.cls_token_id}
        if None in ends.values():
            raise ModelError(f"the model's {name} lacks a start, end or class token, which the mode 'clips' needs")
        return TextManifest(
            clean=clean,
            context_length=tokenizer.context_length,
            pad_id=theirs.pad_token_id,
            trim=False,
            framing="clips",
            **ends,
        )
    blank = theirs.sep_token_id if tokenizer.strip_sep_token else -1
    return TextManifest(
        clean=clean,
        context_length=tokenizer.context_length,
        start_id=-1,
        end_id=-1,
        pad_id=0 if theirs.pad_token_id == blank else theirs.pad_token_id,
        trim=False,
        framing="template",
        blank_id=blank,
    )


def _pieces() -> str:
    r"""open_clip's word pattern as explicit code point ranges.

    ``\p{L}`` under IGNORECASE matches different sets in the ``regex`` package and in ``tokenizers``: their Unicode
    versions and case folding differ. The ranges are those that ``regex`` matches, code point by code point.
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
    """The code points that ``pattern`` matches in ``regex`` under IGNORECASE, as the inside of a character class."""
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
