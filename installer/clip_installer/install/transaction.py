"""All or nothing on a file system: staged copies, renames, and a journal that survives the process.

Order of events: the journal is written, directories are made, every file is staged beside its target under a
name that no pattern of the server finds, then each is renamed into place. Until :meth:`Transaction.commit`,
what was there before is kept under another name, and :meth:`Transaction.roll_back` (or
:func:`clip_installer.install.journal.recover` in a later process) puts it back.
"""

from __future__ import annotations

import errno
import os
import shutil
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path

from clip_installer.errors import ApplyError
from clip_installer.install.journal import Journal, Operation, Phase, describe, sync_directory, write_file
from clip_udfs.errors import ClipUdfError

_UNDONE = "everything is as it was before"


@dataclass(frozen=True)
class Delivery:
    """New content for a target, or none to remove it.

    Attributes:
        target: Path on this machine.
        content: Bytes, a file to copy, or None to remove ``target``.
        mode: Permission bits; None takes mode, owner and times from the copied file.
        owner: (uid, gid) to give the file to; None leaves it to whoever runs this.
        fresh: Whether there must not be a file at ``target`` before.
    """

    target: Path
    content: bytes | Path | None
    mode: int | None = None
    owner: tuple[int, int] | None = None
    fresh: bool = False


class Transaction:
    """A set of deliveries that happen together."""

    def __init__(
        self,
        deliveries: Sequence[Delivery],
        directories: Sequence[Path],
        obsolete: Sequence[Path],
        journal: Path,
        hidden: Callable[[Path, str], Path],
        owner: tuple[int, int] | None,
    ) -> None:
        """Describe the transaction; nothing is touched yet.

        Args:
            deliveries: The files in the order in which they are put into place.
            directories: Directories to make, parents first.
            obsolete: Directories to remove after the commit where they are empty, children first.
            journal: Where the journal is written; its directory exists and is not ``obsolete``.
            hidden: For a target and a short name, a path in the same file system that the server ignores.
            owner: (uid, gid) of the new directories; None leaves them to whoever runs this.
        """
        self._deliveries = deliveries
        self._owner = owner
        self._journal = Journal(
            path=journal,
            directories=tuple(directories),
            obsolete=tuple(obsolete),
            operations=tuple(
                Operation(
                    target=delivery.target,
                    staged=hidden(delivery.target, f"{number}.new") if delivery.content is not None else None,
                    saved=hidden(delivery.target, f"{number}.old"),
                    existed=not delivery.fresh and os.path.lexists(delivery.target),
                )
                for number, delivery in enumerate(deliveries)
            ),
        )

    def perform(self) -> None:
        """Stage everything, then put everything into place.

        Raises:
            OSError: A step failed; the caller rolls back.
        """
        self._journal.write()
        for directory in self._journal.directories:
            directory.mkdir(mode=0o755)
            directory.chmod(0o755)
            if self._owner is not None:
                os.chown(directory, *self._owner)
        for delivery, operation in zip(self._deliveries, self._journal.operations, strict=True):
            if operation.staged is not None:
                _stage(delivery, operation.staged)
        self._enter("swapping")
        for operation in self._journal.operations:
            _swap(operation)
        for directory in sorted({operation.target.parent for operation in self._journal.operations}):
            sync_directory(directory)

    def roll_back(self) -> None:
        """Put everything back as it was before :meth:`perform`.

        Raises:
            OSError: A step of that failed; the journal stays for the next attempt.
        """
        self._journal.roll_back()

    def commit(self) -> None:
        """Decide that the new state stays; from here on there is no way back.

        Raises:
            OSError: The decision could not be written; the caller rolls back.
        """
        self._enter("committed")

    def clean_up(self) -> None:
        """Remove what was kept of the old state.

        Raises:
            OSError: A step failed; the journal stays for the next attempt.
        """
        self._journal.finish()

    def _enter(self, phase: Phase) -> None:
        following = replace(self._journal, phase=phase)
        following.write()
        self._journal = following


@contextmanager
def all_or_nothing(transaction: Transaction) -> Iterator[None]:
    """Perform ``transaction``, run the body, commit; any failure in between rolls everything back.

    Raises:
        ApplyError: A step failed; says what, and that it was undone.
    """
    try:
        transaction.perform()
        yield
        transaction.commit()
    except BaseException as error:
        try:
            transaction.roll_back()
        except OSError as second:
            raise ApplyError(
                f"{describe(error)}; undoing failed too ({describe(second)}): the next run tries again"
            ) from error
        if isinstance(error, (OSError, ClipUdfError)):
            raise ApplyError(f"{describe(error)}; {_UNDONE}") from error
        raise
    try:
        transaction.clean_up()
    except OSError as error:
        raise ApplyError(f"all is installed, but {describe(error)}: the next run cleans up") from error


def _stage(delivery: Delivery, staged: Path) -> None:
    if isinstance(delivery.content, Path):
        shutil.copyfile(delivery.content, staged)
        _sync(staged)
    else:
        assert delivery.content is not None
        write_file(staged, delivery.content)
    if delivery.mode is None:
        assert isinstance(delivery.content, Path)
        shutil.copystat(delivery.content, staged)
        status = delivery.content.stat()
        owner = (status.st_uid, status.st_gid) if os.geteuid() == 0 else None
    else:
        staged.chmod(delivery.mode)
        owner = delivery.owner
    if owner is not None:
        os.chown(staged, *owner)


def _swap(operation: Operation) -> None:
    if operation.staged is None:
        operation.target.rename(operation.saved)
        return
    if operation.existed:
        try:
            # A second name for the old file, so that the target is never missing.
            os.link(operation.target, operation.saved, follow_symlinks=False)
        except OSError:
            operation.target.rename(operation.saved)
    elif os.path.lexists(operation.target):
        raise FileExistsError(errno.EEXIST, "appeared while it was being installed", str(operation.target))
    operation.staged.replace(operation.target)


def _sync(path: Path) -> None:
    with path.open("rb") as file:
        os.fsync(file.fileno())
