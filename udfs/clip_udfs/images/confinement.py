"""Opens only regular image files, and only inside the allowed roots after every link is followed."""

from __future__ import annotations

import os
import stat
from collections.abc import Iterator, Sequence
from pathlib import Path

from clip_udfs.errors import SettingsError, ValueRefused
from clip_udfs.images.hints import instead_of_path

OUTSIDE = "outside the directories that encode_image may read"
LEADS_OUT = (
    "a symbolic link leads outside the directories that encode_image may read: copy the file, "
    "or install with --image-root for where the link leads"
)
_MOST_LINKS = 40  # as the kernel follows
_DESCRIPTORS = Path("/proc/self/fd")


class Roots:
    """The directories whose files SQL users may have encoded."""

    def __init__(self, roots: Sequence[Path], max_bytes: int) -> None:
        """Resolve ``roots``; files larger than ``max_bytes`` are refused unread.

        Raises:
            SettingsError: There is no root, or one is not a directory, or /proc is not mounted.
        """
        if not roots:
            raise SettingsError("no image directory is allowed: install with --image-root DIR")
        for root in roots:
            if not root.is_dir():
                raise SettingsError(f"image directory {root} is not a directory that this user can reach")
        if not _DESCRIPTORS.is_dir():
            raise SettingsError(f"{_DESCRIPTORS} is not there, and encode_image needs it: mount /proc for the server")
        self._roots = [os.path.realpath(root) for root in roots]
        # A path may use the root's name as the DBA gave it, or its resolved form.
        self._names = dict.fromkeys(zip([*map(str, roots), *self._roots], [*self._roots, *self._roots], strict=True))
        self._max_bytes = max_bytes

    def read(self, path: str) -> bytes:
        """Content of the file at ``path``: relative to a root (the first that has it), or absolute inside one.

        No link may leave the roots, not even to come back, and ``..`` is refused: otherwise, ``LINK/../ROOT/FILE``
        would reveal what is outside a linked directory. The file is opened without side effects first (``O_PATH``),
        then the opened object itself is checked, so that nothing can be swapped between check and use; a FIFO or a
        device is never opened for reading.

        Raises:
            ValueRefused: Outside every root (with the same message whether it exists or not), absent, not a regular
                file, empty, or too large.
        """
        if not path:
            raise ValueRefused("the path is empty")
        if "\0" in path:
            raise ValueRefused("the path contains a NUL character")
        if (refused := instead_of_path(path)) is not None:
            raise refused
        parts = _parts(path)
        if ".." in parts:
            raise ValueRefused("the path contains '..': write it without")
        reason = ""
        for candidate in self._candidates(path, parts):
            real = self._followed(candidate)
            if real is None:
                reason = LEADS_OUT
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
        if not reason:
            raise ValueRefused(OUTSIDE)
        blank = "; the path begins or ends with a space" if path != path.strip() else ""
        raise ValueRefused(f"{reason}{blank}")

    def _candidates(self, path: str, parts: Sequence[str]) -> Iterator[str]:
        for name, root in self._names if path.startswith("/") else [("", root) for root in self._roots]:
            before = _parts(name)
            rest = parts[len(before) :]
            if parts[: len(before)] == before:
                yield "/".join((root, *rest))

    def _followed(self, path: str) -> str | None:
        """Where ``path`` leads, link by link; None if any of them leaves the roots, even if the next one returns."""
        pending, place, links = _parts(path)[::-1], "/", 0
        while pending:
            part = pending.pop()
            step = str(Path(place).parent) if part == ".." else f"{place.rstrip('/')}/{part}"
            above = step.rstrip("/") + "/"
            if not (self._inside(step) or any(name.startswith(above) for name, _ in self._names)):
                return None
            try:
                target = "" if part == ".." else str(Path(step).readlink())
            except OSError:  # not a link, or does not exist
                target = ""
            if not target:
                place = step
            elif (links := links + 1) > _MOST_LINKS:
                break
            else:
                place = "/" if target.startswith("/") else place
                pending += _parts(target)[::-1]
        return place if self._inside(place) else None

    def _inside(self, real: str) -> bool:
        return any(real == root or real.startswith(root.rstrip("/") + "/") for root in self._roots)

    def _read_opened(self, handle: int) -> bytes:
        reopened = _DESCRIPTORS / str(handle)
        if not self._inside(str(reopened.readlink())):
            raise ValueRefused(LEADS_OUT)
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


def _spoken(error: OSError) -> str:
    if isinstance(error, FileNotFoundError):
        return "no such file in the directories that encode_image may read"
    return (error.strerror or "cannot be opened").lower()
