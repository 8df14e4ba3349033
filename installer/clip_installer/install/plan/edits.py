"""Manual edits of installed files, carried along when an installation moves to a new directory."""

from __future__ import annotations

from hashlib import sha256
from pathlib import Path

from clip_installer.errors import ConflictError
from clip_installer.install.disk.disk import Disk
from clip_installer.install.files.placement import Placement
from clip_installer.install.files.wanted import Installation, WantedFile
from clip_installer.install.records.records import InstalledModel
from clip_udfs.functions import FUNCTIONS

_MOST_BYTES = 1 << 20


class Move:
    """The way of a model's files from the directory of one revision to that of the next, with edits that can go along.

    An edited definition or launcher stays as it was edited, but names the new directory, where nothing else in it
    would have changed; so an edit does not stand in the way of an upgrade.
    """

    def __init__(self, disk: Disk, before: InstalledModel, installation: Installation) -> None:
        """Compare the files of ``before`` with those of ``installation``; nothing is read yet."""
        self._disk = disk
        self._recorded = {file.path: file.sha256 for file in before.files}
        new = installation.placement
        old = Placement(new.scripts, before.model, new.definitions, before.revision)
        self._old, self._new = old, new
        self._names = (new.launcher, new.settings, *map(new.own_settings, FUNCTIONS))
        self._carried: set[Path] = set()

    def source(self, path: Path) -> Path:
        """Where the file that shall be at ``path`` is now."""
        return self._old.directory / path.name if path in self._names else path

    def carried(self, file: WantedFile) -> WantedFile | None:
        """``file`` as it was edited, but in its new place; None where it was not edited or cannot be carried.

        Raises:
            ConflictError: It was edited, and would change itself as well.
        """
        source = self.source(file.path)
        recorded = self._recorded.get(source)
        if recorded is None or isinstance(file.content, Path) or self._old.directory == self._new.directory:
            return None
        on_disk = self._disk.here(source)
        content = self._disk.read(source, _MOST_BYTES) or b""
        if not content or sha256(content).hexdigest() == recorded:
            return None
        old, new = self._old.command_directory.encode(), self._new.command_directory.encode()
        definition = source == file.path
        if old not in content or (not definition and sha256(file.content.replace(new, old)).hexdigest() != recorded):
            raise ConflictError(
                f"{on_disk} was edited since it was installed, and has to change; --force keeps a copy and replaces it"
            )
        self._carried.add(source)
        reason = f"{file.reason}: your edit stays, and it names the new directory"
        return WantedFile(file.path, file.mode, reason, content.replace(old, new))

    def carries(self, path: Path) -> bool:
        """Whether the edited file at ``path`` lives on in its new place."""
        return path in self._carried
