"""Texts to token ids, equal to open_clip's tokenizers.

The bundle's ``tokenizer.json`` is a tokenizer of the ``tokenizers`` package: open_clip's byte-level BPE, or one of
Hugging Face's, sentencepiece among them. Cleaning is open_clip's: mojibake repair (ftfy), HTML entities twice, white
space, then what the model was trained with (lower case, or canonical form).
"""

from __future__ import annotations

import re
import string
import weakref
from collections.abc import Callable, Iterator, Sequence
from functools import cached_property
from hashlib import sha256
from pathlib import Path
from typing import TypeVar

import numpy as np
from numpy.typing import NDArray
from tokenizers import Tokenizer as TokensOfText

from clip_udfs.errors import BundleError, ValueRefused, one_line
from clip_udfs.manifest import FileRecord, TextManifest
from clip_udfs.text.merges import Merges
from clip_udfs.text.repair import ANY_WORD, WORD, repaired

_Result = TypeVar("_Result")
# For more texts at a time, or longer ones, parsing tokenizer.json pays off.
_FEW_TEXTS, _FEW_CHARACTERS = 64, 4096


def clean_lower(text: str, limit: int = 0, word: re.Pattern[str] = WORD) -> str:
    """Repair, collapse white space, lower case: the cleaning of OpenAI's CLIP."""
    return " ".join(repaired(text, limit, word).split()).lower()


def clean_whitespace(text: str, limit: int = 0, word: re.Pattern[str] = WORD) -> str:
    """Repair and collapse white space, keep the case."""
    return " ".join(repaired(text, limit, word).split())


def clean_canonicalize(text: str, limit: int = 0, word: re.Pattern[str] = WORD) -> str:
    """Repair, drop ASCII punctuation, lower case: the cleaning of SigLIP's ancestors in big_vision."""
    return " ".join(repaired(text, limit, word).replace("_", " ").translate(_PUNCTUATION).lower().split())


_PUNCTUATION = str.maketrans("", "", string.punctuation)
CLEANERS: dict[str, Callable[[str, int, re.Pattern[str]], str]] = {
    "lower": clean_lower,
    "whitespace": clean_whitespace,
    "canonicalize": clean_canonicalize,
}


class Tokenizer:
    """Turns texts into the id sequences that the text tower was trained on."""

    def __init__(
        self, file: Path, manifest: TextManifest, merges: Merges | None = None, record: FileRecord | None = None
    ) -> None:
        """Load ``tokenizer.json`` from ``file``.

        Args:
            file: The file.
            manifest: How texts become token ids.
            merges: The table of the same tokenizer. With it, the file is opened now but read only for many texts at a
                time, perhaps never.
            record: The file's record, checked if it is read later.

        Raises:
            BundleError: The file is not a tokenizer, or the manifest names an unknown cleaning or framing.
        """
        self._file = file
        self._record = record if merges is not None else None
        self._merges = merges
        # Held open, because an upgrade may have removed it by the time it is needed.
        self._opened = file.open("rb")
        weakref.finalize(self, self._opened.close)
        if merges is None:
            _ = self._tokens
        framings = {"clip": self._of_clip, "template": self._of_template, "clips": self._of_clips}
        for what, name, known in (("cleaning", manifest.clean, CLEANERS), ("framing", manifest.framing, framings)):
            if name not in known:
                raise BundleError(f"the bundle asks for text {what} {name!r}; known: {', '.join(known)}")
        self._clean = CLEANERS[manifest.clean]
        self._framed = framings[manifest.framing]
        # open_clip's own tokenizer makes a token of every word, whatever it consists of, unless punctuation is dropped.
        self._word = ANY_WORD if manifest.framing == "clip" and manifest.clean != "canonicalize" else WORD
        self._manifest = manifest
        self._special = {"<start_of_text>": manifest.start_id, "<end_of_text>": manifest.end_id}
        if manifest.framing == "template":
            self._tokens.enable_truncation(manifest.context_length)

    @cached_property
    def _tokens(self) -> TokensOfText:
        """The tokenizer of the ``tokenizers`` package, read on first use.

        Raises:
            BundleError: The file is not a tokenizer, or does not match its record.
        """
        with self._opened as opened:
            content = opened.read()
        if self._record is not None and sha256(content).hexdigest() != self._record.sha256:
            raise BundleError(f"{self._file} was altered after this worker started: run install-udfs --force")
        try:
            tokens = TokensOfText.from_buffer(content)
        except Exception as error:  # the package raises bare Exception
            raise BundleError(f"{self._file} is not a tokenizer: {error}") from error
        self._merges = None
        return tokens

    def __call__(self, texts: Sequence[str]) -> list[list[int]]:
        """Token ids of each text, framed, and cut to the context length as in open_clip.

        Args:
            texts: Any texts; '' gives only the start and end token.

        Returns:
            One list of at most ``context_length`` ids per text.

        Raises:
            ValueRefused: A library fails on one of the texts, as it does in open_clip.
        """
        found = self.attempt(texts)
        for one in found:
            if isinstance(one, ValueRefused):
                raise one
        return found  # type: ignore[return-value]

    def attempt(self, texts: Sequence[str]) -> list[list[int] | ValueRefused]:
        """Like a call, but if a library fails on a text, its refusal takes the place of its ids."""
        cleaned = [self._attempt(self._cleaned, text) for text in texts]
        whole = [text for text in cleaned if isinstance(text, str)]
        try:
            framed: Iterator[list[int] | ValueRefused] = iter(self._framed(whole))
        except Exception:  # from the tokenizers package, which does not say for which text
            framed = iter([self._attempt(self._alone, text) for text in whole])
        return [next(framed) if isinstance(text, str) else text for text in cleaned]

    @staticmethod
    def _attempt(step: Callable[[str], _Result], text: str) -> _Result | ValueRefused:
        try:
            return step(text)
        except ValueRefused as refused:
            return refused
        except Exception as error:
            return ValueRefused(f"the text cannot be read ({type(error).__name__}: {one_line(error)})")

    def _cleaned(self, text: str) -> str:
        # Words beyond the context give tokens that are cut off; twice as many are kept, to be on the safe side.
        return self._clean(text, 2 * self._manifest.context_length, self._word)

    def _alone(self, text: str) -> list[int]:
        return self._framed([text])[0]

    def _of_clip(self, cleaned: list[str]) -> list[list[int]]:
        """Framed by open_clip's ``SimpleTokenizer``."""
        manifest = self._manifest
        room = manifest.context_length - 2
        few = self._of_few(cleaned)
        found = self._of_many(cleaned) if few is None else few
        return [[manifest.start_id, *ids[:room], manifest.end_id] for ids in found]

    def _of_few(self, cleaned: list[str]) -> list[list[int]] | None:
        """The tokens of a query's few texts without the ``tokenizers`` package; None if the package should do it."""
        many = len(cleaned) > _FEW_TEXTS or sum(map(len, cleaned)) > _FEW_CHARACTERS
        if self._merges is None or many or any("_of_text>" in text for text in cleaned):
            return None
        found = [self._merges.ids(text) for text in cleaned]
        return None if None in found else found  # type: ignore[return-value]

    def _of_many(self, cleaned: list[str]) -> list[list[int]]:
        encodings = self._tokens.encode_batch_fast(cleaned, add_special_tokens=False)
        return [
            self._with_specials(text) if "_of_text>" in text else encoding.ids
            for text, encoding in zip(cleaned, encodings, strict=True)
        ]

    def _of_template(self, cleaned: list[str]) -> list[list[int]]:
        """Framed and cut by the tokenizer's own template, as in open_clip's ``HFTokenizer``."""
        encodings = self._tokens.encode_batch_fast(cleaned, add_special_tokens=True)
        blank = self._manifest.blank_id
        if blank < 0:
            return [encoding.ids for encoding in encodings]
        return [[0 if token == blank else token for token in encoding.ids] for encoding in encodings]

    def _of_clips(self, cleaned: list[str]) -> list[list[int]]:
        """Framed as by the mode ``clips`` of open_clip's ``HFTokenizer``: padding, then a last token."""
        manifest = self._manifest
        encodings = self._tokens.encode_batch_fast(cleaned, add_special_tokens=False)
        framed = []
        for encoding in encodings:
            ids = [manifest.start_id, *encoding.ids[: manifest.context_length - 3], manifest.end_id]
            ids += [manifest.pad_id] * (manifest.context_length - 1 - len(ids))
            framed.append([*ids, manifest.last_id])
        return framed

    def _with_specials(self, text: str) -> list[int]:
        """Ids of a text that spells out a special token, which open_clip treats as that token."""
        ids: list[int] = []
        for piece, _ in self._tokens.pre_tokenizer.pre_tokenize_str(text):
            special = self._special.get(piece)
            if special is None:
                ids.extend(token.id for token in self._tokens.model.tokenize(piece))
            else:
                ids.append(special)
        return ids

    def padded(self, tokens: int) -> int:
        """Length to which a batch is padded whose longest text has ``tokens`` tokens."""
        return max(2, tokens) if self._manifest.trim else self._manifest.context_length

    def pad(self, sequences: Sequence[Sequence[int]]) -> NDArray[np.int64]:
        """A batch as one matrix: as long as its longest text if the tower allows, otherwise of the full context length.

        Returns:
            int64, shape (texts, length), padded with the padding id.
        """
        length = max(self.padded(len(sequence)) for sequence in sequences)
        batch = np.full((len(sequences), length), self._manifest.pad_id, np.int64)
        for row, sequence in zip(batch, sequences, strict=True):
            row[: len(sequence)] = sequence
        return batch
