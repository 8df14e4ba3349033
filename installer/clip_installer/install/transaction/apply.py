"""Carry out a plan: lock the server, change the files together, undo everything if a step fails."""

from __future__ import annotations

import errno
import fcntl
import os
import stat
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager, suppress
from pathlib import Path

from clip_installer.errors import ApplyError, ConflictError
from clip_installer.install.disk.disk import Disk
from clip_installer.install.files.placement import is_definition
from clip_installer.install.files.wanted import READABLE
from clip_installer.install.plan.plan import Plan, Step
from clip_installer.install.transaction.change import Change, Content, Copy, describe
from clip_installer.install.transaction.directories import holds_state, make_directory, remove_empty
from clip_installer.install.transaction.journal import Adopted, Transaction, journal_path
from clip_installer.install.transaction.rollback import recover
from clip_installer.install.transaction.transaction import all_or_nothing
from clip_installer.server.config import ServerConfig
from clip_udfs.errors import ClipUdfError


@contextmanager
def locked(config: ServerConfig) -> Iterator[str | None]:
    """Lock out other installers of this server during the body, after undoing what a killed one left.

    The lock is on a directory, so that it leaves no file behind: on that of the records, which the server's user cannot
        lock, or, before the first install, on that of the configuration.

    Yields:
        What was recovered, as text, or None.

    Raises:
        ConflictError: Another installer is running.
    """
    disk = Disk(config)
    with ExitStack() as locks:
        if not _lock_records(disk, locks):
            _lock(config.on_disk(config.directory), None, disk, locks)
            # Meanwhile, another installer may have created them and finished.
            _lock_records(disk, locks)
        yield recover(disk)


def was_interrupted(config: ServerConfig) -> bool:
    """Whether a killed installer left changes that the next one must undo."""
    disk = Disk(config)
    return disk.status(journal_path(disk)) is not None


@contextmanager
def applied(
    plan: Plan, *, prove: Callable[[], None] | None = None, reload: Callable[[], None] | None = None
) -> Iterator[None]:
    """Make the plan's changes, run the body as their test, and keep them only if it succeeds.

    Before the body, files are created and replaced, and function definitions are removed. All other removals follow
    after it, so that whatever the server still uses exists until the body has confirmed the new state.

    Args:
        plan: What to change.
        prove: Called before the definitions change, when everything that they name is in place.
        reload: Makes the server read its definitions again; after a failure, when the old ones are back.

    Raises:
        ApplyError: A change could not be made; everything is as it was.
    """
    if not plan.changed:
        if prove is not None:
            prove()
        yield
        return
    disk = Disk(plan.config)
    transaction = Transaction(
        changes=tuple(_change(disk, step) for step in plan.steps if step.changes),
        directories=plan.directories,
        obsolete=plan.obsolete,
        adopted=tuple(_as_it_is(disk, directory) for directory in plan.adopted),
    )
    with ExitStack() as locks:
        _make_state(disk, plan, locks)
        with all_or_nothing(disk, transaction, plan.user, prove=prove, reload=reload):
            yield


def _change(disk: Disk, step: Step) -> Change:
    content: Content | None = step.hashed
    mode = READABLE if step.hashed is not None else None
    if step.wanted is not None:
        mode = step.wanted.mode
        given = step.wanted.content
        content = Copy(given, step.wanted.digest) if isinstance(given, Path) else given
    elif step.source is not None:
        content = Copy(step.source, None, kept=True)
    late = content is None and not (is_definition(step.path) or disk.places.adds_to_configuration(step.path))
    return Change.planned(disk, step.path, content, mode, fresh=step.action == "create", late=late)


def _as_it_is(disk: Disk, directory: Path) -> Adopted:
    status = disk.status(directory)
    if status is None or not stat.S_ISDIR(status.st_mode):
        raise ConflictError(f"{disk.here(directory)} is not a directory any more: run the command again")
    return Adopted(directory, status.st_uid, status.st_gid, stat.S_IMODE(status.st_mode))


def _make_state(disk: Disk, plan: Plan, locks: ExitStack) -> None:
    """Create and lock the directory of the records, if it does not exist yet."""
    missing = [one for one in plan.directories if holds_state(disk, one)]
    try:
        for directory in missing:
            with suppress(FileExistsError):  # another server's installer may have created the shared one
                make_directory(disk, directory, plan.user)
        if missing:
            _lock_records(disk, locks)
    except BaseException as error:
        for directory in reversed(missing):
            with suppress(OSError, ClipUdfError):
                remove_empty(disk, directory)
        if isinstance(error, OSError):
            raise ApplyError(f"{describe(error)}; everything is as it was before") from error
        raise


def _lock_records(disk: Disk, locks: ExitStack) -> bool:
    """Lock the directory of the records; False if there is none."""
    state = disk.places.state
    try:
        with disk.folder(state) as folder:
            identity = _lock(".", folder.handle, disk, locks)
    except (FileNotFoundError, NotADirectoryError):
        return False
    found = disk.status(state)
    if found is None or (found.st_dev, found.st_ino) != identity:
        raise ConflictError(f"another install-udfs has just finished on {disk.here(state)}; run the command again")
    return True


def _lock(name: str | Path, directory: int | None, disk: Disk, locks: ExitStack) -> tuple[int, int]:
    """Lock a directory until ``locks`` is closed; return its device and inode."""
    handle = os.open(name, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC, dir_fd=directory)
    locks.callback(os.close, handle)
    try:
        fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError as error:
        where = disk.here(disk.config.directory)
        if error.errno not in (errno.EWOULDBLOCK, errno.EACCES):
            raise ApplyError(f"cannot lock {where}: {error.strerror}") from error
        raise ConflictError(
            f"another install-udfs is running on {where}; run this again when it has finished"
        ) from error
    status = os.fstat(handle)
    return status.st_dev, status.st_ino
