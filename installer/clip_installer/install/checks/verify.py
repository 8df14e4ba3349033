"""Prove that an installed model works: on this machine, and through ClickHouse."""

from __future__ import annotations

import json
from collections.abc import Collection, Iterator
from pathlib import Path
from typing import TYPE_CHECKING

from clip_installer.install.checks.findings import Finding, note, problem
from clip_installer.install.checks.golden import Golden
from clip_installer.install.checks.host import (
    check_files,
    check_graphs,
    check_interpreter,
    check_pictures,
    check_start,
    check_workers,
)
from clip_installer.install.checks.server import check_calls, check_definitions
from clip_installer.install.disk.disk import Disk
from clip_installer.install.files.placement import Placement, is_definition
from clip_installer.install.records.records import InstalledModel
from clip_installer.server.config import ServerConfig
from clip_installer.server.config_files import parse, text_of
from clip_installer.server.user import ServerUser
from clip_udfs.errors import ClipUdfError
from clip_udfs.settings import WorkerSettings

if TYPE_CHECKING:
    from clip_installer.clickhouse.database import Database

_MOST_SETTINGS = 1 << 20


def verify_host(
    config: ServerConfig,
    model: InstalledModel,
    user: ServerUser,
    *,
    edited: Collection[Path] = (),
    installed: bool = True,
) -> Iterator[Finding]:
    """Check files, interpreter, packages, image directories and workers; only the files of a staged tree.

    Args:
        config: The server's configuration.
        model: The installed model.
        user: Its system user.
        edited: Files whose edits are known and not a problem.
        installed: Whether all files are in place; otherwise, only what they start is checked.
    """
    if config.is_staged:
        yield from check_files(config, model, user, edited) if installed else ()
        return
    interpreter = check_interpreter(model, user)
    files = list(check_files(config, model, user, edited)) if installed else []
    yield interpreter
    yield from files
    if interpreter.level == "problem":
        return
    if any(finding.level == "problem" and finding.subject in ("file", "directory") for finding in files):
        yield note("workers", "not started, because their files are not as they were installed")
        return
    placement = Placement.of(config, model.model, model.revision)
    try:
        settings = installed_settings(Disk(config), model, edited)
        golden = Golden.of(settings.bundle)
    except ClipUdfError as error:
        yield problem("settings", str(error), "run install-udfs again")
        return
    yield from check_graphs(settings)
    yield from check_start(settings)
    yield from check_pictures(settings, user)
    yield from check_workers(placement.launcher, settings, golden, user)


def installed_settings(disk: Disk, model: InstalledModel, edited: Collection[Path] = ()) -> WorkerSettings:
    """The settings of the model's workers; an edit is an error unless their file is in ``edited``.

    Raises:
        ConflictError: They are not as installed.
        SettingsError: They cannot work.
    """
    path = Placement.of(disk.config, model.model, model.revision).settings
    digest = next((file.sha256 for file in model.files if file.path == path), "")
    if path in edited:
        digest = disk.digest(path) or digest
    content = disk.read_installed(path, digest, _MOST_SETTINGS)
    return WorkerSettings.from_mapping(json.loads(content), str(disk.here(path)))


def verify_server(
    config: ServerConfig,
    model: InstalledModel,
    database: Database,
    *,
    deep: bool = True,
    edited: Collection[Path] = (),
) -> Iterator[Finding]:
    """Check through ClickHouse what the server loaded and what the functions return."""
    try:
        settings = installed_settings(Disk(config), model, edited)
        golden = Golden.of(config.on_disk(settings.bundle))
        definitions = _definitions(config, model)
    except ClipUdfError as error:
        yield problem("settings", str(error), "run install-udfs again")
        return
    yield from check_definitions(database, definitions)
    root = settings.image_roots[0] if not config.is_staged and settings.image_roots[0].is_dir() else None
    yield from check_calls(database, settings, golden, deep=deep, root=root)


def _definitions(config: ServerConfig, model: InstalledModel) -> dict[str, dict[str, str]]:
    found = {}
    for file in model.files:
        if is_definition(file.path):
            function = parse(config.on_disk(file.path)).find("function")
            if function is not None:
                values = {str(element.tag): text_of(element) for element in function}
                found[values["name"]] = values
    return found
