"""The plan: what happens to each file and directory, before anything is changed."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from clip_installer.install.disk.hashed import HashedFiles
from clip_installer.install.files.wanted import WantedFile
from clip_installer.install.records.records import Records
from clip_installer.server.config import ServerConfig
from clip_installer.server.user import ServerUser

Action = Literal["create", "replace", "take over", "unchanged", "keep", "remove", "restore"]


@dataclass(frozen=True)
class Step:
    """What happens to one file.

    Attributes:
        action: ``create`` a new file, ``replace`` our own, ``take over`` a foreign one after keeping a copy, leave it
            ``unchanged``, ``keep`` what was edited by hand, ``remove`` it, or ``restore`` what was there before.
        path: The file as the server sees it.
        reason: Why, in a few words.
        wanted: The new content; None if the file is removed or kept.
        source: For ``restore`` and for a copy, where the content is.
        lost: Whether it discards an edit, so that a copy is kept first.
        carried: Whether its new content contains an edit.
        hashed: For the record of a bundle's files, those files.
    """

    action: Action
    path: Path
    reason: str
    wanted: WantedFile | None = None
    source: Path | None = None
    lost: bool = False
    carried: bool = False
    hashed: HashedFiles | None = None

    @property
    def changes(self) -> bool:
        """Whether the step touches the disk."""
        return self.action not in ("unchanged", "keep")


@dataclass(frozen=True)
class Plan:
    """Every change, before any is made.

    Attributes:
        config: The server.
        user: The user that the server runs as.
        steps: The files in the order in which they are put into place.
        directories: Directories to create, parents first.
        obsolete: Directories to remove once they are empty, children first.
        adopted: Directories of the installer that other users could change so far, parents first.
        records: The new records.
        notes: What was taken over from an older version's records, and what was not, as sentences.
    """

    config: ServerConfig
    user: ServerUser
    steps: tuple[Step, ...]
    directories: tuple[Path, ...]
    obsolete: tuple[Path, ...]
    adopted: tuple[Path, ...]
    records: Records
    notes: tuple[str, ...] = ()

    @property
    def changed(self) -> bool:
        """Whether anything on the disk would change."""
        return bool(self.directories or self.adopted) or any(step.changes for step in self.steps)

    def kept(self) -> list[Path]:
        """The manually edited files that stay as they are."""
        return [step.path for step in self.steps if step.action == "keep" and step.wanted is not None]

    def edited(self) -> set[Path]:
        """The files with an edit, whether they stay or move."""
        return {step.path for step in self.steps if step.carried} | set(self.kept())

    def changes_configuration(self) -> bool:
        """Whether a file that ClickHouse merges into its configuration changes."""
        directory = self.config.main_file.with_suffix(".d")
        return any(directory in step.path.parents for step in self.steps if step.changes)

    def count(self, *actions: str) -> int:
        """How many files have one of ``actions``."""
        return sum(step.action in actions for step in self.steps)
