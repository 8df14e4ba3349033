"""How an engine gets its batches: one at a time with all its threads, or several in parallel with one thread each."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from functools import cached_property, partial
from typing import TYPE_CHECKING, Any, TypeVar

import numpy as np
from numpy.typing import NDArray

from clip_udfs.encoders import Encoder

if TYPE_CHECKING:  # the first text needs no thread, and importing threads' pools takes time
    from concurrent.futures import Future, ThreadPoolExecutor

# From so many batches of a block on, the engine runs in parallel, or from as many as it takes in parallel, if that is
# more: for fewer it is not worth opening the engine's second session. The second number is a ceiling, below the
# mini-batches of a window of texts.
MANY_BATCHES, MOST_BATCHES = 8, 64
Answer = TypeVar("Answer")


class Scheduler:
    """Runs one engine exclusively or in parallel.

    Attributes:
        parallel_batches: Mini-batches that are encoded at the same time in parallel; 1 where the engine never is.
        threshold: Mini-batches from which on it pays to run in parallel.
    """

    def __init__(self, encoder: Encoder) -> None:
        """Run ``encoder``; threads start when they are first needed."""
        self.parallel_batches = encoder.parallel_batches
        self.threshold = max(MANY_BATCHES, min(encoder.parallel_batches, MOST_BATCHES))
        self._encoder = encoder

    @cached_property
    def _one(self) -> ThreadPoolExecutor:
        from concurrent.futures import ThreadPoolExecutor

        return ThreadPoolExecutor(1, thread_name_prefix="engine")

    @cached_property
    def _many(self) -> ThreadPoolExecutor:
        from concurrent.futures import ThreadPoolExecutor

        return ThreadPoolExecutor(self.parallel_batches, thread_name_prefix="engines")

    def is_exclusive(self, batches: int) -> bool:
        """Whether ``batches`` that are ready go one after the other, each with all of the engine's threads."""
        return self.parallel_batches == 1 or batches < self.threshold

    def encoded(self, batches: Iterable[NDArray[Any]], count: int) -> Iterator[NDArray[np.float32]]:
        """The vectors of ``count`` batches, in order."""
        if self.is_exclusive(count):
            return map(self._encoder.encode, batches)
        return self._many.map(partial(self._encoder.encode, exclusive=False), batches)

    def submit(self, encode: Callable[[], Answer], *, exclusive: bool) -> Future[Answer]:
        """Call ``encode``, which runs the engine once, in a thread: after the calls before it, or beside them."""
        return (self._one if exclusive else self._many).submit(encode)
