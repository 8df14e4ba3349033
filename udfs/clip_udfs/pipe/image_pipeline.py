"""From a stream of images to a stream of vectors, in order, in bounded memory."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from functools import partial
from itertools import islice
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from clip_udfs.encoders import Encoder
from clip_udfs.errors import BlockOverrun, ValueRefused
from clip_udfs.images.budget import BlockBudget
from clip_udfs.pipe.pipeline import AHEAD, AHEAD_BYTES, RowRefused, refusal
from clip_udfs.pipe.scheduler import Scheduler
from clip_udfs.pipe.vectors import Vectors, checked_vectors
from clip_udfs.pipe.wire import Value


class _Pending(NamedTuple):
    """An image that is decoded, and the bytes that it has as a value."""

    pixels: Future[NDArray[np.uint8] | ValueRefused]
    size: int


class ImagePipeline:
    """Images: read and decoded in threads while the engine runs."""

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
        self._scheduler = Scheduler(encoder)
        parallel = encoder.parallel_batches > 1
        self._ahead = self._scheduler.threshold * batch if parallel else max(AHEAD, 2 * batch)

    def encode(self, values: Iterator[Value]) -> Iterator[Vectors]:
        """See :class:`Pipeline`.

        Rows of a few batches are held decoded or waiting, fewer of large ones: while some batches are encoded, the ones
        before are written and the next are decoded.
        """
        self._budget.restart()
        pending: deque[_Pending] = deque()
        encoded: deque[Future[Vectors]] = deque()
        exclusive = True
        row = 1
        try:
            while self._take_ahead(values, pending):
                exclusive = exclusive and self._scheduler.is_exclusive(len(pending) // self._batch)
                done = [_decoded(pending.popleft(), row + index) for index in range(min(self._batch, len(pending)))]
                answer = partial(self._answer, done, row, exclusive=exclusive)
                encoded.append(self._scheduler.submit(answer, exclusive=exclusive))
                row += len(done)
                if len(encoded) > (1 if exclusive else self._scheduler.parallel_batches):
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

    def _answer(self, done: Sequence[NDArray[np.uint8] | ValueRefused], first_row: int, *, exclusive: bool) -> Vectors:
        for index, outcome in enumerate(done):
            if self._strict and isinstance(outcome, ValueRefused):
                raise RowRefused(first_row + index, str(outcome))
        pixels = [outcome for outcome in done if not isinstance(outcome, ValueRefused)]
        present = np.array([not isinstance(outcome, ValueRefused) for outcome in done])
        matrix = np.zeros((len(done), self._dimension), np.float32)
        if pixels:
            vectors = self._encoder.encode(np.stack(pixels), exclusive=exclusive)
            matrix[present] = checked_vectors(vectors, self._dimension, self._normalize)
        return Vectors(matrix, present)


def _decoded(image: _Pending, row: int) -> NDArray[np.uint8] | ValueRefused:
    """Pixels of row ``row``, as soon as it is decoded."""
    try:
        return image.pixels.result()
    except BlockOverrun as overrun:
        raise BlockOverrun(f"row {row}: {overrun}") from overrun
