"""Plan an install or a removal, from wanted files, records and disk; writes nothing."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path

from clip_installer.errors import ConflictError
from clip_installer.install.disk.disk import Disk
from clip_installer.install.files.wanted import PRIVATE, Installation, WantedFile, wanted_files
from clip_installer.install.plan.directories import adopted_directories, is_our_own, missing_directories
from clip_installer.install.plan.edits import Move
from clip_installer.install.plan.plan import Action, Plan, Step
from clip_installer.install.plan.steps import (
    backup_path,
    copy_of_edit,
    is_shared,
    record_of_hashes,
    removal_of_record,
    removal_steps,
    step_for,
)
from clip_installer.install.records.records import Backup, InstalledModel, OwnFile, Records, records_path
from clip_installer.install.records.takeover import old_records_path
from clip_installer.install.request.options import Options
from clip_installer.install.request.target import Target
from clip_installer.server.config import ServerConfig
from clip_udfs import __version__
from clip_udfs.functions import FUNCTIONS


def plan_install(
    target: Target,
    installation: Installation,
    *,
    options: Options,
    effective: Mapping[str, str] | None = None,
    drops: tuple[str, ...] = (),
    force: bool = False,
) -> Plan:
    """Plan the changes from what is on disk to ``installation``.

    Args:
        target: The server, and what is installed on it now.
        installation: The model as it should be.
        options: The options to remember.
        effective: The effective value of every option, for comparison by a later run.
        drops: Statements to record that remove the model's views and indexes.
        force: Overwrite edited and foreign files, keeping copies.

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
        step = step_for(disk, records, installation.suffix, file, moved, force=force)
        if step.action == "take over":
            backup = Backup(file.path, backup_path(disk, file.path))
            backups[file.path] = backup
            steps.append(Step("create", backup.kept, f"copy of {file.path} as it was", source=file.path))
        if step.lost:
            steps.append(copy_of_edit(disk, step.path))
        known = records.owner_of(file.path)
        recorded = known[1].sha256 if step.action == "keep" and known else file.digest
        own.append(OwnFile(file.path, recorded))
        steps.append(step)
    if not config.is_staged:  # a staged tree is copied to its host, where its files have other identities
        steps.append(record_of_hashes(disk, installation.placement, wanted, steps))
    paths = {file.path for file in wanted}
    for old in before.files if before else ():
        if old.path not in paths and not is_shared(records.without([installation.suffix]), old.path):
            carried = moved is not None and moved.carries(old.path)
            steps.extend(removal_steps(disk, old, backups.pop(old.path, None), force=force or carried, kept=carried))
    if before is not None:
        steps.extend(step for step in removal_of_record(disk, before) if step.path != installation.placement.verified)
    model = InstalledModel(
        suffix=installation.suffix,
        model=installation.bundle.manifest.name,
        version=__version__,
        python=str(installation.python),
        functions=tuple(installation.sql_names),
        files=tuple(own),
        backups=tuple(backups.values()),
        drops=drops,
        # The user who stages a tree is not the user its server will run as.
        user="" if config.is_staged and user.is_current else user.name,
        revision=installation.placement.revision,
        options=options.to_record(),
        effective=dict(effective or {}),
    )
    needed = [records_path(disk), *(step.path for step in steps if step.changes)]
    # A worker does not start without its image directories, and the server creates this one only when it starts.
    needed += [root / "any" for root in installation.settings.image_roots if root == config.user_files_path]
    missing = missing_directories(disk, user, needed)
    after = records.with_model(config.main_file, model, missing)
    return _with_records(target, disk, steps, missing, after)


def plan_removal(target: Target, suffixes: Sequence[str], *, force: bool = False) -> Plan:
    """Plan the removal of the models with ``suffixes``; foreign files that they replaced are restored.

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
            if is_shared(stays, file.path) or any(step.path == file.path for step in steps):
                continue
            steps.extend(removal_steps(disk, file, backups.get(file.path), force=force))
        steps.extend(removal_of_record(disk, model))
    stays = records.without(suffixes)
    missing = missing_directories(disk, user, [records_path(disk)]) if steps or records.taken_over else ()
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
        # The server's own directories, such as user_files, stay until nothing is installed any more.
        if not after.models or (is_our_own(disk, directory) and not any(directory in one.parents for one in used))
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
    adopted = adopted_directories(disk, steps)
    return Plan(disk.config, target.user, tuple(steps), tuple(missing), obsolete, adopted, after, after.taken_over)


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
