"""A byte-level BPE tokenizer as a table mapped from a file, so that a worker's first texts need no parsing.

The ``tokenizers`` package takes a tenth of a second and some 25 MiB to read the merges of CLIP's tokenizer. It is then
fast, and used for many texts; a query's single text is tokenized with a few hundred look-ups in this table.

File: a line of JSON, padded with spaces to a multiple of eight bytes, then two arrays of 64-bit numbers in the
    machine's byte order, each ``entries`` long: the sorted keys, and the value of each. The key of a merge is a pair of
    tokens, its value the rank and the resulting token; the key of a symbol is a character, and whether a word ends
    with it.
"""

from __future__ import annotations

import json
import mmap
import struct
from bisect import bisect_left
from collections.abc import Iterator
from itertools import pairwise
from pathlib import Path
from typing import Any

from tokenizers import Tokenizer

from clip_udfs.errors import BundleError

_HALF = 32
_SYMBOL, _LAST_SYMBOL = 1 << 60, 1 << 61
_MOST_HEADER = 1 << 20
# Each merge of a word looks up all its pairs again.
_LONGEST_WORD = 64
_MOST_KNOWN = 10_000


class Merges:
    """The table of one tokenizer."""

    def __init__(self, file: Path) -> None:
        """Map the table at ``file``.

        Raises:
            BundleError: It is not one.
        """
        try:
            with file.open("rb") as opened:
                header = opened.readline(_MOST_HEADER)
                values = json.loads(header)
                count = int(values["entries"])
                mapped = memoryview(mmap.mmap(opened.fileno(), 0, access=mmap.ACCESS_READ))[len(header) :].cast("q")
            if len(mapped) != 2 * count:
                raise ValueError(f"it has {len(mapped)} numbers, not {2 * count}")
            empty = {"version": "1.0", "model": {"type": "BPE", "vocab": {}, "merges": []}, "added_tokens": []}
            self._words = Tokenizer.from_str(json.dumps(empty | {"pre_tokenizer": values["words"]})).pre_tokenizer
        except Exception as error:  # the package raises bare Exception
            raise BundleError(f"{file} is not a table of merges: {error}") from error
        self._keys, self._values = mapped[:count], mapped[count:]
        self._known: dict[str, tuple[int, ...]] = {}

    def ids(self, text: str) -> list[int] | None:
        """The tokens of ``text``, as the ``tokenizers`` package gives them; None for one with an overlong word."""
        found: list[int] = []
        for word, _ in self._words.pre_tokenize_str(text):
            if len(word) > _LONGEST_WORD:
                return None
            known = self._known.get(word)
            if known is None:
                if len(self._known) == _MOST_KNOWN:
                    self._known.clear()
                known = self._known[word] = tuple(self._merged(list(self._symbols(word))))
            found.extend(known)
        return found

    def _symbols(self, word: str) -> Iterator[int]:
        for place, character in enumerate(word, start=1):
            value = self._value(_symbol_key(character, last=place == len(word)))
            if value is not None:  # symbols without a token are dropped
                yield value

    def _merged(self, tokens: list[int]) -> list[int]:
        """``tokens`` after all merges: each time the one of lowest rank, and of several the leftmost."""
        while len(tokens) > 1:
            values = (self._value(_pair_key(*pair)) for pair in pairwise(tokens))
            ranked = [(value, place) for place, value in enumerate(values) if value is not None]
            if not ranked:
                break
            value, place = min(ranked)
            tokens[place : place + 2] = [value & ((1 << _HALF) - 1)]
        return tokens

    def _value(self, key: int) -> int | None:
        place = bisect_left(self._keys, key)
        return self._values[place] if place < len(self._keys) and self._keys[place] == key else None


def write_merges(tokenizer: Path, target: Path) -> bool:
    """Write the table of the tokenizer in ``tokenizer.json`` to ``target``; False if it cannot be a table.

    A table covers open_clip's own byte-level BPE and no more: no unknown token, no normalizer, no added tokens, and a
    distinct token for each merge.
    """
    values = json.loads(tokenizer.read_bytes())
    try:
        entries = _entries(values)
    except (AttributeError, KeyError, TypeError, ValueError):  # a tokenizer of another form
        entries = None
    if entries is None:
        return False
    header = json.dumps({"entries": len(entries), "words": values["pre_tokenizer"]}).encode()
    header += b" " * (-(len(header) + 1) % 8) + b"\n"
    keys = sorted(entries)
    numbers = struct.pack(f"={2 * len(keys)}q", *keys, *(entries[key] for key in keys))
    target.write_bytes(header + numbers)
    return True


def _entries(values: dict[str, Any]) -> dict[int, int] | None:
    """The table's values by their keys; None if the tokenizer does something that a table cannot."""
    model = values["model"]
    if model.get("type") != "BPE" or not values.get("pre_tokenizer"):
        return None
    unwanted = (
        *(values.get(name) for name in ("added_tokens", "normalizer", "post_processor")),
        *(model.get(name) for name in ("dropout", "unk_token", "continuing_subword_prefix", "byte_fallback")),
        model.get("ignore_merges"),
    )
    if any(unwanted):
        return None
    vocabulary, suffix = model["vocab"], model.get("end_of_word_suffix") or ""
    entries = {}
    for text, token in vocabulary.items():
        if len(text) == 1:
            entries[_symbol_key(text, last=False)] = token
            if not suffix:
                entries[_symbol_key(text, last=True)] = token
        elif suffix and len(text) == 1 + len(suffix) and text.endswith(suffix):
            entries[_symbol_key(text[0], last=True)] = token
    made = set()
    for rank, merge in enumerate(model["merges"]):
        left, right = merge.split(" ") if isinstance(merge, str) else merge
        token = vocabulary[left + right]
        made.add(token)
        entries[_pair_key(vocabulary[left], vocabulary[right])] = rank << _HALF | token
    return entries if len(made) == len(model["merges"]) else None


def _pair_key(left: int, right: int) -> int:
    return left << _HALF | right


def _symbol_key(character: str, *, last: bool) -> int:
    return (_LAST_SYMBOL if last else _SYMBOL) | ord(character)
