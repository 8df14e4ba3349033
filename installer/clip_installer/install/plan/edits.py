"""Manual edits of installed files, kept when an installation moves to a new directory."""

from __future__ import annotations

import re
from hashlib import sha256
from pathlib import Path

from clip_installer.errors import ConflictError
from clip_installer.install.disk.disk import Disk
from clip_installer.install.files.placement import Placement
from clip_installer.install.files.wanted import Installation, WantedFile
from clip_installer.install.records.records import InstalledModel
from clip_udfs.functions import FUNCTIONS

_MOST_BYTES = 1 << 20
# Of a definition: what the workers of the new directory speak.
_FORMAT = re.compile(rb"<format>\w+</format>")


class Move:
    """The move of a model's files from the directory of one revision to the next, keeping edits where possible.

    If only the directory changes in an edited definition or launcher, the edit is kept with the new directory, so that
    it does not block an upgrade. A definition also gets the new format.
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
        """Where the file for ``path`` is now."""
        return self._old.directory / path.name if path in self._names else path

    def carried(self, file: WantedFile) -> WantedFile | None:
        """``file`` with its edit, in its new place; None if it was not edited or the edit cannot be kept.

        Raises:
            ConflictError: It was edited, and the upgrade changes it too.
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
        if definition and (form := _FORMAT.search(file.content)):
            content = _FORMAT.sub(form[0], content)
        reason = f"{file.reason}: your edit stays, and it names the new directory"
        return WantedFile(file.path, file.mode, reason, content.replace(old, new))

    def carries(self, path: Path) -> bool:
        """Whether the edit of the file at ``path`` is kept in its new place."""
        return path in self._carried
