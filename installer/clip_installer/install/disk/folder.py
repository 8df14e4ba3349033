"""Directories held open, so that nothing another user renames or links is followed.

Some directories that the installer changes, such as ``user_scripts``, belong to the server's user. A path through them
can lead somewhere else from one call to the next, so every file is reached through a handle of its directory.
Directories are opened component by component, links that others can change are refused, and new files get unpredictable
names.
"""

from __future__ import annotations

import errno
import os
import re
import stat
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from hashlib import sha256
from pathlib import Path
from secrets import token_hex

from clip_installer.errors import ConflictError
from clip_installer.server.user import user_name

_WALK = os.O_PATH | os.O_NOFOLLOW | os.O_CLOEXEC
# Without O_NONBLOCK, a pipe in place of a file would block the installer for ever.
_READ = os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC
_CREATE = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC
_OTHERS_WRITE = stat.S_IWGRP | stat.S_IWOTH
# The name of a new file until it is in place.
STAGED = re.compile(r"\.clip-udfs-[0-9a-f]{16}\.new")
_MOST_LINKS = 40
_CHUNK = 1 << 20


@dataclass(frozen=True)
class Folder:
    """An open directory.

    Attributes:
        path: Its path when it was opened, only for messages.
        handle: Its file descriptor, opened with ``O_PATH``.
    """

    path: Path
    handle: int

    @classmethod
    @contextmanager
    def opened(cls, path: Path, own: Path | None = None, *, private: bool = False) -> Iterator[Folder]:
        """Open the directory at the absolute ``path``, part by part.

        Args:
            path: The directory.
            own: From this directory on, each must belong to this process's user and be writable by nobody else.
            private: Whether nobody but root and this process's user may be able to change any part of the path.

        Raises:
            FileNotFoundError: There is none.
            ConflictError: A part is a link that another user could change, or belongs to another user.
        """
        handle = _walk(path, own, private)
        try:
            yield cls(path, handle)
        finally:
            os.close(handle)

    def names(self) -> list[str]:
        """The names of the entries, sorted."""
        handle = os.open(".", os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC, dir_fd=self.handle)
        try:
            with os.scandir(handle) as entries:
                return sorted(entry.name for entry in entries)
        finally:
            os.close(handle)

    def status(self, name: str) -> os.stat_result | None:
        """The status of the entry ``name`` itself, never of a link's target; None if there is none."""
        try:
            return os.stat(name, dir_fd=self.handle, follow_symlinks=False)
        except FileNotFoundError:
            return None

    @contextmanager
    def reading(self, name: str) -> Iterator[int]:
        """A descriptor of the regular file ``name``.

        Raises:
            FileNotFoundError: There is none.
            ConflictError: It is not a regular file.
        """
        with regular_file(self.path / name, self.handle) as handle:
            yield handle

    def read(self, name: str, most: int) -> bytes:
        """The content of the regular file ``name``.

        Raises:
            FileNotFoundError: There is none.
            ConflictError: It is not a regular file, or has more than ``most`` bytes.
        """
        with self.reading(name) as handle, os.fdopen(os.dup(handle), "rb") as file:
            content = file.read(most + 1)
        if len(content) > most:
            raise ConflictError(f"{self.path / name} is larger than the {most} bytes that it can have")
        return content

    def digest(self, name: str) -> str:
        """SHA-256 of the regular file ``name`` in hexadecimal; errors as those of :meth:`read`."""
        found = sha256()
        with self.reading(name) as handle:
            while chunk := os.read(handle, _CHUNK):
                found.update(chunk)
        return found.hexdigest()

    @contextmanager
    def creating(self, name: str, mode: int | None) -> Iterator[int]:
        """A descriptor of the new file ``name``; synced to disk, with ``mode`` if given, when the body ends.

        Raises:
            FileExistsError: There is something of that name.
        """
        handle = os.open(name, _CREATE, 0o600, dir_fd=self.handle)
        try:
            yield handle
            if mode is not None:
                os.fchmod(handle, mode)
            os.fsync(handle)
        finally:
            os.close(handle)

    def write(self, name: str, content: bytes, mode: int = 0o600) -> None:
        """Replace ``name`` by a file with ``content``, atomically."""
        staged = f".clip-udfs-{token_hex(8)}.new"
        try:
            with self.creating(staged, mode) as handle:
                write_all(handle, content)
            os.rename(staged, name, src_dir_fd=self.handle, dst_dir_fd=self.handle)
        except BaseException:
            self.discard(staged)
            raise
        self.sync()

    def discard(self, name: str) -> None:
        """Remove the entry ``name`` if it exists; a read-only file system refuses even if it does not."""
        if self.status(name) is not None:
            os.unlink(name, dir_fd=self.handle)

    def make(self, name: str, mode: int = 0o755) -> None:
        """Create the directory ``name`` with exactly ``mode``."""
        os.mkdir(name, mode, dir_fd=self.handle)
        handle = os.open(name, _WALK | os.O_DIRECTORY, dir_fd=self.handle)
        try:
            require_own(self.path / name, os.fstat(handle))
            reopened = os.open(".", os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC, dir_fd=handle)
            try:
                os.fchmod(reopened, mode)
            finally:
                os.close(reopened)
        finally:
            os.close(handle)

    def sync(self) -> None:
        """Sync the entries of this directory to disk."""
        handle = os.open(".", os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC, dir_fd=self.handle)
        try:
            os.fsync(handle)
        finally:
            os.close(handle)


@contextmanager
def regular_file(path: Path, directory: int | None = None) -> Iterator[int]:
    """A descriptor for reading the regular file at ``path``, whose last component is not a link.

    Args:
        path: The file.
        directory: Handle of its directory; None uses the path as it is.

    Raises:
        FileNotFoundError: There is none.
        ConflictError: It is not a regular file.
    """
    name = path if directory is None else path.name
    wrong = ConflictError(f"{path} is not a regular file; move it away")
    try:
        if not stat.S_ISREG(os.stat(name, dir_fd=directory, follow_symlinks=False).st_mode):
            raise wrong
        handle = os.open(name, _READ, dir_fd=directory)
    except OSError as error:
        if error.errno == errno.ELOOP:
            raise wrong from error
        raise type(error)(error.errno, error.strerror, str(path)) from None
    try:
        if not stat.S_ISREG(os.fstat(handle).st_mode):
            raise wrong
        yield handle
    finally:
        os.close(handle)


def write_all(handle: int, content: bytes) -> None:
    """Write all of ``content`` to the descriptor ``handle``."""
    rest = memoryview(content)
    while rest:
        rest = rest[os.write(handle, rest) :]


def is_private(status: os.stat_result) -> bool:
    """Whether nobody but root and this process's user can change the entry with ``status``, or its contents."""
    return status.st_uid in (0, os.geteuid()) and not status.st_mode & _OTHERS_WRITE


def _walk(path: Path, own: Path | None, private: bool) -> int:
    """An ``O_PATH`` descriptor of the directory at ``path``."""
    handle = os.open("/", _WALK | os.O_DIRECTORY)
    # Each part, and whether it must be our own; a link's target comes before those that must.
    first_own = len(own.parts) - 1 if own is not None else len(path.parts)
    pending = [(part, number >= first_own) for number, part in enumerate(path.parts) if number][::-1]
    seen, links = Path("/"), 0
    try:
        while pending:
            name, must_be_own = pending.pop()
            here = seen / name
            try:
                following = os.open(name, _WALK, dir_fd=handle)
            except OSError as error:
                raise type(error)(error.errno, error.strerror, str(here)) from None
            parent, status = os.fstat(handle), os.fstat(following)
            if stat.S_ISLNK(status.st_mode):
                os.close(following)
                links += 1
                _refuse_changeable_link(here, parent, status, must_be_own)
                if links > _MOST_LINKS:
                    raise ConflictError(f"{path} leads through more than {_MOST_LINKS} symbolic links")
                target = Path(os.readlink(name, dir_fd=handle))
                if target.is_absolute():
                    os.close(handle)
                    handle = os.open("/", _WALK | os.O_DIRECTORY)
                    seen = Path("/")
                pending.extend((part, False) for part in reversed(target.parts) if part != "/")
                continue
            os.close(handle)
            handle, seen = following, here
            if not stat.S_ISDIR(status.st_mode):
                raise NotADirectoryError(errno.ENOTDIR, os.strerror(errno.ENOTDIR), str(here))
            if must_be_own:
                require_own(here, status)
            elif private:
                _require_fixed(here, status)
    except BaseException:
        os.close(handle)
        raise
    return handle


def require_own(path: Path, status: os.stat_result) -> None:
    """Refuse a directory that does not belong to this process's user, or that others can change.

    Raises:
        ConflictError: It is; the message names the directory, the reason and the way out.
    """
    if status.st_uid != os.geteuid():
        raise ConflictError(
            f"{path} belongs to {user_name(status.st_uid)}, not to {user_name(os.geteuid())}, who runs this:"
            " inspect it and move it away, or run this command as its owner"
        )
    if status.st_mode & _OTHERS_WRITE:
        raise ConflictError(
            f"{path} has mode {stat.S_IMODE(status.st_mode):04o}, so other users can change what is in it: look at"
            f" what is in there, then run chmod go-w {path}"
        )


def _require_fixed(path: Path, status: os.stat_result) -> None:
    if not (is_private(status) or (status.st_uid in (0, os.geteuid()) and status.st_mode & stat.S_ISVTX)):
        raise ConflictError(
            f"{path} can be changed by other users (it belongs to {user_name(status.st_uid)} and has mode"
            f" {stat.S_IMODE(status.st_mode):04o})"
        )


def _refuse_changeable_link(path: Path, parent: os.stat_result, link: os.stat_result, must_be_own: bool) -> None:
    if must_be_own:
        raise ConflictError(f"{path} is a symbolic link, not a directory that install-udfs made: remove it")
    fixed = is_private(parent) or parent.st_mode & stat.S_ISVTX
    if not (fixed and link.st_uid in (0, os.geteuid())):
        raise ConflictError(
            f"{path} is a symbolic link that {user_name(link.st_uid)} can change: name the directory that it leads"
            " to in the configuration instead"
        )
