"""What an install or a removal would change, from wanted files, records and disk; writes nothing."""

from __future__ import annotations

import stat
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from hashlib import sha256
from pathlib import Path
from typing import Literal
from urllib.parse import quote

from clip_installer.errors import ConflictError
from clip_installer.install.placement import HOME
from clip_installer.install.records import Backup, InstalledModel, OwnFile, Records
from clip_installer.install.wanted import READABLE, Installation, WantedFile, wanted_files
from clip_installer.server.config import ServerConfig
from clip_installer.server.user import ServerUser
from clip_udfs import __version__
from clip_udfs.bundle import sha256 as sha256_of_file
from clip_udfs.functions import FUNCTIONS

RECORDS = "manifest.json"

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
        source: For ``restore``, where the content was kept.
    """

    action: Action
    path: Path
    reason: str
    wanted: WantedFile | None = None
    source: Path | None = None

    @property
    def changes(self) -> bool:
        """Whether the step touches the disk."""
        return self.action not in ("unchanged", "keep")


@dataclass(frozen=True)
class Plan:
    """Every change, before any is made.

    Attributes:
        config: The server.
        user: Who shall own the files.
        steps: The files in the order in which they are put into place.
        directories: Directories to create, parents first.
        obsolete: Directories to remove once they are empty, children first.
        records: The records as they shall be.
        suffixes: Suffixes of the models that are installed or removed.
    """

    config: ServerConfig
    user: ServerUser
    steps: tuple[Step, ...]
    directories: tuple[Path, ...]
    obsolete: tuple[Path, ...]
    records: Records
    suffixes: tuple[str, ...]

    @property
    def changed(self) -> bool:
        """Whether anything on the disk would change."""
        return bool(self.directories) or any(step.changes for step in self.steps)

    def kept(self) -> list[Path]:
        """The files that were edited by hand and stay as they are."""
        return [step.path for step in self.steps if step.action == "keep"]


def records_path(config: ServerConfig) -> Path:
    """The file of the installer's records, as the server sees it."""
    return config.user_scripts_path / HOME / RECORDS


def plan_install(
    config: ServerConfig,
    records: Records,
    user: ServerUser,
    installation: Installation,
    *,
    drops: tuple[str, ...] = (),
    deployed_schema: str | None = None,
    force: bool = False,
) -> Plan:
    """Plan the change from what is on the disk to ``installation``.

    Args:
        config: The server.
        records: What is installed now.
        user: Who shall own the files.
        installation: The model as it shall be.
        drops: Statements to record that remove the model's views and indexes.
        deployed_schema: SHA-256 of the DDL that will be run; None where none will.
        force: Overwrite edited files, and foreign ones too, keeping a copy that a removal restores.

    Raises:
        ConflictError: A file or a function's name belongs to somebody else, or an edit would be lost.
    """
    wanted = wanted_files(installation)
    before = records.find(installation.suffix)
    _refuse_taken_names(config, records, installation)
    steps: list[Step] = []
    backups = {backup.path: backup for backup in (before.backups if before else ())}
    own: list[OwnFile] = []
    for file in wanted:
        step = _step(config, records, installation, user, file, force=force)
        if step.action == "take over":
            backup = Backup(file.path, _backup_path(config, file.path))
            backups[file.path] = backup
            steps.append(Step("create", backup.kept, f"copy of {file.path} as it was", source=file.path))
        known = records.owner_of(file.path)
        recorded = known[1].sha256 if step.action == "keep" and known else file.digest
        own.append(OwnFile(file.path, recorded))
        steps.append(step)
    paths = {file.path for file in wanted}
    for old in before.files if before else ():
        if old.path not in paths and not _is_shared(records.without([installation.suffix]), old.path):
            steps.extend(_removal(config, old, backups.pop(old.path, None), force=force))
    model = InstalledModel(
        suffix=installation.suffix,
        model=installation.bundle.manifest.name,
        version=__version__,
        python=str(installation.python),
        functions=tuple(installation.sql_names),
        files=tuple(own),
        backups=tuple(backups.values()),
        drops=drops,
        schema=deployed_schema if deployed_schema is not None else before.schema if before else "",
    )
    needed = [records_path(config), *(step.path for step in steps if step.changes)]
    # A worker does not start without its picture directories, and the server makes this one only when it
    # starts.
    needed += [root / "any" for root in installation.settings.image_roots if root == config.user_files_path]
    missing = _missing_directories(config, needed)
    after = records.with_model(config.main_file, model, missing)
    return _with_records(config, user, steps, missing, after, (installation.suffix,))


def plan_removal(
    config: ServerConfig, records: Records, user: ServerUser, suffixes: Sequence[str], *, force: bool = False
) -> Plan:
    """Plan the removal of the models of ``suffixes``; what they took over is restored.

    Raises:
        ConflictError: A file was edited since it was installed, and ``force`` is not given.
    """
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
            steps.extend(_removal(config, file, backups.get(file.path), force=force))
    return _with_records(config, user, steps, (), records.without(suffixes), tuple(suffixes))


def _with_records(
    config: ServerConfig,
    user: ServerUser,
    steps: list[Step],
    missing: Sequence[Path],
    after: Records,
    suffixes: tuple[str, ...],
) -> Plan:
    used = {file.path for model in after.models for file in model.files}
    used.update(backup.kept for model in after.models for backup in model.backups)
    path = records_path(config)
    obsolete = tuple(
        directory
        for directory in reversed(Records.load(config.on_disk(path)).directories)
        # Directories of the server's own, such as user_files, stay until nothing is installed any more.
        if not after.models or (path.parent in directory.parents and not any(directory in one.parents for one in used))
    )
    kept = tuple(directory for directory in after.directories if directory not in obsolete)
    after = replace(after, directories=kept)
    if after.models:
        wanted = WantedFile(path, READABLE, "the installer's own records", after.to_json().encode())
        current = _content_digest(config.on_disk(path))
        action: Action = "create" if current is None else "unchanged" if current == wanted.digest else "replace"
        steps.append(Step(action, path, wanted.reason, wanted))
    elif config.on_disk(path).exists():
        steps.append(Step("remove", path, "the installer's own records"))
    return Plan(config, user, tuple(steps), tuple(missing), obsolete, after, suffixes)


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


def _step(
    config: ServerConfig,
    records: Records,
    installation: Installation,
    user: ServerUser,
    file: WantedFile,
    *,
    force: bool,
) -> Step:
    on_disk = config.on_disk(file.path)
    current = _content_digest(on_disk)
    if current is None:
        return Step("create", file.path, file.reason, file)
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
        difference = _attribute_difference(on_disk, file.mode, user)
        if difference is None:
            return Step("unchanged", file.path, file.reason, file)
        return Step("replace", file.path, f"{file.reason}: {difference}", file)
    if model.suffix != installation.suffix:
        raise ConflictError(
            f"{on_disk} belongs to the model {model.model} with the suffix {model.suffix!r}; choose another suffix"
        )
    if current != recorded.sha256 and not force:
        return Step("keep", file.path, f"{file.reason}: edited since it was installed", file)
    return Step("replace", file.path, file.reason, file)


def _attribute_difference(path: Path, mode: int, user: ServerUser) -> str | None:
    status = path.stat()
    if stat.S_IMODE(status.st_mode) != mode:
        return f"mode {stat.S_IMODE(status.st_mode):04o} becomes {mode:04o}"
    if user.can_own and (status.st_uid, status.st_gid) != (user.uid, user.gid) and not user.is_current:
        return f"owner becomes {user.name}"
    return None


def _removal(config: ServerConfig, file: OwnFile, backup: Backup | None, *, force: bool) -> Iterable[Step]:
    on_disk = config.on_disk(file.path)
    current = _content_digest(on_disk)
    if current is not None and current != file.sha256 and not force:
        raise ConflictError(
            f"{on_disk} was edited since it was installed, and would be lost; keep a copy elsewhere and"
            " repeat with --force"
        )
    if backup is not None:
        yield Step("restore", file.path, "as it was before install-udfs", source=backup.kept)
        yield Step("remove", backup.kept, "the copy that was restored")
    elif current is not None:
        yield Step("remove", file.path, "installed by install-udfs")


def _is_shared(others: Records, path: Path) -> bool:
    """Whether a model that stays has the file as well: all have one drop-in for the configuration."""
    return others.owner_of(path) is not None


def _backup_path(config: ServerConfig, path: Path) -> Path:
    digest = sha256(str(path).encode()).hexdigest()[:8]
    return config.user_scripts_path / HOME / "replaced" / f"{digest}-{quote(path.name)}"


def _content_digest(path: Path) -> str | None:
    if not path.is_file():
        if path.is_symlink() or path.exists():
            raise ConflictError(f"{path} is not a regular file; move it away")
        return None
    return sha256_of_file(path)


def _missing_directories(config: ServerConfig, paths: Iterable[Path]) -> tuple[Path, ...]:
    missing: set[Path] = set()
    for path in paths:
        for directory in path.parents:
            if config.on_disk(directory).exists():
                break
            missing.add(directory)
    return tuple(sorted(missing, key=lambda directory: (len(directory.parts), str(directory))))
