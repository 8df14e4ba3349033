"""Texts to token ids, equal to open_clip's tokenizers.

The bundle's ``tokenizer.json`` is a byte-level BPE of the ``tokenizers`` package; cleaning is open_clip's: mojibake
repair (ftfy), HTML entities twice, white space, then what the model was trained with (lower case, or canonical form).
"""

from __future__ import annotations

import html
import string
from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from tokenizers import Tokenizer as BpeTokenizer

from clip_udfs.bundle import TextManifest
from clip_udfs.errors import BundleError

_PUNCTUATION = str.maketrans("", "", string.punctuation)


def _basic(text: str) -> str:
    if text.isascii() and text.isprintable() and "&" not in text:
        return text.strip()  # nothing that ftfy or an entity could change
    import ftfy

    return html.unescape(html.unescape(ftfy.fix_text(text))).strip()


def clean_lower(text: str) -> str:
    """Repair, collapse white space, lower case: the cleaning of OpenAI's CLIP."""
    return " ".join(_basic(text).split()).lower()


def clean_whitespace(text: str) -> str:
    """Repair and collapse white space, keep the case."""
    return " ".join(_basic(text).split())


def clean_canonicalize(text: str) -> str:
    """Repair, drop ASCII punctuation, lower case: the cleaning of SigLIP's ancestors in big_vision."""
    return " ".join(_basic(text).replace("_", " ").translate(_PUNCTUATION).lower().split())


CLEANERS: dict[str, Callable[[str], str]] = {
    "lower": clean_lower,
    "whitespace": clean_whitespace,
    "canonicalize": clean_canonicalize,
}


class Tokenizer:
    """Turns texts into the id sequences that the text tower was trained on."""

    def __init__(self, file: Path, manifest: TextManifest) -> None:
        """Load ``tokenizer.json`` from ``file``.

        Raises:
            BundleError: The file is not a tokenizer, or the manifest names a cleaning that is not known.
        """
        try:
            self._bpe = BpeTokenizer.from_file(str(file))
        except Exception as error:  # the package raises bare Exception
            raise BundleError(f"{file} is not a tokenizer: {error}") from error
        if manifest.clean not in CLEANERS:
            raise BundleError(f"the bundle asks for text cleaning {manifest.clean!r}; known: {', '.join(CLEANERS)}")
        self._clean = CLEANERS[manifest.clean]
        self._manifest = manifest
        self._special = {"<start_of_text>": manifest.start_id, "<end_of_text>": manifest.end_id}

    def __call__(self, texts: Sequence[str]) -> list[list[int]]:
        """Token ids of each text, with start and end token, cut to the context length as open_clip cuts.

        Args:
            texts: Any texts; '' gives start and end token alone.

        Returns:
            One list of at most ``context_length`` ids per text.
        """
        manifest = self._manifest
        cleaned = [self._clean(text) for text in texts]
        encodings = self._bpe.encode_batch_fast(cleaned, add_special_tokens=False)
        room = manifest.context_length - 2
        return [
            [
                manifest.start_id,
                *(self._with_specials(text) if "_of_text>" in text else encoding.ids)[:room],
                manifest.end_id,
            ]
            for text, encoding in zip(cleaned, encodings, strict=True)
        ]

    def _with_specials(self, text: str) -> list[int]:
        """Ids of a text that spells out a special token, which open_clip then takes for that token."""
        ids: list[int] = []
        for piece, _ in self._bpe.pre_tokenizer.pre_tokenize_str(text):
            special = self._special.get(piece)
            if special is None:
                ids.extend(token.id for token in self._bpe.model.tokenize(piece))
            else:
                ids.append(special)
        return ids

    def pad(self, sequences: Sequence[Sequence[int]]) -> NDArray[np.int64]:
        """One matrix of a batch: cut at its longest text where the tower allows, else the full context length.

        Returns:
            int64, shape (texts, length), filled up with the padding id.
        """
        manifest = self._manifest
        length = max(map(len, sequences)) if manifest.trim else manifest.context_length
        batch = np.full((len(sequences), length), manifest.pad_id, np.int64)
        for row, sequence in zip(batch, sequences, strict=True):
            row[: len(sequence)] = sequence
        return batch
