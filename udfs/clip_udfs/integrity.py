"""Files that must match their records: opened without following links, and compared with their SHA-256.

A file that the installer has hashed, and that has not been changed since, is not hashed again.
"""

from __future__ import annotations

import hashlib
import mmap
import os
import stat
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING

from clip_udfs.errors import BundleError
from clip_udfs.manifest import FileRecord

if TYPE_CHECKING:
    from concurrent.futures import Future, ThreadPoolExecutor

PUT_BACK = "put the file back, for an installed bundle with: install-udfs --force"
# Whatever is parsed (graph, tokenizer, configuration) is smaller, and is hashed before its parser sees it. Larger files
# are weights, plain numbers: they are hashed while the rest is loaded, which hides the time.
_HASHED_MEANWHILE = 32 << 20
# Without O_NONBLOCK, a pipe in place of a file would block the process for ever.
_READ = os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC


@contextmanager
def regular_file(path: Path) -> Iterator[int]:
    """A descriptor for reading the file at ``path``, which is neither a link nor a pipe nor a device.

    Raises:
        OSError: There is none, or it may not be read.
        BundleError: It is not a regular file.
    """
    # Also checked before opening it, because opening a device may have side effects.
    if not stat.S_ISREG(path.lstat().st_mode):
        raise BundleError(f"bundle file {path} is not a regular file: put the file itself there")
    handle = os.open(path, _READ)
    try:
        if not stat.S_ISREG(os.fstat(handle).st_mode):
            raise BundleError(f"bundle file {path} is not a regular file: put the file itself there")
        yield handle
    finally:
        os.close(handle)


def read_regular(path: Path, most: int) -> bytes:
    """The content of the regular file at ``path``.

    Raises:
        OSError: There is none, or it may not be read.
        BundleError: It is not a regular file, or has more than ``most`` bytes.
    """
    with regular_file(path) as handle, os.fdopen(os.dup(handle), "rb") as file:
        content = file.read(most + 1)
    if len(content) > most:
        raise BundleError(f"{path} has more than {most} bytes")
    return content


def _never(path: Path, digest: str) -> bool:
    return False


class Digests:
    """SHA-256 of files; those of large ones are computed in a thread from the start."""

    def __init__(self, files: Mapping[Path, FileRecord], known: Callable[[Path, str], bool] = _never) -> None:
        """Begin to hash the large ones of ``files``.

        Args:
            files: The record of each.
            known: Whether the file at a path is already known to have a SHA-256, so that it need not be hashed.
        """
        self._known = known
        self._begun: dict[Path, Future[str]] = {}
        self.begin(files)

    @cached_property
    def _thread(self) -> ThreadPoolExecutor:
        from concurrent.futures import ThreadPoolExecutor  # a worker that hashes nothing need not import this

        return ThreadPoolExecutor(1, thread_name_prefix="hash")

    def begin(self, files: Mapping[Path, FileRecord]) -> None:
        """Begin to hash the large ones of ``files`` that are not known and were not named before."""
        for path, record in _large(files).items():
            if path not in self._begun and not self._known(path, record.sha256):
                self._begun[path] = self._thread.submit(_sha256_at_once, path)

    def confirm(self, path: Path, digest: str) -> bool:
        """Whether the file at ``path`` has this SHA-256; waits until it is computed.

        Raises:
            OSError: The file could not be read.
        """
        if path in self._begun:
            return self._begun[path].result() == digest
        return self._known(path, digest) or sha256(path) == digest


@contextmanager
def vouched(files: Mapping[Path, FileRecord], digests: Digests | None = None) -> Iterator[None]:
    """Compare ``files`` with their SHA-256: the small ones before the body loads them, the large ones while it does.

    Args:
        files: The record of each.
        digests: Hashes begun earlier, which also say what need not be hashed. A large file that changes while being
            loaded is no longer known, and is hashed after all.

    Raises:
        BundleError: A file was altered or cannot be read; raised even if the body failed, because this is then the
            reason.
    """
    digests = digests or Digests({})
    digests.begin(files)
    large = _large(files)
    _compare({path: record for path, record in files.items() if path not in large}, digests)
    try:
        yield
    finally:
        _compare(large, digests)


def _large(files: Mapping[Path, FileRecord]) -> dict[Path, FileRecord]:
    return {path: record for path, record in files.items() if record.bytes > _HASHED_MEANWHILE}


def _compare(files: Mapping[Path, FileRecord], digests: Digests) -> None:
    for path, record in files.items():
        try:
            sound = digests.confirm(path, record.sha256)
        except OSError as error:
            raise BundleError(f"bundle file {path}: {error.strerror}: {PUT_BACK}") from error
        if not sound:
            raise BundleError(f"bundle file {path} was altered: its SHA-256 is not the recorded one: {PUT_BACK}")


def _sha256_at_once(path: Path) -> str:
    """:func:`sha256` in one call, which does not wait for the interpreter while other threads import, parse and load.

    Like the engine, which maps the same file, it crashes if somebody truncates the file meanwhile.
    """
    with path.open("rb") as file, mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) as content:
        return hashlib.sha256(content).hexdigest()


def sha256(path: Path) -> str:
    """SHA-256 of a file in hexadecimal, read in constant memory."""
    digest = hashlib.sha256()
    with path.open("rb") as file:
        while chunk := file.read(1 << 20):
            digest.update(chunk)
    return digest.hexdigest()
