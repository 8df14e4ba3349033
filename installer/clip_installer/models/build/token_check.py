"""Checks, during a build, that a bundle's tokenizer produces open_clip's token ids for difficult texts."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

from clip_installer.errors import ModelError
from clip_installer.models.build.source.model import SourceModel
from clip_udfs.manifest import TextManifest
from clip_udfs.text.tokenizer import Tokenizer

TEXTS = (
    "",
    " ",
    "A photo of a cat, isn't it? 12,345.67",
    "<s> <pad> </s> [CLS] [SEP] <unk> <start_of_text> <end_of_text>x",
    "&lt;b&gt; &amp;amp;lt; caf\u00c3\u00a9 \u00e2\u20ac\u2122 \ufb01 \u017ft \u0130stanbul e\u0301 \ufffd",
    "\u3000\uff21\uff22\uff23 \uff11\uff12\uff13 \u00bd \u00b3 \u2167\t\ttwice\n",
    "\u732b\u3068\u72ac \uc548\ub155 \u0928\u092e\u0938\u094d\u0924\u0947 \u0e2a\u0e27\u0e31\u0e2a\u0e14\u0e35 "
    "\u0645\u0631\u062d\u0628\u0627 \u041f\u0440\u0438\u0432\u0435\u0442 \u039f\u0394\u039f\u03a3",
    "\u2581 \u2581\u2581 \u200b\u00ad\u200d \x00 \x1c",
    "\U0001f469\u200d\U0001f469\u200d\U0001f467 \U0001f1eb\U0001f1f7 \u2665\ufe0f",
    "http://example.org/a_b.jpg?x=1&y=%20 #tag @name DON'T they'll ''",
    "x" * 300,
    "\u732b" * 300,
    *("word " * count for count in range(5, 100, 5)),
)


def check_tokens(source: SourceModel, file: Path, manifest: TextManifest) -> None:
    """Compare the ids of :data:`TEXTS`, padded to the context length, with open_clip's.

    Raises:
        ModelError: The ids of a text differ; the message quotes it.
    """
    tokenizer = Tokenizer(file, replace(manifest, trim=False))
    ours, theirs = tokenizer.pad(tokenizer(TEXTS)), source.tokenizer(list(TEXTS)).numpy()
    for text, equal in zip(TEXTS, (ours == theirs).all(axis=1), strict=True):
        if not equal:
            raise ModelError(
                f"the tokenizer in the bundle does not equal open_clip's for {text[:40]!r}; nothing was written"
            )
