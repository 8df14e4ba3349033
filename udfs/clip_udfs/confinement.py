"""Opening a picture's file only where that is allowed: inside a root after every symbolic link, regular files only."""

from __future__ import annotations

import os
import stat
from collections.abc import Iterator, Sequence
from pathlib import Path

from clip_udfs.errors import SettingsError, ValueRefused

OUTSIDE = "outside the directories that encode_image may read"
_DESCRIPTORS = Path("/proc/self/fd")


class Roots:
    """The directories whose files SQL users may have encoded."""

    def __init__(self, roots: Sequence[Path], max_bytes: int) -> None:
        """Resolve ``roots``; files of more than ``max_bytes`` bytes are refused unread.

        Raises:
            SettingsError: There is no root, or one is not a directory, or /proc is not mounted.
        """
        if not roots:
            raise SettingsError("no picture directory is allowed: install with --image-root DIR")
        for root in roots:
            if not root.is_dir():
                raise SettingsError(f"picture directory {root} is not a directory that this user can reach")
        if not _DESCRIPTORS.is_dir():
            raise SettingsError(f"{_DESCRIPTORS} is not there, and encode_image needs it: mount /proc for the server")
        self._roots = [os.path.realpath(root) for root in roots]
        # A path may name a root by the name that the DBA gave it, or by where that leads.
        self._names = dict.fromkeys(zip([*map(str, roots), *self._roots], [*self._roots, *self._roots], strict=True))
        self._max_bytes = max_bytes

    def read(self, path: str) -> bytes:
        """Content of the file at ``path``: relative to a root (the first that has it), or absolute inside one.

        The path may not leave its root in between either, as whether ``../DIRECTORY/../ROOT/FILE`` works would tell
        what lies outside. The file is opened without side effects first (``O_PATH``), then the opened object itself is
        checked, so that nothing can be swapped between check and use; a FIFO or a device is never opened for reading.

        Raises:
            ValueRefused: Outside every root (in the same words whether it exists or not), absent, not a regular
                file, empty, or too large.
        """
        if not path:
            raise ValueRefused("the path is empty")
        if "\0" in path:
            raise ValueRefused("the path contains a NUL character")
        reason = OUTSIDE
        for candidate in self._candidates(path):
            real = os.path.realpath(candidate)
            if not self._inside(real):
                continue
            try:
                handle = os.open(real, os.O_PATH | os.O_CLOEXEC)
            except OSError as error:
                reason = _spoken(error)
                continue
            try:
                return self._read_opened(handle)
            finally:
                os.close(handle)
        raise ValueRefused(reason)

    def _candidates(self, path: str) -> Iterator[str]:
        parts = _parts(path)
        for name, root in self._names if path.startswith("/") else [("", root) for root in self._roots]:
            before = _parts(name)
            rest = parts[len(before) :]
            if parts[: len(before)] == before and _stays_below(rest):
                yield "/".join((root, *rest))

    def _inside(self, real: str) -> bool:
        return any(real == root or real.startswith(root.rstrip("/") + "/") for root in self._roots)

    def _read_opened(self, handle: int) -> bytes:
        reopened = _DESCRIPTORS / str(handle)
        if not self._inside(str(reopened.readlink())):
            raise ValueRefused(OUTSIDE)
        status = os.fstat(handle)
        if stat.S_ISDIR(status.st_mode):
            raise ValueRefused("is a directory")
        if not stat.S_ISREG(status.st_mode):
            raise ValueRefused("is not a regular file")
        if status.st_size > self._max_bytes:
            raise ValueRefused(f"the file has {status.st_size} bytes, at most {self._max_bytes} are read")
        try:
            descriptor = os.open(reopened, os.O_RDONLY | os.O_CLOEXEC)
        except OSError as error:
            raise ValueRefused(_spoken(error)) from error
        with os.fdopen(descriptor, "rb", buffering=0) as file:
            return file.read(status.st_size)


def _parts(path: str) -> list[str]:
    return [part for part in path.split("/") if part not in ("", ".")]


def _stays_below(parts: Sequence[str]) -> bool:
    depth = 0
    for part in parts:
        depth += -1 if part == ".." else 1
        if depth < 0:
            return False
    return True


def _spoken(error: OSError) -> str:
    if isinstance(error, FileNotFoundError):
        return "no such file in the directories that encode_image may read"
    return (error.strerror or "cannot be opened").lower()
