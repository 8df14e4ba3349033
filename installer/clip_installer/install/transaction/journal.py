"""A transaction and its journal, which survives the process: what the next run needs to finish or roll it back."""

from __future__ import annotations

import json
import stat
from dataclasses import dataclass
from pathlib import Path

from clip_installer.errors import ApplyError
from clip_installer.install.disk.disk import Disk
from clip_installer.install.transaction.change import Change
from clip_udfs.document import Document

JOURNAL = "journal.json"
PHASES = ("staging", "swapping", "committed")
_MOST_BYTES = 32 << 20
_MOST_FILES = 100_000


@dataclass(frozen=True)
class Adopted:
    """The old state of a directory of the installer that belonged to, or was writable by, somebody else."""

    path: Path
    uid: int
    gid: int
    mode: int


@dataclass(frozen=True)
class Transaction:
    """Changes that happen together.

    Attributes:
        changes: The files in the order in which they are put into place.
        directories: Directories to create, parents first.
        obsolete: Directories to remove after the commit if they are empty, children first.
        adopted: Directories that become the installer's own, parents first.
        phase: ``staging`` until every new file is staged, ``swapping`` until the new state is confirmed, then
            ``committed``.
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
            ApplyError: It is damaged, or names something that no install for this server can touch.
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
        """Write the journal to disk, atomically."""
        with disk.folder(disk.places.state) as folder:
            folder.write(JOURNAL, self.to_json())


def journal_path(disk: Disk) -> Path:
    """The file of the journal, as the server sees it."""
    return disk.places.state / JOURNAL


def pending(disk: Disk) -> Transaction | None:
    """The transaction that a killed process left; None if there is none.

    Raises:
        ApplyError: Its journal is damaged.
    """
    content = disk.read(journal_path(disk), _MOST_BYTES)
    return None if content is None else Transaction.from_json(content, disk)


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
