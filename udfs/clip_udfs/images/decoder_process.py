"""The processes that decode images for a worker, with limits that the kernel enforces.

A worker forks a *supervisor* before it starts a thread or loads an engine. The supervisor imports what decoding needs
and forks a *decoder* for each slot when its first request arrives, and a new one where the last has ended. A decoder
has limits on CPU seconds (``ITIMER_PROF``) and address space (``RLIMIT_AS``) for one image, and can open no file. An
image that exceeds a limit, or crashes its decoder, costs that process and nothing else.

A slot is a memory region for an image's content and then its result, and two pipes with one short record for each
request and response. Such a record is written as a whole or not at all, so nobody ever reads half of one.
"""

from __future__ import annotations

import gc
import os
import resource
import select
import signal
import struct
import time
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass
from mmap import PAGESIZE, mmap
from pathlib import Path
from typing import NoReturn

from clip_udfs.errors import ValueRefused, one_line

Work = Callable[[bytes, int], bytes]  # a content and an argument to a result

REQUEST = struct.Struct("<QQq")  # number, bytes of content, argument
RESPONSE = struct.Struct("<QBQd")  # number, outcome, bytes of the result or of a message or a signal, CPU seconds
DONE, REFUSED, NO_MEMORY, FAILED, ENDED = range(5)
_TAKEN = struct.Struct("<Q")
# A decoder that grew beyond this is replaced, because what its allocator keeps would count against the next image.
_REPLACED_ABOVE = 256 << 20


@dataclass(frozen=True)
class Limits:
    """What one image may take.

    Attributes:
        seconds: CPU seconds.
        memory: Bytes of address space, on top of what a decoder has when it starts.
    """

    seconds: float
    memory: int


class Slot:
    """What the worker and one decoder share. The worker creates it before it forks."""

    def __init__(self, size: int) -> None:
        """Reserve ``size`` bytes for a content and its result; memory is taken as they are written."""
        self.region = mmap(-1, size)
        self.taken = mmap(-1, PAGESIZE)  # number of the last request that a decoder has taken
        self.requests, self.to_decoder = os.pipe()
        self.responses, self.to_worker = os.pipe()

    def leave(self) -> None:
        """In the supervisor: close the worker's ends."""
        os.close(self.to_decoder)
        os.close(self.responses)

    def keep(self) -> None:
        """In the worker: close the decoder's ends."""
        os.close(self.requests)
        os.close(self.to_worker)

    def last_taken(self) -> int:
        """Number of the last request that a decoder has taken."""
        return int(_TAKEN.unpack_from(self.taken)[0])

    def respond(self, number: int, outcome: int, size: int, seconds: float) -> None:
        """Send the worker the outcome of request ``number``."""
        os.write(self.to_worker, RESPONSE.pack(number, outcome, size, seconds))


def supervise(slots: Sequence[Slot], worker: int, prepare: Callable[[], Work], limits: Limits) -> NoReturn:
    """Fork decoders as requests arrive, until the worker closes its end of the pipe ``worker``. Never returns."""
    status = 1
    children: dict[int, Slot] = {}
    try:
        _let_go_of_standard_streams()
        os.environ["OPENBLAS_NUM_THREADS"] = "1"  # a process that forks must have no other thread
        for slot in slots:
            slot.leave()
        work = prepare()
        gc.freeze()  # garbage collection in a decoder would copy shared pages
        gc.enable()
        _supervise(slots, worker, work, limits, children)
        status = 0
    finally:
        for child in children:
            os.kill(child, signal.SIGKILL)
            os.waitpid(child, 0)
        os._exit(status)


def _supervise(slots: Sequence[Slot], worker: int, work: Work, limits: Limits, children: dict[int, Slot]) -> None:
    ended, wake = os.pipe()
    os.set_blocking(wake, False)
    signal.set_wakeup_fd(wake, warn_on_full_buffer=False)
    signal.signal(signal.SIGCHLD, lambda number, frame: None)
    idle = {slot.requests: slot for slot in slots}
    poll = select.poll()
    for descriptor in (worker, ended, *idle):
        poll.register(descriptor, select.POLLIN)
    while True:
        for descriptor, _ in poll.poll():
            if descriptor == worker:
                return
            if descriptor == ended:
                os.read(ended, 4096)
                for slot in _reaped(children, limits):
                    idle[slot.requests] = slot
                    poll.register(slot.requests, select.POLLIN)
            elif descriptor in idle:
                slot = idle.pop(descriptor)
                poll.unregister(descriptor)
                children[_forked(slot, work, limits)] = slot


def _forked(slot: Slot, work: Work, limits: Limits) -> int:
    child = os.fork()
    if child:
        return child
    try:
        signal.set_wakeup_fd(-1)
        signal.signal(signal.SIGCHLD, signal.SIG_DFL)
        signal.pthread_sigmask(signal.SIG_SETMASK, ())
        _confine(limits)
        while _attempt(slot, work, limits):
            pass
    finally:
        os._exit(0)


def _reaped(children: dict[int, Slot], limits: Limits) -> list[Slot]:
    """Slots whose decoder has ended; the worker is told of the request that each had taken."""
    free = []
    with suppress(ChildProcessError):
        while True:
            child, status, usage = os.wait4(-1, os.WNOHANG)
            if not child:
                break
            slot = children.pop(child)
            number = os.WTERMSIG(status) if os.WIFSIGNALED(status) else 0
            seconds = min(usage.ru_utime + usage.ru_stime, limits.seconds)
            slot.respond(slot.last_taken(), ENDED, number, seconds)  # a response to an old request is ignored
            free.append(slot)
    return free


def _let_go_of_standard_streams() -> None:
    """Close the standard streams, so that ClickHouse sees them end with the worker, even if this process lives on."""
    nowhere = os.open(os.devnull, os.O_RDWR)
    for descriptor in range(3):
        os.dup2(nowhere, descriptor)
    os.close(nowhere)


def _confine(limits: Limits) -> None:
    pages = int(Path("/proc/self/statm").read_text().split()[0])
    space = pages * PAGESIZE + limits.memory
    for what, most in (
        (resource.RLIMIT_AS, space),
        (resource.RLIMIT_CORE, 0),
        (resource.RLIMIT_FSIZE, 0),
        (resource.RLIMIT_NOFILE, 0),
    ):
        resource.setrlimit(what, (most, most))


def _attempt(slot: Slot, work: Work, limits: Limits) -> bool:
    """Answer one request; False if this decoder should end."""
    record = os.read(slot.requests, REQUEST.size)
    if not record:
        return False  # the worker has ended
    number, size, argument = REQUEST.unpack(record)
    _TAKEN.pack_into(slot.taken, 0, number)
    began = time.process_time()
    signal.setitimer(signal.ITIMER_PROF, limits.seconds)
    outcome, result = _outcome(work, slot.region[:size], argument)
    signal.setitimer(signal.ITIMER_PROF, 0)
    if len(result) > len(slot.region):
        outcome, result = NO_MEMORY, b""
    slot.region[: len(result)] = result
    slot.respond(number, outcome, len(result), time.process_time() - began)
    largest = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss << 10
    return outcome != NO_MEMORY and largest < _REPLACED_ABOVE


def _outcome(work: Work, content: bytes, argument: int) -> tuple[int, bytes]:
    try:
        return DONE, work(content, argument)
    except ValueRefused as refused:
        return REFUSED, str(refused).encode()
    except MemoryError:
        return NO_MEMORY, b""
    except Exception as error:
        return FAILED, f"{type(error).__name__}: {one_line(error)}".encode("utf-8", "replace")
