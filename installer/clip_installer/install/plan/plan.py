"""What an install or a removal would change, from wanted files, records and disk; writes nothing."""

from __future__ import annotations

import os
import stat
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from hashlib import sha256
from pathlib import Path
from typing import Literal
from urllib.parse import quote

from clip_installer.errors import ConfigurationError, ConflictError
from clip_installer.install.disk.disk import Disk
from clip_installer.install.disk.folder import is_private
from clip_installer.install.disk.hashed import HashedFiles
from clip_installer.install.files.placement import BUNDLE, LAUNCHER, Placement
from clip_installer.install.files.wanted import PRIVATE, Installation, WantedFile, wanted_files
from clip_installer.install.plan.edits import Move
from clip_installer.install.records.records import (
    BACKUPS,
    EDITED,
    Backup,
    InstalledModel,
    OwnFile,
    Records,
    records_path,
)
from clip_installer.install.records.takeover import old_records_path
from clip_installer.install.request.options import Options
from clip_installer.install.request.target import Target
from clip_installer.server.config import ServerConfig
from clip_installer.server.user import ServerUser, user_name
from clip_udfs import __version__
from clip_udfs.functions import FUNCTIONS
from clip_udfs.verified import VERIFIED

Action = Literal["create", "replace", "take over", "unchanged", "keep", "remove", "restore"]


@dataclass(frozen=True)
class Step:
    """What happens to one file.

    Attributes:
        action: ``create`` a new file, ``replace`` our own, ``take over`` somebody else's after keeping a
        copy,
            leave it ``unchanged``, ``keep`` what was edited by hand, ``remove`` it, or ``restore`` what it
            was.
        path: The file as the server sees it.
        reason: Why, in a few words.
        wanted: The new content; None where the file goes or stays.
        source: For ``restore`` and for a copy, where the content is.
        lost: Whether an edit is lost by it, so that a copy is kept first.
        carried: Whether its new content has an edit in it.
        hashed: For the record of a bundle's files, those that it is of.
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
        adopted: Directories of the installer's that others could change until now, parents first.
        records: The records as they will be.
        notes: What was taken over from an older version's records, and what was not; a sentence each.
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
        """The files that were edited by hand and stay as they are."""
        return [step.path for step in self.steps if step.action == "keep" and step.wanted is not None]

    def edited(self) -> set[Path]:
        """The files that carry an edit, whether they stay where they are or move with it."""
        return {step.path for step in self.steps if step.carried} | set(self.kept())

    def count(self, *actions: str) -> int:
        """How many files have one of ``actions``."""
        return sum(step.action in actions for step in self.steps)


def plan_install(
    target: Target,
    installation: Installation,
    *,
    options: Options,
    effective: Mapping[str, str] | None = None,
    drops: tuple[str, ...] = (),
    force: bool = False,
) -> Plan:
    """Plan the change from what is on the disk to ``installation``.

    Args:
        target: The server, and what is installed on it now.
        installation: The model as it shall be.
        options: The options to remember.
        effective: What every option comes to, to compare a later run with.
        drops: Statements to record that remove the model's views and indexes.
        force: Overwrite edited files, and foreign ones too, keeping a copy.

    Raises:
        ConflictError: A file or a function's name belongs to somebody else, or an edit would be lost.
    """
    config, records, user = target.config, target.records, target.user
    disk = Disk(config)
    wanted = wanted_files(installation)
    before = records.find(installation.suffix)
    _refuse_taken_names(config, records, installation)
    steps: list[Step] = []
    backups = {backup.path: backup for backup in (before.backups if before else ())}
    own: list[OwnFile] = []
    moved = Move(disk, before, installation) if before else None
    for file in wanted:
        step = _step(disk, records, installation.suffix, file, moved, force=force)
        if step.action == "take over":
            backup = Backup(file.path, _backup_path(disk, file.path))
            backups[file.path] = backup
            steps.append(Step("create", backup.kept, f"copy of {file.path} as it was", source=file.path))
        if step.lost:
            steps.append(_copy_of_edit(disk, step.path))
        known = records.owner_of(file.path)
        recorded = known[1].sha256 if step.action == "keep" and known else file.digest
        own.append(OwnFile(file.path, recorded))
        steps.append(step)
    if config.destdir == Path("/"):  # a staged tree is copied to where it works, and its files are others then
        steps.append(_record_of_hashes(disk, installation.placement, wanted, steps))
    paths = {file.path for file in wanted}
    for old in before.files if before else ():
        if old.path not in paths and not _is_shared(records.without([installation.suffix]), old.path):
            carried = moved is not None and moved.carries(old.path)
            steps.extend(_removal(disk, old, backups.pop(old.path, None), force=force or carried, kept=carried))
    if before is not None:
        steps.extend(step for step in _removal_of_record(disk, before) if step.path != installation.placement.verified)
    model = InstalledModel(
        suffix=installation.suffix,
        model=installation.bundle.manifest.name,
        version=__version__,
        python=str(installation.python),
        functions=tuple(installation.sql_names),
        files=tuple(own),
        backups=tuple(backups.values()),
        drops=drops,
        # Who stages a tree is not who the server in it will run as.
        user="" if config.destdir != Path("/") and user.is_current else user.name,
        revision=installation.placement.revision,
        options=options.to_record(),
        effective=dict(effective or {}),
    )
    needed = [records_path(disk), *(step.path for step in steps if step.changes)]
    # A worker does not start without its image directories, and the server makes this one only when it starts.
    needed += [root / "any" for root in installation.settings.image_roots if root == config.user_files_path]
    missing = _missing_directories(disk, user, needed)
    after = records.with_model(config.main_file, model, missing)
    return _with_records(target, disk, steps, missing, after)


def plan_removal(target: Target, suffixes: Sequence[str], *, force: bool = False) -> Plan:
    """Plan the removal of the models of ``suffixes``; what they took over is restored.

    Raises:
        ConflictError: A file was edited since it was installed, and ``force`` is not given.
    """
    records, user, disk = target.records, target.user, Disk(target.config)
    steps: list[Step] = []
    stays = records.without(suffixes)
    for suffix in suffixes:
        model = records.find(suffix)
        if model is None:
            continue
        backups = {backup.path: backup for backup in model.backups}
        # Definitions go first: ClickHouse must not keep a function whose launcher is gone.
        for file in reversed(model.files):
            if _is_shared(stays, file.path) or any(step.path == file.path for step in steps):
                continue
            steps.extend(_removal(disk, file, backups.get(file.path), force=force))
        steps.extend(_removal_of_record(disk, model))
    stays = records.without(suffixes)
    missing = _missing_directories(disk, user, [records_path(disk)]) if steps or records.taken_over else ()
    if stays.models:
        stays = replace(stays, directories=tuple(dict.fromkeys((*stays.directories, *missing))))
    return _with_records(target, disk, steps, missing, stays)


def _with_records(target: Target, disk: Disk, steps: list[Step], missing: Sequence[Path], after: Records) -> Plan:
    used = {file.path for model in after.models for file in model.files}
    used.update(backup.kept for model in after.models for backup in model.backups)
    path = records_path(disk)
    recorded = dict.fromkeys((*target.records.directories, *(() if after.models else missing)))
    obsolete = tuple(
        directory
        for directory in sorted(recorded, key=lambda one: len(one.parts), reverse=True)
        # Directories of the server's own, such as user_files, stay until nothing is installed any more.
        if not after.models or (_is_our_own(disk, directory) and not any(directory in one.parents for one in used))
    )
    kept = tuple(directory for directory in after.directories if directory not in obsolete)
    after = replace(after, directories=kept)
    if after.models:
        wanted = WantedFile(path, PRIVATE, "the installer's own records", after.to_json().encode())
        current = disk.digest(path)
        action: Action = "create" if current is None else "unchanged" if current == wanted.digest else "replace"
        steps.append(Step(action, path, wanted.reason, wanted))
    elif disk.status(path) is not None:
        steps.append(Step("remove", path, "the installer's own records"))
    if after.taken_over:
        steps.append(Step("remove", old_records_path(disk), "the records of an older version"))
    adopted = _adopted(disk, steps)
    return Plan(disk.config, target.user, tuple(steps), tuple(missing), obsolete, adopted, after, after.taken_over)


def _is_our_own(disk: Disk, directory: Path) -> bool:
    """Whether ``directory`` is one of a model's, or of copies, and not one that all models need."""
    state = disk.places.state
    below = disk.places.home in directory.parents or state in directory.parents
    return below and directory != state and directory not in state.parents


def _adopted(disk: Disk, steps: Sequence[Step]) -> tuple[Path, ...]:
    """The directories of ours in which something changes and which others could change, parents first."""
    needed = dict.fromkeys(
        directory for step in steps if step.changes for directory in disk.places.directories(step.path)
    )
    adopted = []
    for directory in sorted(needed, key=lambda one: len(one.parts)):
        status = disk.status(directory)
        if status is None:
            continue
        if not stat.S_ISDIR(status.st_mode):
            raise ConflictError(f"{disk.here(directory)} is not a directory; move it away")
        if status.st_uid == os.geteuid() and is_private(status):
            continue
        if os.geteuid() not in (0, status.st_uid):
            raise ConflictError(
                f"{disk.here(directory)} belongs to {user_name(status.st_uid)}: run this command as that user"
            )
        adopted.append(directory)
    return tuple(adopted)


def _refuse_taken_names(config: ServerConfig, records: Records, installation: Installation) -> None:
    if installation.suffix and set(installation.sql_names) & set(FUNCTIONS):
        raise ConflictError(
            f"--suffix {installation.suffix}: its functions would be named like the default model's"
            f" ({sorted(set(installation.sql_names) & set(FUNCTIONS))[0]}); choose another"
        )
    name = installation.bundle.manifest.name
    for other in records.models:
        if other.model == name and other.suffix != installation.suffix:
            raise ConflictError(
                f"the model {name} is installed already, as {other.functions[0]}; uninstall that first, or give this"
                " bundle another name with clip-udfs build-model --name"
            )
    for name, path in config.functions().items():
        if name in installation.sql_names and path != installation.placement.definition(name):
            owner = records.owner_of(path)
            if owner is None or owner[0].suffix != installation.suffix:
                raise ConflictError(
                    f"the function {name} is already defined in {config.on_disk(path)}; install this model"
                    " beside it with --suffix NAME, or remove that definition"
                )


def _step(disk: Disk, records: Records, suffix: str, file: WantedFile, moved: Move | None, *, force: bool) -> Step:
    on_disk = disk.here(file.path)
    carried = moved.carried(file) if moved is not None and not force else None
    current = disk.digest(file.path)
    if current is None:
        return Step("create", file.path, (carried or file).reason, carried or file, carried=carried is not None)
    known = records.owner_of(file.path)
    if known is None:
        if not force:
            raise ConflictError(
                f"{on_disk} is there and was not installed by install-udfs; --force keeps a copy, replaces"
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


def _record_of_hashes(disk: Disk, placement: Placement, wanted: Sequence[WantedFile], steps: Sequence[Step]) -> Step:
    """The record of the bundle's files, which is written when they are all in their places."""
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


def _removal_of_record(disk: Disk, model: InstalledModel) -> Iterator[Step]:
    """Beside the launcher: which directory that is, the records of an older version do not say."""
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


def _removal(disk: Disk, file: OwnFile, backup: Backup | None, *, force: bool, kept: bool = False) -> Iterable[Step]:
    on_disk = disk.here(file.path)
    current = disk.digest(file.path)
    # A damaged part of a model is nobody's edit.
    edited = current not in (None, file.sha256) and BUNDLE not in {parent.name for parent in file.path.parents}
    if edited and not force:
        raise ConflictError(
            f"{on_disk} was edited since it was installed, and would be lost; --force keeps a copy and removes it"
        )
    if edited and not kept:
        yield _copy_of_edit(disk, file.path)
    if backup is not None:
        yield Step("restore", file.path, "as it was before install-udfs", source=backup.kept)
        yield Step("remove", backup.kept, "the copy that was restored")
    elif current is not None:
        yield Step("remove", file.path, "installed by install-udfs")


def _copy_of_edit(disk: Disk, path: Path) -> Step:
    digest = disk.digest(path) or ""
    copy = disk.places.state / EDITED / f"{digest[:8]}-{quote(path.name)}"
    action: Action = "keep" if disk.status(copy) is not None else "create"
    return Step(action, copy, f"copy of {path} as it was edited", source=path)


def _is_shared(others: Records, path: Path) -> bool:
    """Whether a model that stays has the file as well: all have one drop-in for the configuration."""
    return others.owner_of(path) is not None


def _backup_path(disk: Disk, path: Path) -> Path:
    digest = sha256(str(path).encode()).hexdigest()[:8]
    return disk.places.state / BACKUPS / f"{digest}-{quote(path.name)}"


def _missing_directories(disk: Disk, user: ServerUser, paths: Iterable[Path]) -> tuple[Path, ...]:
    config = disk.config
    missing: set[Path] = set()
    for path in paths:
        for directory in path.parents:
            if config.on_disk(directory).exists():
                break
            missing.add(directory)
    if config.path in missing and config.destdir == Path("/") and not user.is_current:
        raise ConfigurationError(
            f"the server's data directory {config.path} does not exist: start the server once, or create it with"
            f" install -d -o {user.name} {config.path}"
        )
    return tuple(sorted(missing, key=lambda directory: (len(directory.parts), str(directory))))
