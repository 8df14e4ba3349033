"""The step of one file: created, replaced, kept, removed or restored, depending on records and disk."""

from __future__ import annotations

import os
import stat
from collections.abc import Iterable, Iterator, Sequence
from hashlib import sha256
from pathlib import Path
from urllib.parse import quote

from clip_installer.errors import ConflictError
from clip_installer.install.disk.disk import Disk
from clip_installer.install.disk.hashed import HashedFiles
from clip_installer.install.files.placement import BUNDLE, LAUNCHER, Placement
from clip_installer.install.files.wanted import WantedFile
from clip_installer.install.plan.edits import Move
from clip_installer.install.plan.plan import Action, Step
from clip_installer.install.records.records import BACKUPS, EDITED, Backup, InstalledModel, OwnFile, Records
from clip_installer.server.user import user_name
from clip_udfs.verified import VERIFIED


def step_for(disk: Disk, records: Records, suffix: str, file: WantedFile, moved: Move | None, *, force: bool) -> Step:
    """What happens to ``file`` when the model of ``suffix`` is installed.

    Raises:
        ConflictError: The file belongs to somebody else, and ``force`` is not given, or to another model.
    """
    on_disk = disk.here(file.path)
    carried = moved.carried(file) if moved is not None and not force else None
    current = disk.digest(file.path)
    if current is None:
        return Step("create", file.path, (carried or file).reason, carried or file, carried=carried is not None)
    known = records.owner_of(file.path)
    if known is None:
        if not force:
            raise ConflictError(
                f"{on_disk} exists and was not installed by install-udfs; --force keeps a copy and replaces"
                " it, and --uninstall restores it"
            )
        return Step("take over", file.path, file.reason, file)
    model, recorded = known
    if current == file.digest:
        difference = _attribute_difference(disk, file)
        if difference is None:
            return Step("unchanged", file.path, file.reason, file)
        return Step("replace", file.path, f"{file.reason}: {difference}", file)
    if model.suffix != suffix:
        raise ConflictError(
            f"{on_disk} belongs to the model {model.model} with the suffix {model.suffix!r}; choose another suffix"
        )
    if carried is not None:
        return Step("replace", file.path, carried.reason, carried, carried=True)
    edited = current != recorded.sha256
    if edited and not force:
        return Step("keep", file.path, f"{file.reason}: edited since it was installed", file)
    return Step("replace", file.path, file.reason, file, lost=edited and not isinstance(file.content, Path))


def record_of_hashes(disk: Disk, placement: Placement, wanted: Sequence[WantedFile], steps: Sequence[Step]) -> Step:
    """The record of the bundle's files, written once all of them are in place."""
    bundle = placement.bundle
    kept = {step.path for step in steps if step.action == "keep"}
    hashed = HashedFiles(
        bundle,
        {
            str(file.path.relative_to(bundle)): file.digest
            for file in wanted
            if bundle in file.path.parents and file.path not in kept
        },
    )
    path = placement.verified
    if disk.status(path) is None:
        return Step("create", path, "the model's files as they are on this disk", hashed=hashed)
    stays = not any(step.changes for step in steps if bundle in step.path.parents)
    if stays and hashed.are_recorded(disk):
        return Step("unchanged", path, "the model's files as they are on this disk", hashed=hashed)
    return Step("replace", path, "the model's files as they are on this disk now", hashed=hashed)


def removal_of_record(disk: Disk, model: InstalledModel) -> Iterator[Step]:
    """The removal of the record of ``model``'s files.

    It is beside the launcher, whose directory the records of an older version do not contain.
    """
    home = disk.places.home
    for launcher in (file.path for file in model.files if file.path.name == LAUNCHER):
        path = launcher.with_name(VERIFIED)
        # A file of a bundle may have any name.
        if BUNDLE not in launcher.relative_to(home).parts[1:] and disk.status(path) is not None:
            yield Step("remove", path, "installed by install-udfs")


def _attribute_difference(disk: Disk, file: WantedFile) -> str | None:
    status = disk.status(file.path)
    if status is None:
        return None
    if status.st_uid != os.geteuid():
        return f"owner {user_name(status.st_uid)} becomes {user_name(os.geteuid())}"
    if stat.S_IMODE(status.st_mode) != file.mode:
        return f"mode {stat.S_IMODE(status.st_mode):04o} becomes {file.mode:04o}"
    if status.st_nlink > 1:
        return "it has another name elsewhere"
    return None


def removal_steps(
    disk: Disk, file: OwnFile, backup: Backup | None, *, force: bool, kept: bool = False
) -> Iterable[Step]:
    """The removal of a file: an edit is copied first, and the file from before the install is restored.

    Raises:
        ConflictError: It was edited, and ``force`` is not given.
    """
    on_disk = disk.here(file.path)
    current = disk.digest(file.path)
    # A damaged model file is not an edit.
    edited = current not in (None, file.sha256) and BUNDLE not in {parent.name for parent in file.path.parents}
    if edited and not force:
        raise ConflictError(
            f"{on_disk} was edited since it was installed, and would be lost; --force keeps a copy and removes it"
        )
    if edited and not kept:
        yield copy_of_edit(disk, file.path)
    if backup is not None:
        yield Step("restore", file.path, "as it was before install-udfs", source=backup.kept)
        yield Step("remove", backup.kept, "the copy that was restored")
    elif current is not None:
        yield Step("remove", file.path, "installed by install-udfs")


def copy_of_edit(disk: Disk, path: Path) -> Step:
    """Keep a copy of the edited file at ``path``; one copy per content."""
    digest = disk.digest(path) or ""
    copy = disk.places.state / EDITED / f"{digest[:8]}-{quote(path.name)}"
    action: Action = "keep" if disk.status(copy) is not None else "create"
    return Step(action, copy, f"copy of {path} as it was edited", source=path)


def is_shared(others: Records, path: Path) -> bool:
    """Whether a remaining model has the file too: all models share one drop-in for the configuration."""
    return others.owner_of(path) is not None


def backup_path(disk: Disk, path: Path) -> Path:
    """Where the foreign file at ``path`` is kept."""
    digest = sha256(str(path).encode()).hexdigest()[:8]
    return disk.places.state / BACKUPS / f"{digest}-{quote(path.name)}"
