"""The rollback: restores what an install changed, immediately if a step fails, or in the next run after a kill."""

from __future__ import annotations

import signal
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

from clip_installer.errors import ApplyError
from clip_installer.install.disk.disk import Disk
from clip_installer.install.disk.folder import STAGED
from clip_installer.install.files.placement import is_definition
from clip_installer.install.transaction.change import describe, discard
from clip_installer.install.transaction.directories import ABSENT, holds_state, own, remove_empty, remove_shared_parent
from clip_installer.install.transaction.journal import Transaction, journal_path, pending


def recover(disk: Disk) -> str | None:
    """Finish or undo what a killed process left.

    Returns:
        What was done, as text; None if there was nothing to do.

    Raises:
        ApplyError: The journal is damaged, or a step failed.
    """
    try:
        transaction = pending(disk)
        with uninterrupted():
            _sweep(disk, transaction)
            if transaction is None:
                return None
            if transaction.phase == "committed":
                finish(transaction, disk)
                return "finished cleaning up after an install that was interrupted at its end"
            roll_back(transaction, disk)
            return "rolled back an install that was interrupted"
    except OSError as error:
        raise ApplyError(f"an interrupted install cannot be rolled back: {describe(error)}") from error


def roll_back(transaction: Transaction, disk: Disk, *, reload: Callable[[], None] | None = None) -> None:
    """Restore everything.

    Args:
        transaction: The unfinished transaction.
        disk: The file system.
        reload: Makes the server read its definitions again; called when the old ones are back, before what the new ones
            named is removed.

    Raises:
        OSError: A step failed; the journal stays for the next attempt.
        ConflictError: Somebody else has put something in the way; likewise.
    """
    swapping = transaction.phase != "staging"
    back = [change for change in reversed(transaction.changes) if is_definition(change.target)]
    for change in back:
        change.undo(disk, swapping=swapping)
    if swapping and back and reload is not None:
        reload()
    for change in reversed(transaction.changes):
        if not is_definition(change.target):
            change.undo(disk, swapping=swapping)
    for one in reversed(transaction.adopted):
        own(disk, one.path, one.uid, one.gid, one.mode)
    _close(disk, tuple(reversed(transaction.directories)))


def finish(transaction: Transaction, disk: Disk) -> None:
    """Remove the kept old state.

    Raises:
        OSError: A step failed; the journal stays for the next attempt.
        ConflictError: Somebody else has put something in the way; likewise.
    """
    for change in transaction.changes:
        change.forget(disk)
    _close(disk, transaction.obsolete)


def _close(disk: Disk, directories: Sequence[Path]) -> None:
    """Remove ``directories`` that are empty, children first, and the journal before those that contain it."""
    holding = [one for one in directories if holds_state(disk, one)]
    for directory in directories:
        if directory not in holding:
            remove_empty(disk, directory)
    discard(disk, journal_path(disk))
    for directory in holding:
        remove_empty(disk, directory)
    if disk.places.state in holding:
        remove_shared_parent(disk)


@contextmanager
def uninterrupted() -> Iterator[None]:
    """Defer Ctrl-C and similar signals until the body has ended: half a rollback would be neither old nor new."""
    arrived: list[int] = []
    before: dict[int, Any] = {}
    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        with suppress(ValueError):  # not the main thread: no handler runs here
            before[number] = signal.signal(number, lambda received, frame: arrived.append(received))
    try:
        yield
    finally:
        for restored, handler in before.items():
            signal.signal(restored, handler if handler is not None else signal.SIG_DFL)
        for late in arrived:
            signal.raise_signal(late)


def _sweep(disk: Disk, transaction: Transaction | None) -> None:
    """Remove what a process left behind when it was killed while writing a journal."""
    waiting = {change.staged.name for change in transaction.changes if change.staged} if transaction else set()
    with suppress(*ABSENT), disk.folder(disk.places.state) as folder:
        for name in folder.names():
            if STAGED.fullmatch(name) and name not in waiting:
                folder.discard(name)
        if not folder.names():
            remove_empty(disk, disk.places.state)
            remove_shared_parent(disk)
