"""open_clip's tokenizer as a ``tokenizer.json`` of the ``tokenizers`` package."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from clip_installer.errors import ModelError
from clip_udfs.bundle import TextManifest

_CLEANING = {"_clean_lower": "lower", "_clean_whitespace": "whitespace", "_clean_canonicalize": "canonicalize"}


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
        raise ModelError(f"the model's text tower uses a {kind}; only models with open_clip's own tokenizer can be built")
    if tokenizer.reduction_fn is not None:
        raise ModelError("the model's tokenizer shortens long texts by a reduction mask, which a bundle cannot express")
    clean = _CLEANING.get(tokenizer.clean_fn.__name__)
    if clean is None:
        raise ModelError(f"the model's tokenizer cleans texts by {tokenizer.clean_fn.__name__}, which is not known")
    bpe = Tokenizer(
        BPE(vocab=tokenizer.encoder, merges=list(tokenizer.bpe_ranks), end_of_word_suffix="</w>", fuse_unk=False)
    )
    pattern = Regex("(?i)" + tokenizer.pat.pattern)
    bpe.pre_tokenizer = Sequence(
        [Split(pattern, "removed", invert=True), ByteLevel(add_prefix_space=False, use_regex=False)]
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
