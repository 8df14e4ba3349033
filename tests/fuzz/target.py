"""What is tried, in a process of its own: a case a line in, its outcome a line out.

A case that kills, hangs or swells the process is noticed by :class:`Target`, which lives in the parent.
"""

from __future__ import annotations

import base64
import ctypes
import json
import os
import random
import re
import resource
import select
import subprocess
import sys
import time
import warnings
import zlib
from collections.abc import Callable
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

import psutil

from tests.fuzz import documents

MAX_PIXELS = 1 << 20
MAX_VALUE = 64
# What one image may take of the decoders' processes.
BUDGET_BYTES, BUDGET_SECONDS, BUDGET_MEMORY = 4 << 20, 2, 256 << 20
MODES = ("shortest", "longest", "squash")
_ADDRESS_SPACE = 6 << 30
_STATUS = Path("/proc/self/status")


@dataclass(frozen=True)
class Outcome:
    """What became of a case.

    Attributes:
        kind: ``answered``, ``refused`` (as it should be), or ``broken``: a wrong answer or error, a crash, a hang.
        text: The refusal, or what is wrong.
        peak: Memory in bytes that was taken meanwhile and not before.
        seconds: How long it took.
    """

    kind: str
    text: str = ""
    peak: int = 0
    seconds: float = 0


class Target:
    """A child process that tries cases; one that it does not survive is ``broken`` and the next gets a new child."""

    def __init__(self, timeout: float) -> None:
        """Give each case ``timeout`` seconds of CPU, and 30 times that on the clock: the machine may be busy."""
        self._timeout = timeout
        self._child = self._start()

    def attempt(self, what: str, content: bytes) -> Outcome:
        """Try one case of ``what``, a name in :data:`TRIED`."""
        assert self._child.stdin is not None
        assert self._child.stdout is not None
        began = time.monotonic()
        self._child.stdin.write(json.dumps([what, base64.b64encode(content).decode()]) + "\n")
        self._child.stdin.flush()
        ready = self._waited(began)
        line = self._child.stdout.readline() if ready else ""
        if line:
            kind, text, peak = json.loads(line)
            return Outcome(kind, text, peak, time.monotonic() - began)
        if not ready:
            self._child.kill()
        status = self._child.wait()
        self._child = self._start()
        text = f"exit status {status}" if ready else f"no answer within {self._timeout} seconds of its own"
        return Outcome("broken", text, 0, time.monotonic() - began)

    def close(self) -> None:
        """End the child."""
        self._child.communicate()

    def _waited(self, began: float) -> bool:
        process = psutil.Process(self._child.pid)
        used = _cpu_seconds(process)
        while not select.select([self._child.stdout], [], [], 1)[0]:
            hangs = time.monotonic() - began > 30 * self._timeout
            if hangs or _cpu_seconds(process) - used > self._timeout:
                return False
        return True

    @staticmethod
    def _start() -> subprocess.Popen[str]:
        return subprocess.Popen(
            [sys.executable, "-m", "tests.fuzz.target"],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            text=True,
            cwd=Path(__file__).parents[2],
            env={**os.environ, "OPENBLAS_NUM_THREADS": "1"},  # a process that forks must have no other thread
        )


def _cpu_seconds(process: psutil.Process) -> float:
    try:
        times = process.cpu_times()
    except psutil.Error:
        return 0
    return float(times.user + times.system)


def _image(content: bytes) -> Outcome:
    from clip_udfs.errors import ValueRefused
    from clip_udfs.images.preprocessing import decode
    from clip_udfs.manifest import ImageManifest
    from clip_udfs.settings import IMAGE_FORMATS

    mode = MODES[zlib.crc32(content) % len(MODES)]
    manifest = ImageManifest((32, 32), mode, "bicubic", 0, (0, 0, 0), (1, 1, 1))
    try:
        pixels = decode(content, manifest, MAX_PIXELS, formats=IMAGE_FORMATS)
    except ValueRefused as refused:
        return Outcome("refused", str(refused))
    if (pixels.shape, pixels.dtype) != ((32, 32, 3), "uint8"):
        return Outcome("broken", f"{mode}: pixels of {pixels.shape}, {pixels.dtype}")
    return Outcome("answered")


def _wire(content: bytes) -> Outcome:
    refusals = []
    for form in ("TabSeparated", "RowBinary"):
        whole, in_pieces = (_read_blocks(source, form) for source in (_source(content, 0), _source(content, 1)))
        if whole != in_pieces:
            return Outcome("broken", f"{form}: in pieces {in_pieces!r}, in one {whole!r}"[:400])
        refusals.append(whole[-1])
    return Outcome("refused" if all(refusals) else "answered", str(refusals))


def _source(content: bytes, pieces: int) -> Callable[[int], bytes]:
    chosen = random.Random(zlib.crc32(content))
    place = 0

    def read(size: int) -> bytes:
        nonlocal place
        start, place = place, place + (min(size, chosen.randint(1, 9)) if pieces else size)
        return content[start:place]

    return read


def _read_blocks(read: Callable[[int], bytes], form: str) -> list[Any]:
    from clip_udfs.errors import ProtocolError
    from clip_udfs.pipe.row_binary import RowBinaryReader
    from clip_udfs.pipe.tab_separated import TabSeparatedReader

    reader = (TabSeparatedReader if form == "TabSeparated" else RowBinaryReader)(read, MAX_VALUE)
    seen: list[Any] = []
    try:
        while (rows := reader.next_block()) is not None:
            seen.append(rows)
            reader.read_columns()
            for _ in range(rows):
                value = reader.value()
                if isinstance(value, bytes) and len(value) > MAX_VALUE:
                    raise AssertionError(f"a value of {len(value)} bytes")
                seen.append(value)
    except ProtocolError as error:
        return [*seen, str(error)]
    return [*seen, ""]


def _tokenizer(content: bytes) -> Outcome:
    tokenizer, manifest = _loaded_tokenizer()
    texts = [content.decode("utf-8", "replace"), content.decode("latin-1"), ""]
    together = tokenizer(texts)
    if together != [tokenizer([text])[0] for text in texts]:
        return Outcome("broken", "a text has other tokens alone than among others")
    batch = tokenizer.pad(together)
    ends = (batch[:, 0] != manifest.start_id).any() or any(ids[-1] != manifest.end_id for ids in together)
    if ends or batch.shape[1] > manifest.context_length or batch.min() < 0:
        return Outcome("broken", f"tokens {batch.tolist()}"[:400])
    return Outcome("answered")


def _loaded_tokenizer() -> Any:
    if not _cache:
        from clip_installer.resources import builtin_models
        from clip_udfs.bundle import Bundle
        from clip_udfs.manifest import TOKENIZER
        from clip_udfs.text.tokenizer import Tokenizer

        bundle = Bundle.open(builtin_models() / "emoji")
        _cache.append((Tokenizer(bundle.file(TOKENIZER), bundle.manifest.text), bundle.manifest.text))
    return _cache[0]


_cache: list[Any] = []


def _budget(content: bytes) -> Outcome:
    """The decoders' own processes: what they answer is what the function gives here, and they go on after any image."""
    from clip_udfs.errors import BlockOverrun, ValueRefused

    content = content[:BUDGET_BYTES]
    pool, work = _decoders()
    pool.budget.restart()
    try:
        answer = pool.run(content)
    except ValueRefused as refused:
        outcome = Outcome("refused", str(refused))
    except BlockOverrun as overrun:
        return Outcome("broken", f"one image overran the block: {overrun}")
    else:
        if answer != work(content, 0):
            return Outcome("broken", "the decoder answers other pixels than the function")
        outcome = Outcome("answered")
    if pool.run(_PLAIN) != _plain_pixels(work):
        return Outcome("broken", f"the next image is answered wrongly after: {outcome.text}")
    return outcome


@cache
def _decoders() -> tuple[Any, Callable[[bytes, int], bytes]]:
    """A pool of one decoder with small limits, and what it runs."""
    from clip_udfs.images.decoder_pool import DecoderPool
    from clip_udfs.images.decoder_process import Limits
    from clip_udfs.images.preprocessing import preprocess
    from clip_udfs.manifest import ImageManifest
    from clip_udfs.settings import IMAGE_FORMATS

    manifest = ImageManifest((32, 32), "shortest", "bicubic", 0, (0, 0, 0), (1, 1, 1))

    def work(content: bytes, _: int) -> bytes:
        return preprocess(content, manifest, MAX_PIXELS, formats=IMAGE_FORMATS).tobytes()

    return DecoderPool.start(lambda: work, 1, BUDGET_BYTES, Limits(BUDGET_SECONDS, BUDGET_MEMORY)), work


@cache
def _plain_pixels(work: Callable[[bytes, int], bytes]) -> bytes:
    return work(_PLAIN, 0)


def _document(check: Callable[[bytes], tuple[str, bool]]) -> Callable[[bytes], Outcome]:
    def attempt(content: bytes) -> Outcome:
        wrong, accepted = check(content)
        return Outcome("broken" if wrong else "answered" if accepted else "refused", wrong)

    return attempt


# A BMP of one pixel.
_PLAIN = b"BM\x3a\0\0\0\0\0\0\0\x36\0\0\0\x28\0\0\0\1\0\0\0\1\0\0\0\1\0\x18\0" + bytes(24) + b"\1\2\3\0"
TRIED: dict[str, Callable[[bytes], Outcome]] = {
    "image": _image,
    "budget": _budget,
    "wire": _wire,
    "tokenizer": _tokenizer,
    "manifest": _document(documents.manifest),
    "bundle": _document(documents.bundle),
    "records": _document(lambda content: documents.records(documents.here(content), documents.a_server())),
    "journal": _document(lambda content: documents.journal(documents.here(content), documents.a_server())),
}


def _resident(field: str) -> int:
    found = re.search(rf"{field}:\s+(\d+) kB", _STATUS.read_text())
    assert found is not None
    return int(found[1]) << 10


def _serve() -> None:
    warnings.simplefilter("ignore")  # as the worker does
    resource.setrlimit(resource.RLIMIT_AS, (_ADDRESS_SPACE, _ADDRESS_SPACE))
    trim = ctypes.CDLL(None).malloc_trim
    for line in sys.stdin:
        what, encoded = json.loads(line)
        content = base64.b64decode(encoded)
        trim(0)  # what earlier cases left in the allocator would hide what this one takes
        Path("/proc/self/clear_refs").write_text("5")  # the peak starts anew
        before = _resident("VmRSS")
        try:
            outcome = TRIED[what](content)
        except BaseException as error:
            outcome = Outcome("broken", f"{type(error).__name__}: {error}")
        answer = (outcome.kind, outcome.text, max(0, _resident("VmHWM") - before))
        sys.stdout.write(json.dumps(answer) + "\n")
        sys.stdout.flush()


if __name__ == "__main__":
    _serve()
