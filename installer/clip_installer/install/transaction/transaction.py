"""All or nothing on a server's file system, with a journal that survives the process.

Order of events: the journal is written, directories are made, every new file is staged, then each is renamed into
place, and the function definitions that go are removed. Then the caller confirms that the server has the new state.
Only after that everything else goes that is not needed any more. Until the commit the old state is kept, and
:meth:`Transaction.roll_back`, here or in a later process, puts it back.
"""

from __future__ import annotations

import errno
import json
import os
import signal
import stat
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from clip_installer.errors import ApplyError
from clip_installer.install.disk.disk import ROOTS_STATE, Disk
from clip_installer.install.disk.folder import STAGED
from clip_installer.install.files.placement import is_definition
from clip_installer.install.transaction.change import Change, discard
from clip_installer.server.user import ServerUser
from clip_udfs.document import Document
from clip_udfs.errors import ClipUdfError

JOURNAL = "journal.json"
PHASES = ("staging", "swapping", "committed")
_MOST_BYTES = 32 << 20
_MOST_FILES = 100_000
_UNDONE = "everything is as it was before"
_ABSENT = (FileNotFoundError, NotADirectoryError)
_NOT_EMPTY = (errno.ENOTEMPTY, errno.EEXIST, errno.EBUSY)


@dataclass(frozen=True)
class Adopted:
    """A directory of the installer's that belonged to somebody else, or that others could write to: how it was."""

    path: Path
    uid: int
    gid: int
    mode: int


@dataclass(frozen=True)
class Transaction:
    """Changes that happen together.

    Attributes:
        changes: The files in the order in which they are put into place.
        directories: Directories to make, parents first.
        obsolete: Directories to remove after the commit where they are empty, children first.
        adopted: Directories that are made the installer's own, parents first.
        phase: ``staging`` until every new content waits, ``swapping`` until it is decided that the new state stays,
            then ``committed``.
    """

    changes: tuple[Change, ...]
    directories: tuple[Path, ...] = ()
    obsolete: tuple[Path, ...] = ()
    adopted: tuple[Adopted, ...] = ()
    phase: str = "staging"

    def to_json(self) -> bytes:
        """The content of the journal."""
        values = {
            "phase": self.phase,
            "directories": self.directories,
            "obsolete": self.obsolete,
            "adopted": [vars(one) for one in self.adopted],
            "changes": [
                {name: getattr(one, name) for name in ("target", "saved", "staged", "existed", "late")}
                for one in self.changes
            ],
        }
        return json.dumps(values, indent=1, default=str).encode()

    @classmethod
    def from_json(cls, content: bytes, disk: Disk) -> Transaction:
        """Parse a journal.

        Raises:
            ApplyError: It is damaged, or names something that no install for this server touches.
        """
        where = f"{disk.here(journal_path(disk))}, the journal of an interrupted install,"
        values = Document.parse(content, where, ApplyError, most=_MOST_BYTES)
        values.only("phase", "directories", "obsolete", "adopted", "changes")
        made = cls(
            changes=tuple(_change(one) for one in values.objects("changes", _MOST_FILES)),
            directories=tuple(Path(one) for one in values.texts("directories", _MOST_FILES)),
            obsolete=tuple(Path(one) for one in values.texts("obsolete", _MOST_FILES)),
            adopted=tuple(_adopted(one) for one in values.objects("adopted", _MOST_FILES)),
            phase=values.choice("phase", PHASES),
        )
        for change in made.changes:
            if not change.is_sound(disk):
                values.refuse(f"names {change.target}, which is no file of this installation")
        for path in (*made.directories, *made.obsolete, *(one.path for one in made.adopted)):
            if not disk.places.holds_directory(path):
                values.refuse(f"names {path}, which is no directory of this installation")
        return made

    def write(self, disk: Disk) -> None:
        """Put the journal on the disk, whole."""
        with disk.folder(disk.places.state) as folder:
            folder.write(JOURNAL, self.to_json())

    def roll_back(self, disk: Disk, *, reload: Callable[[], None] | None = None) -> None:
        """Put everything back as it was.

        Args:
            disk: Where.
            reload: Makes the server read its definitions again; called when they are back, before what they named in
                the meantime goes.

        Raises:
            OSError: A step failed; the journal stays for the next attempt.
            ConflictError: Somebody else has put something into the way; likewise.
        """
        swapping = self.phase != "staging"
        back = [change for change in reversed(self.changes) if is_definition(change.target)]
        for change in back:
            change.undo(disk, swapping=swapping)
        if swapping and back and reload is not None:
            reload()
        for change in reversed(self.changes):
            if not is_definition(change.target):
                change.undo(disk, swapping=swapping)
        for one in reversed(self.adopted):
            _own(disk, one.path, one.uid, one.gid, one.mode)
        self._close(disk, tuple(reversed(self.directories)))

    def finish(self, disk: Disk) -> None:
        """Remove what was kept of the old state.

        Raises:
            OSError: A step failed; the journal stays for the next attempt.
            ConflictError: Somebody else has put something into the way; likewise.
        """
        for change in self.changes:
            change.forget(disk)
        self._close(disk, self.obsolete)

    def _close(self, disk: Disk, directories: Sequence[Path]) -> None:
        """Remove ``directories`` where they are empty, children first, and the journal before those that hold it."""
        holding = [one for one in directories if holds_state(disk, one)]
        for directory in directories:
            if directory not in holding:
                remove_empty(disk, directory)
        discard(disk, journal_path(disk))
        for directory in holding:
            remove_empty(disk, directory)
        if disk.places.state in holding:
            _remove_shared_parent(disk)


def journal_path(disk: Disk) -> Path:
    """The file of the journal, as the server sees it."""
    return disk.places.state / JOURNAL


def pending(disk: Disk) -> Transaction | None:
    """The transaction that a killed process left; None where there is none.

    Raises:
        ApplyError: Its journal is damaged.
    """
    content = disk.read(journal_path(disk), _MOST_BYTES)
    return None if content is None else Transaction.from_json(content, disk)


def recover(disk: Disk) -> str | None:
    """Finish or undo what a killed process left.

    Returns:
        What was done, in words; None where there was nothing to do.

    Raises:
        ApplyError: The journal is damaged, or a step failed.
    """
    try:
        transaction = pending(disk)
        with _uninterrupted():
            _sweep(disk, transaction)
            if transaction is None:
                return None
            if transaction.phase == "committed":
                transaction.finish(disk)
                return "finished cleaning up after an install that was interrupted at its end"
            transaction.roll_back(disk)
            return "rolled back an install that was interrupted"
    except OSError as error:
        raise ApplyError(f"an interrupted install cannot be rolled back: {describe(error)}") from error


@contextmanager
def all_or_nothing(
    disk: Disk,
    transaction: Transaction,
    user: ServerUser,
    *,
    prove: Callable[[], None] | None = None,
    reload: Callable[[], None] | None = None,
) -> Iterator[None]:
    """Perform ``transaction``, run the body, remove the rest, commit; any failure rolls everything back.

    Args:
        disk: Where.
        transaction: What.
        user: Whose the server's own directories are.
        prove: Called when everything but the definitions is in place, so that the server does not see it yet.
        reload: Makes the server read its definitions again after a failure.

    Raises:
        ApplyError: A step failed; says what, and that it was undone.
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
        quiet.enter_context(_uninterrupted())
        for change in transaction.changes:
            if change.late:
                change.swap(disk)
        begun = _entered(disk, begun, "committed")
    except BaseException as error:
        with quiet, _uninterrupted():
            try:
                begun.roll_back(disk, reload=reload)
            except (OSError, ClipUdfError) as second:
                raise ApplyError(
                    f"{describe(error)}; undoing it failed too ({describe(second)}): the next run tries again"
                ) from error
        if isinstance(error, (OSError, ClipUdfError)):
            raise ApplyError(f"{describe(error)}; {_UNDONE}") from error
        raise
    with quiet:
        try:
            begun.finish(disk)
        except (OSError, ClipUdfError) as error:
            raise ApplyError(f"all is installed, but {describe(error)}: the next run cleans up") from error


def describe(error: BaseException) -> str:
    """One line for an error: for a file operation the file and the reason."""
    if isinstance(error, OSError) and error.strerror:
        name = error.filename2 or error.filename
        return f"{name}: {error.strerror}" if name is not None else error.strerror
    return str(error) or type(error).__name__


def _prepare(disk: Disk, transaction: Transaction, user: ServerUser) -> None:
    transaction.write(disk)
    for one in transaction.adopted:
        _own(disk, one.path, os.geteuid(), os.getegid(), 0o755)
    for directory in transaction.directories:
        if not holds_state(disk, directory):
            make_directory(disk, directory, user)
    for change in transaction.changes:
        change.stage(disk)


def _sweep(disk: Disk, transaction: Transaction | None) -> None:
    """Remove what a process left that was killed while it wrote a journal."""
    waiting = {change.staged.name for change in transaction.changes if change.staged} if transaction else set()
    with suppress(*_ABSENT), disk.folder(disk.places.state) as folder:
        for name in folder.names():
            if STAGED.fullmatch(name) and name not in waiting:
                folder.discard(name)
        if not folder.names():
            remove_empty(disk, disk.places.state)
            _remove_shared_parent(disk)


def _remove_shared_parent(disk: Disk) -> None:
    """Remove the directory that holds those of all servers, whichever of their installs made it, with the last one."""
    if disk.places.state.parent == ROOTS_STATE:
        remove_empty(disk, ROOTS_STATE)


def _entered(disk: Disk, transaction: Transaction, phase: str) -> Transaction:
    following = replace(transaction, phase=phase)
    following.write(disk)
    return following


def holds_state(disk: Disk, directory: Path) -> bool:
    """Whether ``directory`` is that of the records and the journal, or above it."""
    return directory == disk.places.state or directory in disk.places.state.parents


def make_directory(disk: Disk, path: Path, user: ServerUser) -> None:
    """Make the directory at ``path``: the server's own as its ``user``, any other as whoever runs this.

    Raises:
        OSError: It cannot be made.
        ApplyError: The server's user cannot make it.
    """
    config = disk.config
    servers = path in (config.path, config.user_files_path) or path in config.path.parents
    if servers and config.destdir == Path("/") and not user.is_current:
        user.make_directory(config.on_disk(path))
        return
    in_state = path == disk.places.state or disk.places.state in path.parents
    with disk.folder(path.parent, writing=True) as folder:
        folder.make(path.name, 0o700 if in_state else 0o755)


def remove_empty(disk: Disk, path: Path) -> None:
    """Remove the directory at ``path`` where there is one and it is empty.

    Raises:
        OSError: It cannot be removed.
    """
    with suppress(*_ABSENT):
        try:
            with disk.folder(path.parent, writing=True) as folder:
                os.rmdir(path.name, dir_fd=folder.handle)
        except OSError as error:
            # Somebody else's file in it is a reason to leave it.
            if error.errno not in _NOT_EMPTY:
                raise


def _own(disk: Disk, path: Path, uid: int, gid: int, mode: int) -> None:
    """Give the directory at ``path`` to ``uid`` and ``gid``, with ``mode``."""
    with disk.folder(path.parent, writing=True) as folder:
        handle = os.open(path.name, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC, dir_fd=folder.handle)
        try:
            os.fchown(handle, uid, gid)
            os.fchmod(handle, mode)
        finally:
            os.close(handle)


def _sync(disk: Disk, changes: Sequence[Change]) -> None:
    for directory in sorted({change.target.parent for change in changes}):
        with disk.folder(directory) as folder:
            folder.sync()


@contextmanager
def _uninterrupted() -> Iterator[None]:
    """Put off Ctrl-C and its kin until the body has ended: half an undoing would be neither old nor new."""
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


def _change(values: Document) -> Change:
    values.only("target", "saved", "staged", "existed", "late")
    staged = values.raw("staged")
    return Change(
        target=Path(values.text("target", pattern="/.*")),
        saved=Path(values.text("saved", pattern="/.*")),
        staged=None if staged is None else Path(values.text("staged", pattern="/.*")),
        existed=values.flag("existed"),
        late=values.flag("late"),
    )


def _adopted(values: Document) -> Adopted:
    values.only("path", "uid", "gid", "mode")
    most = (1 << 32) - 2
    return Adopted(
        Path(values.text("path", pattern="/.*")),
        values.integer("uid", 0, most),
        values.integer("gid", 0, most),
        stat.S_IMODE(values.integer("mode", 0, 0o7777)),
    )
