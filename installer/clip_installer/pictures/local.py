"""Lists the files below a directory, or those that match a pattern, as a stream, so that memory does not grow."""

from __future__ import annotations

import os
import re
import stat
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import NamedTuple

from clip_installer.errors import UsageProblem
from clip_installer.pictures.globs import compiled, deepest, fixed_part, is_glob
from clip_udfs.errors import printable

# Extensions of files that the worker may be able to read; others are ignored unless a pattern names them.
ENDINGS = (
    b".jpg .jpeg .jpe .jfif .png .webp .gif .bmp .dib .tif .tiff .avif .avifs .heic .heif .hif .ppm .pgm .pbm .pnm .jp2"
).split()
_MOST_CAPTION_BYTES = 1 << 16


class File(NamedTuple):
    """One file.

    Attributes:
        path: Its path as it is stored, an argument for ``encode_image``.
        size: Bytes.
        modified: Nanoseconds since 1970.
        caption: The text beside it; empty if there is none, or captions are not used.
    """

    path: bytes
    size: int
    modified: int
    caption: bytes


@dataclass
class LocalSource:
    """A directory, or a pattern.

    Attributes:
        given: The argument, for messages.
        top: The directory that is walked, absolute.
        pattern: What paths must match; None selects files by their extensions.
        levels: How deep matches can be below ``top``; None for any depth.
        root: The prefix that stored paths omit, ending in a slash; empty stores absolute paths.
        sidecars: Whether to read captions from files of the same name that end in ``.txt``.
        skipped: Number of ignored files that are no pictures.
        unreadable: Directories that could not be listed.
    """

    given: str
    top: bytes
    pattern: re.Pattern[bytes] | None
    levels: int | None
    root: bytes = b""
    sidecars: bool = False
    skipped: int = 0
    unreadable: list[bytes] = field(default_factory=list)

    @classmethod
    def of(cls, given: str, image_root: Path | None, *, sidecars: bool) -> LocalSource:
        """The source that ``given`` names on this machine.

        Raises:
            UsageProblem: There is no such directory, or it is not below ``image_root``.
        """
        path = _absolute(given)
        pattern = levels = None
        top = path
        if is_glob(path) and not _is_directory(path):
            top, pattern, levels = fixed_part(path), compiled(path), deepest(path)
        if not _is_directory(top):
            raise UsageProblem(
                f"{printable(given)}: there is no directory {printable(os.fsdecode(top))} on this machine; for what the"
                " server reads itself, write file('…'), s3('…') or s3://…"
            )
        root = b"" if image_root is None else _absolute(image_root).rstrip(b"/") + b"/"
        if not (top.rstrip(b"/") + b"/").startswith(root):
            raise UsageProblem(f"{printable(given)} is not below --image-root {image_root}")
        return cls(given, top, pattern, levels, root, sidecars)

    @property
    def name(self) -> bytes:
        """How the table records the source: a pattern as given, or a directory's path."""
        return _absolute(self.given)[len(self.root) :]

    @property
    def stored_prefix(self) -> bytes:
        """The common prefix of the stored paths of its files."""
        return (self.top.rstrip(b"/") + b"/")[len(self.root) :]

    def files(self) -> Iterator[File]:
        """The pictures, directory by directory; hidden files and directories are ignored."""
        self.skipped, self.unreadable = 0, []
        waiting = [(self.top, 0)]
        while waiting:
            directory, level = waiting.pop()
            below = []
            try:
                with os.scandir(directory) as entries:
                    for entry in entries:
                        if entry.name.startswith(b"."):
                            continue
                        if entry.is_dir(follow_symlinks=False):
                            below.append(entry.path)
                        elif (file := self._file(entry)) is not None:
                            yield file
            except OSError:
                self.unreadable.append(directory)
            if self.levels is None or level < self.levels:
                waiting += [(one, level + 1) for one in sorted(below, reverse=True)]

    def _file(self, entry: os.DirEntry[bytes]) -> File | None:
        if self.pattern is not None:
            wanted = self.pattern.fullmatch(entry.path) is not None
        else:
            wanted = (b"." + entry.name.rpartition(b".")[2]).lower() in ENDINGS
        if not wanted:
            self.skipped += 1
            return None
        try:
            status = entry.stat()
        except OSError:  # removed meanwhile, or a dangling link
            return None
        if not stat.S_ISREG(status.st_mode):
            return None
        caption = self._caption(entry.path) if self.sidecars else b""
        return File(entry.path[len(self.root) :], status.st_size, status.st_mtime_ns, caption)

    def _caption(self, path: bytes) -> bytes:
        for name in (path.rpartition(b".")[0] + b".txt", path + b".txt"):
            try:
                descriptor = os.open(name, os.O_RDONLY)  # most pictures have none: Path.open takes four times as long
                try:
                    return os.read(descriptor, _MOST_CAPTION_BYTES).strip()
                finally:
                    os.close(descriptor)
            except OSError:
                continue
        return b""


def _absolute(path: str | Path) -> bytes:
    """The path without ``.`` and ``..``; links in it stay as they are."""
    return os.fsencode(os.path.normpath(Path(path).absolute()))


def _is_directory(path: bytes) -> bool:
    return Path(os.fsdecode(path)).is_dir()
