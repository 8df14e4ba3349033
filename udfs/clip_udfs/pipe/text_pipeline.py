"""From a stream of texts to a stream of vectors, in order, in bounded memory."""

from __future__ import annotations

import time
from collections import OrderedDict
from collections.abc import Iterator, Mapping, Sequence

import numpy as np
from numpy.typing import NDArray

from clip_udfs.encoders import Encoder
from clip_udfs.errors import ValueRefused, shown
from clip_udfs.pipe.pipeline import RowRefused, refusal
from clip_udfs.pipe.scheduler import Scheduler
from clip_udfs.pipe.vectors import Vectors, checked_vectors
from clip_udfs.pipe.wire import Value
from clip_udfs.text.tokenizer import Tokenizer

# Texts that are tokenized, sorted and answered together.
TEXT_WINDOW = 1024
# Bytes of text from which on a window is full: a tokenized text takes up to a hundred times its size.
WINDOW_BYTES = 1 << 20
# Seconds of encoding after which texts are answered: ClickHouse gives a worker up that is silent for
# ``command_read_timeout``. The second number is the tokens for each thread that are encoded before the speed is known.
ANSWER_SECONDS, FIRST_TOKENS = 5, 1024
# Texts whose lengths differ by less are sorted by their tokens, so that those with a common beginning, which the engine
# computes once, meet in a batch; lengths further apart would make it attend to padding.
LENGTH_STEP = 4
# Tokens a batch holds for each of its rows at most: longer texts go in smaller batches, which are as quick a token and
# do not make the engine's memory that of a whole batch of the longest texts.
TOKENS_PER_ROW = 16


class TextPipeline:
    """Texts: repeated ones once, batches of similar length and beginning, recent ones from memory."""

    def __init__(
        self,
        tokenizer: Tokenizer,
        encoder: Encoder,
        *,
        dimension: int,
        strict: bool,
        normalize: bool,
        batch: int,
        cache: int,
    ) -> None:
        """Encode ``batch`` texts at a time and remember the vectors of the last ``cache`` different ones."""
        self._tokenizer = tokenizer
        self._dimension = dimension
        self._strict = strict
        self._normalize = normalize
        self._batch = batch
        self._scheduler = Scheduler(encoder)
        self._capacity = cache
        self._cache: OrderedDict[str, NDArray[np.float32]] = OrderedDict()
        self._part_tokens = float(FIRST_TOKENS * encoder.parallel_batches)

    def encode(self, values: Iterator[Value]) -> Iterator[Vectors]:
        """See :class:`Pipeline`."""
        row = 1
        for window in _windows(values):
            texts = [self._text(value, row + index) for index, value in enumerate(window)]
            known = self._remembered(texts)
            missing = [text for text in dict.fromkeys(texts) if text is not None and text not in known]
            found = dict(zip(missing, self._tokenizer.attempt(missing), strict=True)) if missing else {}
            tokens = {text: ids for text, ids in found.items() if not isinstance(ids, ValueRefused)}
            texts = [self._accepted(text, found.get(text or ""), row + index) for index, text in enumerate(texts)]
            for part in self._parts(texts, tokens):
                self._encode_part({text: tokens[text] for text in part if text in tokens and text not in known}, known)
                present = np.array([text is not None for text in part])
                matrix = np.zeros((len(part), self._dimension), np.float32)
                if present.any():
                    matrix[present] = [known[text] for text in part if text is not None]
                yield Vectors(matrix, present)
            row += len(window)

    def _text(self, value: Value, row: int) -> str | None:
        if isinstance(value, bytes):
            return value.decode("utf-8", "replace")
        if self._strict:
            raise RowRefused(row, refusal(value))
        return None

    def _accepted(self, text: str | None, found: Sequence[int] | ValueRefused | None, row: int) -> str | None:
        if text is None or not isinstance(found, ValueRefused):
            return text
        if self._strict:
            raise RowRefused(row, f"{shown(text)}: {found}") from found
        return None

    def _remembered(self, texts: Sequence[str | None]) -> dict[str, NDArray[np.float32]]:
        known: dict[str, NDArray[np.float32]] = {}
        for text in texts:
            if text is not None and (vector := self._cache.get(text)) is not None:
                self._cache.move_to_end(text)
                known[text] = vector
        return known

    def _parts(self, texts: Sequence[str | None], tokens: Mapping[str, Sequence[int]]) -> Iterator[list[str | None]]:
        """Consecutive texts that take about ANSWER_SECONDS to encode; each text counts once."""
        part: list[str | None] = []
        counted: set[str] = set()
        size = 0
        for text in texts:
            part.append(text)
            if text is not None and text in tokens and text not in counted:
                counted.add(text)
                size += self._tokenizer.padded(len(tokens[text]))
            if size >= self._part_tokens:
                yield part
                part, size = [], 0
        if part:
            yield part

    def _encode_part(self, wanted: Mapping[str, Sequence[int]], known: dict[str, NDArray[np.float32]]) -> None:
        """Add the vectors of the texts in ``wanted`` to ``known``, and learn how quick the model is."""
        if not wanted:
            return
        started = time.monotonic()
        missing, tokens = list(wanted), list(wanted.values())
        alike = sorted(range(len(missing)), key=lambda index: (-(-len(tokens[index]) // LENGTH_STEP), tokens[index]))
        batches = list(self._batches(alike, tokens))
        padded = (self._tokenizer.pad([tokens[index] for index in chosen]) for chosen in batches)
        for chosen, vectors in zip(batches, self._scheduler.encoded(padded, len(batches)), strict=True):
            for index, vector in zip(chosen, checked_vectors(vectors, self._dimension, self._normalize), strict=True):
                known[missing[index]] = vector
        self._remember(missing, known)
        size = sum(self._tokenizer.padded(len(ids)) for ids in tokens)
        seconds = max(time.monotonic() - started, 1e-3)
        self._part_tokens = max(self._batch * TOKENS_PER_ROW, size / seconds * ANSWER_SECONDS)

    def _batches(self, alike: Sequence[int], tokens: Sequence[Sequence[int]]) -> Iterator[list[int]]:
        chosen: list[int] = []
        longest = 0
        for index in alike:
            length = self._tokenizer.padded(len(tokens[index]))
            longest = max(longest, length)
            full = len(chosen) == self._batch or (len(chosen) + 1) * longest > self._batch * TOKENS_PER_ROW
            if chosen and full:
                yield chosen
                chosen, longest = [], length
            chosen.append(index)
        if chosen:
            yield chosen

    def _remember(self, texts: Sequence[str], vectors: dict[str, NDArray[np.float32]]) -> None:
        if self._capacity == 0:
            return
        for text in texts[-self._capacity :]:
            self._cache[text] = vectors[text].copy()  # a view would keep the whole batch alive
        while len(self._cache) > self._capacity:
            self._cache.popitem(last=False)


def _windows(values: Iterator[Value]) -> Iterator[list[Value]]:
    window: list[Value] = []
    size = 0
    for value in values:
        window.append(value)
        size += len(value) if isinstance(value, bytes) else 0
        if len(window) == TEXT_WINDOW or size >= WINDOW_BYTES:
            yield window
            window, size = [], 0
    if window:
        yield window
