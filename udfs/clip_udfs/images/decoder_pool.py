"""The worker's side of its decoder processes: one request at a time to each, from any thread."""

from __future__ import annotations

import os
import signal
from collections.abc import Callable, Sequence
from contextlib import suppress
from mmap import MADV_REMOVE
from queue import SimpleQueue
from typing import NoReturn

from clip_udfs.errors import DecoderError, ValueRefused
from clip_udfs.images.budget import BlockBudget
from clip_udfs.images.decoder_process import (
    DONE,
    ENDED,
    FAILED,
    NO_MEMORY,
    REFUSED,
    REQUEST,
    RESPONSE,
    Limits,
    Slot,
    Work,
    supervise,
)

# Memory that a large content took in a region is returned to the system after use.
_KEPT_BYTES = 1 << 20
_OUT_OF_TIME = (signal.SIGPROF, signal.SIGXCPU)


class DecoderPool:
    """Runs one function on unchecked contents, in processes that can be stopped."""

    def __init__(self, slots: Sequence[Slot], supervisor: int, worker: int, limits: Limits) -> None:
        """Use :meth:`start`."""
        self._limits = limits
        self._supervisor = supervisor
        self._worker = worker
        self._free: SimpleQueue[Slot] = SimpleQueue()
        self._numbers = {id(slot): 0 for slot in slots}
        for slot in slots:
            self._free.put(slot)
        self.budget = BlockBudget(limits.seconds)

    @classmethod
    def start(
        cls, prepare: Callable[[], Work], processes: int, size: int, limits: Limits, close: Sequence[int] = ()
    ) -> DecoderPool:
        """Fork the supervisor. Call this before the process has threads: a fork copies locks, but not their holders.

        Args:
            prepare: Called once, in the supervisor; imports what is needed and returns the function that turns a
                content into a result. That function may raise ``ValueRefused``.
            processes: Decoders that run side by side.
            size: Bytes of the largest content and of the largest result.
            limits: What one content may take.
            close: Descriptors of this process that the supervisor must not hold open.

        Raises:
            DecoderError: The system does not let this user start another process.
        """
        try:
            slots = [Slot(size) for _ in range(processes)]
            life, worker = os.pipe()
            supervisor = os.fork()
        except OSError as error:
            raise DecoderError(
                f"cannot start the process that decodes images ({error.strerror}): "
                "look at the limits of processes (ulimit -u, TasksMax) and memory of the server"
            ) from error
        if not supervisor:
            for descriptor in (worker, *close):
                os.close(descriptor)
            supervise(slots, life, prepare, limits)
        os.close(life)
        for slot in slots:
            slot.keep()
        return cls(slots, supervisor, worker, limits)

    def run(self, content: bytes, argument: int = 0) -> bytes:
        """The result for ``content``; waits for a free decoder.

        Raises:
            ValueRefused: The function refused it, it took more than the limits, or it crashed its decoder.
            BlockOverrun: The images of this block have taken too long altogether.
            DecoderError: A decoder was killed from outside, or none is left.
        """
        slot = self._free.get()
        try:
            outcome, size, seconds = self._asked(slot, content, argument)
            result = slot.region[:size] if outcome != ENDED else b""
            if max(len(content), size) > _KEPT_BYTES:
                slot.region.madvise(MADV_REMOVE)
        finally:
            self._free.put(slot)
        self.budget.charge(seconds)
        return result if outcome == DONE else self._refuse(outcome, size, result.decode("utf-8", "replace"))

    def close(self) -> None:
        """End all decoders, and wait until they have ended, so that none is left behind as a zombie."""
        with suppress(OSError):
            os.close(self._worker)
            os.waitpid(self._supervisor, 0)

    def _asked(self, slot: Slot, content: bytes, argument: int) -> tuple[int, int, float]:
        number = self._numbers[id(slot)] = self._numbers[id(slot)] + 1
        slot.region[: len(content)] = content
        with suppress(BrokenPipeError):
            os.write(slot.to_decoder, REQUEST.pack(number, len(content), argument))
        while record := os.read(slot.responses, RESPONSE.size):
            about, outcome, size, seconds = RESPONSE.unpack(record)
            if about == number:
                return outcome, size, seconds
        raise DecoderError("the processes that decode images have ended: the server may be out of memory")

    def _refuse(self, outcome: int, size: int, text: str) -> NoReturn:
        limits = self._limits
        if outcome == REFUSED:
            raise ValueRefused(text)
        if outcome == NO_MEMORY:
            raise ValueRefused(f"the image takes more than {limits.memory >> 20} MiB of memory to decode")
        if outcome == FAILED:
            raise DecoderError(f"internal error while decoding: {text}")
        if size in _OUT_OF_TIME:
            raise ValueRefused(f"the image takes more than {limits.seconds:g} seconds to decode")
        if size in (0, signal.SIGKILL, signal.SIGTERM):
            name = signal.Signals(size).name if size else "without a signal"
            raise DecoderError(f"the process that decodes images was ended ({name}): the server may be out of memory")
        raise ValueRefused("damaged image: it crashes its decoder")
