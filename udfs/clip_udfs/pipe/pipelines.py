"""From a stream of row values to a stream of vectors, in order, in bounded memory: one pipeline per tower."""

from __future__ import annotations

import time
from collections import OrderedDict, deque
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from functools import partial
from itertools import islice
from typing import NamedTuple, Protocol

import numpy as np
from numpy.typing import NDArray

from clip_udfs.encoders import Encoder
from clip_udfs.errors import BlockOverrun, BundleError, ValueRefused, shown
from clip_udfs.images.budget import BlockBudget
from clip_udfs.pipe.wire import Oversized, Value, Vectors
from clip_udfs.text.tokenizer import Tokenizer

# Texts that are tokenized, sorted and answered together.
TEXT_WINDOW = 1024
# Bytes of text from which on a window is full: a tokenized text takes up to a hundred times its size.
WINDOW_BYTES = 1 << 20
# Seconds of encoding after which texts are answered: ClickHouse gives a worker up that is silent for
# ``command_read_timeout``. The second number is the tokens for each thread that are encoded before the speed is known.
ANSWER_SECONDS, FIRST_TOKENS = 5, 1024
# Bytes of pictures from which on no more are taken while they wait to be decoded.
AHEAD_BYTES = 64 << 20
# Texts whose lengths differ by less are sorted by their tokens, so that those with a common beginning, which the engine
# computes once, meet in a batch; lengths further apart would make it attend to padding.
LENGTH_STEP = 4
# Batches of a block from which on the engine is given as many as it takes at once, if that is not more: fewer are not
# worth what it loads for that the first time. The second number is less than the batches of a window of texts.
MANY_BATCHES, MOST_BATCHES = 8, 64
# Pictures that are decoded ahead of an engine that takes one batch at once; two batches where that is more, on a GPU.
AHEAD = 16
# Tokens a batch holds for each of its rows at most: longer texts go in smaller batches, which are as quick a token and
# do not make the engine's memory that of a whole batch of the longest texts.
TOKENS_PER_ROW = 16


class RowRefused(ValueRefused):
    """A row of a block that cannot be encoded, with its place."""

    def __init__(self, row: int, reason: str) -> None:
        """Name row ``row`` (counted from 1 in the block) and say which value it has and what is wrong with it."""
        super().__init__(f"row {row}: {reason}")


class Pipeline(Protocol):
    """Encodes the rows of one block."""

    def encode(self, values: Iterator[Value]) -> Iterator[Vectors]:
        """Vectors of all rows in order, in pieces, each as soon as it is done.

        Raises:
            RowRefused: A row cannot be encoded and the function is strict.
            EngineError: The engine failed.
            BundleError: The model's vectors are not of the dimension that its manifest says.
        """


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
        self._encoder = encoder
        self._dimension = dimension
        self._strict = strict
        self._normalize = normalize
        self._batch = batch
        self._engines = ThreadPoolExecutor(encoder.at_once, thread_name_prefix="engines")
        self._capacity = cache
        self._cache: OrderedDict[str, NDArray[np.float32]] = OrderedDict()
        self._tokens_at_once = float(FIRST_TOKENS * encoder.at_once)

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
            if size >= self._tokens_at_once:
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
        for chosen, vectors in zip(batches, self._encoded(padded, len(batches)), strict=True):
            for index, vector in zip(chosen, _finished(vectors, self._dimension, self._normalize), strict=True):
                known[missing[index]] = vector
        self._remember(missing, known)
        size = sum(self._tokenizer.padded(len(ids)) for ids in tokens)
        seconds = max(time.monotonic() - started, 1e-3)
        self._tokens_at_once = max(self._batch * TOKENS_PER_ROW, size / seconds * ANSWER_SECONDS)

    def _encoded(self, batches: Iterator[NDArray[np.int64]], count: int) -> Iterator[NDArray[np.float32]]:
        at_once = self._encoder.at_once
        if at_once == 1 or count < _many(at_once):
            return map(self._encoder.encode, batches)
        return self._engines.map(partial(self._encoder.encode, alone=False), batches)

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


class _Pending(NamedTuple):
    """A picture that is decoded, and the bytes that it has as a value."""

    pixels: Future[NDArray[np.uint8] | ValueRefused]
    size: int


class ImagePipeline:
    """Pictures: read and decoded in threads while the engine runs."""

    def __init__(
        self,
        load: Callable[[bytes], NDArray[np.uint8]],
        encoder: Encoder,
        *,
        dimension: int,
        strict: bool,
        normalize: bool,
        batch: int,
        threads: int,
        budget: BlockBudget,
    ) -> None:
        """Turn each value into pixels, uint8 (height, width, 3), with ``load`` in ``threads`` threads.

        ``load`` charges ``budget``, which begins again with each block.
        """
        self._budget = budget
        self._load = load
        self._encoder = encoder
        self._dimension = dimension
        self._strict = strict
        self._normalize = normalize
        self._batch = batch
        self._pool = ThreadPoolExecutor(threads, thread_name_prefix="decode")
        self._engine = ThreadPoolExecutor(1, thread_name_prefix="engine")
        self._engines = ThreadPoolExecutor(encoder.at_once, thread_name_prefix="engines")
        self._many = _many(encoder.at_once) * batch
        self._ahead = max(AHEAD, 2 * batch) if encoder.at_once == 1 else self._many

    def encode(self, values: Iterator[Value]) -> Iterator[Vectors]:
        """See :class:`Pipeline`.

        Rows of a few batches are held decoded or waiting, fewer of large ones: while some batches are encoded, the ones
        before are written and the next are decoded.
        """
        self._budget.restart()
        pending: deque[_Pending] = deque()
        encoded: deque[Future[Vectors]] = deque()
        alone = True
        row = 1
        try:
            while self._take_ahead(values, pending):
                alone = alone and (self._encoder.at_once == 1 or len(pending) < self._many)
                done = [_decoded(pending.popleft(), row + index) for index in range(min(self._batch, len(pending)))]
                engine = self._engine if alone else self._engines
                encoded.append(engine.submit(self._answer, done, row, alone=alone))
                row += len(done)
                if len(encoded) > (1 if alone else self._encoder.at_once):
                    yield encoded.popleft().result()
            while encoded:
                yield encoded.popleft().result()
        finally:
            for one in pending:
                one.pixels.cancel()
            for future in encoded:
                future.cancel()

    def _take_ahead(self, values: Iterator[Value], pending: deque[_Pending]) -> bool:
        """Give values to the decoders; whether any wait now."""
        held = sum(one.size for one in pending)
        for value in islice(values, self._ahead - len(pending)):
            size = len(value) if isinstance(value, bytes) else 0
            pending.append(_Pending(self._pool.submit(self._decoded, value), size))
            held += size
            if held >= AHEAD_BYTES:
                break
        return bool(pending)

    def _decoded(self, value: Value) -> NDArray[np.uint8] | ValueRefused:
        if not isinstance(value, bytes):
            return ValueRefused(refusal(value))
        try:
            return self._load(value)
        except ValueRefused as refused:
            return refused

    def _answer(self, done: Sequence[NDArray[np.uint8] | ValueRefused], first_row: int, *, alone: bool) -> Vectors:
        for index, outcome in enumerate(done):
            if self._strict and isinstance(outcome, ValueRefused):
                raise RowRefused(first_row + index, str(outcome))
        pixels = [outcome for outcome in done if not isinstance(outcome, ValueRefused)]
        present = np.array([not isinstance(outcome, ValueRefused) for outcome in done])
        matrix = np.zeros((len(done), self._dimension), np.float32)
        if pixels:
            vectors = self._encoder.encode(np.stack(pixels), alone=alone)
            matrix[present] = _finished(vectors, self._dimension, self._normalize)
        return Vectors(matrix, present)


def _decoded(image: _Pending, row: int) -> NDArray[np.uint8] | ValueRefused:
    """Pixels of row ``row``, as soon as it is decoded."""
    try:
        return image.pixels.result()
    except BlockOverrun as overrun:
        raise BlockOverrun(f"row {row}: {overrun}") from overrun


def _many(at_once: int) -> int:
    """Batches that are enough for an engine that takes ``at_once``."""
    return max(MANY_BATCHES, min(at_once, MOST_BATCHES))


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


def refusal(value: Oversized | None) -> str:
    """What is wrong with a value that is not bytes."""
    return "NULL cannot be encoded" if value is None else f"{value.size} bytes are more than this function takes"


def _finished(vectors: NDArray[np.float32], dimension: int, normalize: bool) -> NDArray[np.float32]:
    if vectors.shape[1] != dimension:
        raise BundleError(
            f"the model gives vectors of {vectors.shape[1]} numbers, its manifest says {dimension}: "
            "build the bundle again"
        )
    if not normalize:
        return vectors
    lengths = np.linalg.norm(vectors, axis=1, keepdims=True)
    unit: NDArray[np.float32] = vectors / np.maximum(lengths, 1e-12)
    return unit
