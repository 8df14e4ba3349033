"""Directories of a transaction: created, given to their owner, and removed if empty."""

from __future__ import annotations

import errno
import os
from contextlib import suppress
from pathlib import Path

from clip_installer.install.disk.disk import ROOTS_STATE, Disk
from clip_installer.server.user import ServerUser

ABSENT = (FileNotFoundError, NotADirectoryError)
_NOT_EMPTY = (errno.ENOTEMPTY, errno.EEXIST, errno.EBUSY)


def holds_state(disk: Disk, directory: Path) -> bool:
    """Whether ``directory`` is that of the records and the journal, or a parent of it."""
    return directory == disk.places.state or directory in disk.places.state.parents


def make_directory(disk: Disk, path: Path, user: ServerUser) -> None:
    """Create the directory at ``path``: the server's own as its ``user``, any other as the current user.

    Raises:
        OSError: It cannot be made.
        ApplyError: The server's user cannot make it.
    """
    config = disk.config
    servers = path in (config.path, config.user_files_path) or path in config.path.parents
    if servers and not config.is_staged and not user.is_current:
        user.make_directory(config.on_disk(path))
        return
    in_state = path == disk.places.state or disk.places.state in path.parents
    with disk.folder(path.parent, writing=True) as folder:
        folder.make(path.name, 0o700 if in_state else 0o755)


def remove_empty(disk: Disk, path: Path) -> None:
    """Remove the directory at ``path`` if it exists and is empty.

    Raises:
        OSError: It cannot be removed.
    """
    with suppress(*ABSENT):
        try:
            with disk.folder(path.parent, writing=True) as folder:
                os.rmdir(path.name, dir_fd=folder.handle)
        except OSError as error:
            # A foreign file in it is a reason to keep it.
            if error.errno not in _NOT_EMPTY:
                raise


def remove_shared_parent(disk: Disk) -> None:
    """Remove the parent directory shared by all servers when the last one is gone, whichever install created it."""
    if disk.places.state.parent == ROOTS_STATE:
        remove_empty(disk, ROOTS_STATE)


def own(disk: Disk, path: Path, uid: int, gid: int, mode: int) -> None:
    """Give the directory at ``path`` to ``uid`` and ``gid``, with ``mode``."""
    with disk.folder(path.parent, writing=True) as folder:
        handle = os.open(path.name, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC, dir_fd=folder.handle)
        try:
            os.fchown(handle, uid, gid)
            os.fchmod(handle, mode)
        finally:
            os.close(handle)
