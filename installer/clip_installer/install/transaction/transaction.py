"""All-or-nothing changes on a server's file system, with a journal that survives the process.

Order of events: the journal is written, directories are created, every new file is staged, then each is renamed into
    place, and obsolete function definitions are removed. Then the caller confirms that the server has the new state.
    Only after that, everything else that is obsolete is removed. The old state is kept until the commit, and
:mod:`~clip_installer.install.transaction.rollback`, here or in a later process, restores it.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import replace

from clip_installer.errors import ApplyError
from clip_installer.install.disk.disk import Disk
from clip_installer.install.files.placement import is_definition
from clip_installer.install.transaction.change import Change, describe
from clip_installer.install.transaction.directories import holds_state, make_directory, own
from clip_installer.install.transaction.journal import Transaction
from clip_installer.install.transaction.rollback import finish, roll_back, uninterrupted
from clip_installer.server.user import ServerUser
from clip_udfs.errors import ClipUdfError

_UNDONE = "everything is as it was before"


@contextmanager
def all_or_nothing(
    disk: Disk,
    transaction: Transaction,
    user: ServerUser,
    *,
    prove: Callable[[], None] | None = None,
    reload: Callable[[], None] | None = None,
) -> Iterator[None]:
    """Perform ``transaction``, run the body, remove what is obsolete, and commit; any failure rolls everything back.

    Args:
        disk: The file system.
        transaction: What.
        user: Whose the server's own directories are.
        prove: Called when everything but the definitions is in place, so that the server does not see it yet.
        reload: Makes the server read its definitions again after a failure.

    Raises:
        ApplyError: A step failed; the message says which, and that it was undone.
    """
    begun = transaction
    quiet = ExitStack()
    try:
        _prepare(disk, transaction, user)
        begun = _entered(disk, transaction, "swapping")
        early = [change for change in transaction.changes if not change.late]
        for change in early:
            if not is_definition(change.target) and change.staged is not None:
                change.swap(disk)
        if prove is not None:
            prove()
        for change in early:
            if is_definition(change.target) or change.staged is None:
                change.swap(disk)
        _sync(disk, transaction.changes)
        yield
        quiet.enter_context(uninterrupted())
        for change in transaction.changes:
            if change.late:
                change.swap(disk)
        begun = _entered(disk, begun, "committed")
    except BaseException as error:
        with quiet, uninterrupted():
            try:
                roll_back(begun, disk, reload=reload)
            except (OSError, ClipUdfError) as second:
                raise ApplyError(
                    f"{describe(error)}; undoing it failed too ({describe(second)}): the next run tries again"
                ) from error
        if isinstance(error, (OSError, ClipUdfError)):
            raise ApplyError(f"{describe(error)}; {_UNDONE}") from error
        raise
    with quiet:
        try:
            finish(begun, disk)
        except (OSError, ClipUdfError) as error:
            raise ApplyError(f"everything is installed, but {describe(error)}: the next run cleans up") from error


def _prepare(disk: Disk, transaction: Transaction, user: ServerUser) -> None:
    transaction.write(disk)
    for one in transaction.adopted:
        own(disk, one.path, os.geteuid(), os.getegid(), 0o755)
    for directory in transaction.directories:
        if not holds_state(disk, directory):
            make_directory(disk, directory, user)
    for change in transaction.changes:
        change.stage(disk)


def _entered(disk: Disk, transaction: Transaction, phase: str) -> Transaction:
    following = replace(transaction, phase=phase)
    following.write(disk)
    return following


def _sync(disk: Disk, changes: Sequence[Change]) -> None:
    for directory in sorted({change.target.parent for change in changes}):
        with disk.folder(directory) as folder:
            folder.sync()
