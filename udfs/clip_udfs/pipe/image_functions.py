"""The functions that need no model: a stream of images to a stream of answers, in order, in bounded memory."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from typing import NamedTuple

from clip_udfs.errors import BlockOverrun, ValueRefused
from clip_udfs.images.answers import ImageAnswer
from clip_udfs.images.budget import BlockBudget
from clip_udfs.pipe.pipeline import AHEAD, AHEAD_BYTES, RowRefused, refusal
from clip_udfs.pipe.wire import Sized, Value


class _Pending(NamedTuple):
    """An image that is being answered, and the bytes that it has as a value."""

    answer: Future[ImageAnswer | ValueRefused]
    size: int


class ImageFunctionPipeline:
    """Images answered one by one in threads."""

    def __init__(
        self,
        answer: Callable[..., ImageAnswer],
        *,
        empty: Callable[[str], ImageAnswer],
        strict: bool,
        threads: int,
        budget: BlockBudget,
    ) -> None:
        """Answer values with ``answer`` in ``threads`` threads, refused ones with ``empty`` where not ``strict``.

        Args:
            answer: Takes a value, and the size where the function has one.
            empty: Takes the reason of a refusal.
            strict: Whether a refused value fails the query.
            threads: Images that are worked on at the same time.
            budget: What ``answer`` charges; it begins again with each block.
        """
        self._answer = answer
        self._empty = empty
        self._strict = strict
        self._budget = budget
        self._threads = ThreadPoolExecutor(threads, thread_name_prefix="image")

    def encode(self, values: Iterator[Value | Sized]) -> Iterator[Sequence[ImageAnswer]]:
        """Answers of all rows in order, one by one, each as soon as it is done.

        Raises:
            RowRefused: An image is refused and the function is strict.
        """
        self._budget.restart()
        pending: deque[_Pending] = deque()
        row = held = 0
        try:
            for value in values:
                content, arguments = (value.value, (value.size,)) if isinstance(value, Sized) else (value, ())
                size = len(content) if isinstance(content, bytes) else 0
                pending.append(_Pending(self._threads.submit(self._answered, content, *arguments), size))
                held += size
                while len(pending) >= AHEAD or (pending and held >= AHEAD_BYTES):
                    row += 1
                    held -= pending[0].size
                    yield [self._finished(pending.popleft(), row)]
            while pending:
                row += 1
                yield [self._finished(pending.popleft(), row)]
        finally:
            for one in pending:
                one.answer.cancel()

    def _answered(self, value: Value, *arguments: int) -> ImageAnswer | ValueRefused:
        if not isinstance(value, bytes):
            return ValueRefused(refusal(value))
        try:
            return self._answer(value, *arguments)
        except ValueRefused as refused:
            return refused

    def _finished(self, one: _Pending, row: int) -> ImageAnswer:
        try:
            outcome = one.answer.result()
        except BlockOverrun as overrun:
            raise BlockOverrun(f"row {row}: {overrun}") from overrun
        if not isinstance(outcome, ValueRefused):
            return outcome
        if self._strict:
            raise RowRefused(row, str(outcome))
        return self._empty(str(outcome))
