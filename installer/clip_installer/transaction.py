"""All or nothing on a file system: staged copies, renames, and a journal that survives the process.

Order of events: the journal is written, directories are made, every file is staged beside its target under a
name that no pattern of the server finds, then each is renamed into place. Until :meth:`Transaction.commit`,
what was there before is kept under another name, and :meth:`Transaction.roll_back` (or :func:`recover` in a
later process) puts it back.
"""

from __future__ import annotations

import errno
import json
import os
import shutil
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from clip_installer.errors import ApplyError
from clip_udfs.errors import ClipUdfError

_UNDONE = "everything is as it was before"


@dataclass(frozen=True)
class Operation:
    """One file of a transaction.

    Attributes:
        target: Where the file is, or shall be.
        staged: Where its new content waits; None removes the file.
        saved: Where the old content is kept until the commit.
        existed: Whether there was a file at ``target`` before.
    """

    target: Path
    staged: Path | None
    saved: Path
    existed: bool


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
        self._state = _State(
            journal=journal,
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
        self._state.write(committed=False)
        for directory in self._state.directories:
            directory.mkdir(mode=0o755)
            directory.chmod(0o755)
            if self._owner is not None:
                os.chown(directory, *self._owner)
        for delivery, operation in zip(self._deliveries, self._state.operations, strict=True):
            if operation.staged is not None:
                _stage(delivery, operation.staged)
        for operation in self._state.operations:
            _swap(operation)
        for directory in sorted({operation.target.parent for operation in self._state.operations}):
            _sync_directory(directory)

    def roll_back(self) -> None:
        """Put everything back as it was before :meth:`perform`.

        Raises:
            OSError: A step of that failed; the journal stays for the next attempt.
        """
        _roll_back(self._state)

    def commit(self) -> None:
        """Decide that the new state stays; from here on there is no way back.

        Raises:
            OSError: The decision could not be written; the caller rolls back.
        """
        self._state.write(committed=True)

    def clean_up(self) -> None:
        """Remove what was kept of the old state.

        Raises:
            OSError: A step failed; the journal stays for the next attempt.
        """
        _finish(self._state)


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


def recover(journals: Sequence[Path]) -> str | None:
    """Finish or undo what a killed installer left, where one of ``journals`` exists.

    Returns:
        What was done, in words; None where there was nothing to do.

    Raises:
        ApplyError: The journal is damaged, or a step failed.
    """
    for journal in journals:
        try:
            _discard(_unfinished(journal))
            state = _State.load(journal)
            if state is None:
                continue
            if state.committed:
                _finish(state)
                return "finished the clean-up of an install that was interrupted at its end"
            _roll_back(state)
            return "undid an install that was interrupted"
        except OSError as error:
            raise ApplyError(f"an interrupted install cannot be undone: {describe(error)}") from error
    return None


def describe(error: BaseException) -> str:
    """One line for an error: for a file operation the file and the reason."""
    if isinstance(error, OSError) and error.strerror:
        name = error.filename2 or error.filename
        return f"{name}: {error.strerror}" if name is not None else error.strerror
    return str(error) or type(error).__name__


@dataclass(frozen=True)
class _State:
    journal: Path
    directories: tuple[Path, ...]
    obsolete: tuple[Path, ...]
    operations: tuple[Operation, ...]
    committed: bool = False

    def write(self, *, committed: bool) -> None:
        values = {**asdict(self), "committed": committed}
        staged = _unfinished(self.journal)
        _write(staged, json.dumps(values, indent=1, default=str).encode())
        staged.replace(self.journal)
        _sync_directory(self.journal.parent)

    @classmethod
    def load(cls, journal: Path) -> _State | None:
        try:
            values: dict[str, Any] = json.loads(journal.read_bytes())
        except (FileNotFoundError, NotADirectoryError):
            return None
        except ValueError as error:
            raise ApplyError(
                f"{journal}, the journal of an interrupted install, is damaged: {error}"
            ) from error
        return cls(
            journal=journal,
            directories=tuple(Path(directory) for directory in values["directories"]),
            obsolete=tuple(Path(directory) for directory in values["obsolete"]),
            operations=tuple(
                Operation(
                    Path(one["target"]),
                    Path(one["staged"]) if one["staged"] is not None else None,
                    Path(one["saved"]),
                    one["existed"],
                )
                for one in values["operations"]
            ),
            committed=values["committed"],
        )


def _discard(path: Path) -> None:
    # A read-only file system refuses to remove even what is not there.
    if os.path.lexists(path):
        path.unlink()


def _unfinished(journal: Path) -> Path:
    return journal.with_name(journal.name + ".new")


def _stage(delivery: Delivery, staged: Path) -> None:
    if isinstance(delivery.content, Path):
        shutil.copyfile(delivery.content, staged)
        _sync(staged)
    else:
        assert delivery.content is not None
        _write(staged, delivery.content)
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


def _roll_back(state: _State) -> None:
    for operation in reversed(state.operations):
        if os.path.lexists(operation.saved):
            operation.saved.replace(operation.target)
            # Renaming one name of a file over another name of it does nothing.
            _discard(operation.saved)
        elif not operation.existed and operation.staged is not None and not operation.staged.exists():
            _discard(operation.target)
        if operation.staged is not None:
            _discard(operation.staged)
    for directory in reversed(state.directories):
        with suppress(FileNotFoundError, NotADirectoryError):
            directory.rmdir()
    _discard(_unfinished(state.journal))
    _discard(state.journal)


def _finish(state: _State) -> None:
    for operation in state.operations:
        _discard(operation.saved)
    for directory in state.obsolete:
        try:
            directory.rmdir()
        except FileNotFoundError:
            continue
        except OSError as error:
            # Somebody else's file in it is a reason to leave it.
            if error.errno not in (errno.ENOTEMPTY, errno.EEXIST):
                raise
    _discard(state.journal)


def _write(path: Path, content: bytes) -> None:
    with path.open("wb") as file:
        file.write(content)
        file.flush()
        os.fsync(file.fileno())


def _sync(path: Path) -> None:
    with path.open("rb") as file:
        os.fsync(file.fileno())


def _sync_directory(directory: Path) -> None:
    handle = os.open(directory, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)
