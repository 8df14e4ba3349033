"""One file of a transaction: staged under a random name, moved into place, rolled back or cleaned up."""

from __future__ import annotations

import errno
import os
import re
import stat
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from hashlib import sha256
from pathlib import Path
from secrets import token_hex

from clip_installer.errors import ApplyError
from clip_installer.install.disk.disk import Disk
from clip_installer.install.disk.folder import regular_file, write_all
from clip_installer.install.disk.hashed import HashedFiles
from clip_installer.install.files.placement import finds

_HIDDEN = re.compile(r"\.clip-udfs-[0-9a-f]{16}\.(new|old)")
_CHUNK = 1 << 20
_ABSENT = (FileNotFoundError, NotADirectoryError)


@dataclass(frozen=True)
class Copy:
    """Content to copy from another file.

    Attributes:
        path: The file: on this machine, or, if ``kept``, as the server sees it.
        digest: SHA-256 that the copy must have; None accepts any.
        kept: Whether it is a file on the server whose mode, owner and times are copied too.
    """

    path: Path
    digest: str | None
    kept: bool = False


Content = bytes | Copy | HashedFiles


@dataclass(frozen=True)
class Change:
    """What happens to one file.

    Attributes:
        target: Where the file is, or will be, as the server sees it.
        saved: Where the old file is kept until the commit.
        staged: Where the new file is staged; None removes the file.
        existed: Whether there was a file at ``target`` before.
        late: Whether it is removed only when the new state is confirmed.
        content: The new content; not part of the journal. For a record of other files, it is known and staged only when
            those are in place.
        mode: Permission bits of the new file; None keeps those of the copied one.
    """

    target: Path
    saved: Path
    staged: Path | None
    existed: bool
    late: bool = False
    content: Content | None = field(default=None, repr=False, compare=False)
    mode: int | None = field(default=None, repr=False, compare=False)

    @classmethod
    def planned(
        cls, disk: Disk, target: Path, content: Content | None, mode: int | None, *, fresh: bool, late: bool
    ) -> Change:
        """A change of ``target`` to ``content``, or its removal; ``fresh``: the file must not exist before.

        Raises:
            ApplyError: The server would read every hidden name beside ``target`` as a function definition.
        """
        saved, staged = _hidden(disk, target)
        existed = not fresh and disk.status(target) is not None
        return cls(target, saved, staged if content is not None else None, existed, late, content, mode)

    def is_sound(self, disk: Disk) -> bool:
        """Whether an install for this server can make a change with these paths."""
        hidden = (self.saved,) if self.staged is None else (self.saved, self.staged)
        return disk.places.holds_file(self.target) and all(
            _HIDDEN.fullmatch(path.name) and path.parent in self.target.parents for path in hidden
        )

    def stage(self, disk: Disk) -> None:
        """Write the new content under its hidden name."""
        if self.staged is not None and not isinstance(self.content, HashedFiles):
            self._write(disk, self.staged)

    def _write(self, disk: Disk, staged: Path) -> None:
        assert self.content is not None
        with disk.folder(staged.parent, writing=True) as folder, folder.creating(staged.name, self.mode) as handle:
            if isinstance(self.content, bytes):
                write_all(handle, self.content)
            elif isinstance(self.content, HashedFiles):
                write_all(handle, self.content.record(disk, handle))
            else:
                _copy(disk, self.content, handle)

    def swap(self, disk: Disk) -> None:
        """Move the new file into place, or remove the old one, and keep the old one."""
        if self.staged is not None and isinstance(self.content, HashedFiles):
            self._write(disk, self.staged)
        with _both(disk, self.target, self.saved) as (folder, hidden):
            if self.staged is None:
                os.rename(self.target.name, self.saved.name, src_dir_fd=folder, dst_dir_fd=hidden)
            elif self.existed:
                _keep(self.target.name, folder, self.saved.name, hidden)
            elif _is_there(self.target.name, folder):
                where = str(disk.here(self.target))
                raise FileExistsError(errno.EEXIST, "appeared while it was being installed", where)
            if self.staged is not None:
                os.rename(self.staged.name, self.target.name, src_dir_fd=hidden, dst_dir_fd=folder)

    def undo(self, disk: Disk, *, swapping: bool) -> None:
        """Restore the old state; ``swapping``: files may have been moved into place already."""
        if disk.status(self.saved) is not None:
            with _both(disk, self.target, self.saved) as (folder, hidden):
                os.rename(self.saved.name, self.target.name, src_dir_fd=hidden, dst_dir_fd=folder)
            # Renaming a file over another name of the same file does nothing.
            discard(disk, self.saved)
        elif swapping and not self.existed and not self._waits(disk):
            discard(disk, self.target)
        if self.staged is not None:
            discard(disk, self.staged)

    def forget(self, disk: Disk) -> None:
        """Remove the kept old state."""
        discard(disk, self.saved)

    def _waits(self, disk: Disk) -> bool:
        return self.staged is None or disk.status(self.staged) is not None


def describe(error: BaseException) -> str:
    """An error on one line: for a file operation, the file and the reason."""
    if isinstance(error, OSError) and error.strerror:
        name = error.filename2 or error.filename
        return f"{name}: {error.strerror}" if name is not None else error.strerror
    return str(error) or type(error).__name__


def discard(disk: Disk, path: Path) -> None:
    """Remove the file at ``path`` if it exists."""
    # A read-only file system refuses even to remove what does not exist.
    if disk.status(path) is not None:
        with disk.folder(path.parent, writing=True) as folder:
            folder.discard(path.name)


def _keep(name: str, folder: int, saved: str, hidden: int) -> None:
    try:
        # A second name for the old file, so that the target is never missing.
        os.link(name, saved, src_dir_fd=folder, dst_dir_fd=hidden, follow_symlinks=False)
    except OSError:
        os.rename(name, saved, src_dir_fd=folder, dst_dir_fd=hidden)


def _is_there(name: str, folder: int) -> bool:
    with suppress(*_ABSENT):
        os.stat(name, dir_fd=folder, follow_symlinks=False)
        return True
    return False


@contextmanager
def _both(disk: Disk, target: Path, hidden: Path) -> Iterator[tuple[int, int]]:
    """Handles of the directories of a target and of its hidden names; the second may be a parent of the first."""
    with disk.folder(target.parent, writing=True) as folder, disk.folder(hidden.parent, writing=True) as above:
        yield folder.handle, above.handle


def _copy(disk: Disk, source: Copy, target: int) -> None:
    if source.kept:
        with disk.folder(source.path.parent) as folder, folder.reading(source.path.name) as handle:
            status = os.fstat(handle)
            digest = _pour(handle, target)
            if os.geteuid() == 0:
                os.fchown(target, status.st_uid, status.st_gid)
            os.fchmod(target, stat.S_IMODE(status.st_mode) & 0o777)
            os.utime(target, ns=(status.st_atime_ns, status.st_mtime_ns))
    else:
        with regular_file(source.path) as handle:
            digest = _pour(handle, target)
    if source.digest is not None and digest != source.digest:
        raise ApplyError(f"{source.path} changed while it was being copied: run the command again")


def _pour(source: int, target: int) -> str:
    """Copy everything and return the SHA-256 of what was copied."""
    digest = sha256()
    while chunk := os.read(source, _CHUNK):
        digest.update(chunk)
        write_all(target, chunk)
    return digest.hexdigest()


def _hidden(disk: Disk, target: Path) -> tuple[Path, Path]:
    """Unpredictable paths for the old and the new file, in the target's file system, that the server ignores."""
    # Not always the target's own directory: a pattern such as functions/* would match any name there.
    names = [f".clip-udfs-{token_hex(8)}.{ending}" for ending in ("old", "new")]
    for directory in target.parents:
        saved, staged = (directory / name for name in names)
        if any(finds(pattern, path) for pattern in disk.config.function_globs for path in (saved, staged)):
            continue
        if directory != target.parent and _device(disk, directory) != _device(disk, target.parent):
            break
        return saved, staged
    raise ApplyError(
        f"the server would read every new name beside {disk.here(target)} as a function definition: use a narrower"
        " pattern in user_defined_executable_functions_config, such as *_function.xml"
    )


def _device(disk: Disk, directory: Path) -> int:
    """The file system of ``directory``, or of where it will be created."""
    for existing in (directory, *directory.parents):
        with suppress(*_ABSENT), disk.folder(existing) as folder:
            return os.fstat(folder.handle).st_dev
    raise ApplyError(f"{disk.here(directory)} cannot be created: no directory above it exists")
