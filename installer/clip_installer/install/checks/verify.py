"""Prove that an installed model works: on this machine, and through ClickHouse."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

from clip_installer.install.checks.findings import Finding, problem
from clip_installer.install.checks.golden import Golden
from clip_installer.install.checks.host import (
    check_files,
    check_graphs,
    check_interpreter,
    check_pictures,
    check_workers,
)
from clip_installer.install.checks.server import check_calls, check_definitions
from clip_installer.install.placement import HOME, Placement
from clip_installer.install.records import InstalledModel
from clip_installer.server.config import ServerConfig
from clip_installer.server.config_files import parse, text_of
from clip_installer.server.user import ServerUser
from clip_udfs.errors import ClipUdfError
from clip_udfs.settings import WorkerSettings

if TYPE_CHECKING:
    from clip_installer.clickhouse.database import Database


def verify_host(config: ServerConfig, model: InstalledModel, user: ServerUser) -> Iterator[Finding]:
    """Check files, interpreter, packages, picture directories, workers; of a staged tree only the files."""
    if config.destdir != Path("/"):
        yield from check_files(config, model, user)
        return
    interpreter = check_interpreter(model, user)
    yield interpreter
    yield from check_files(config, model, user)
    if interpreter.level == "problem":
        return
    placement = Placement(config.user_scripts_path, model.model, config.directory)
    try:
        settings = WorkerSettings.load(placement.settings)
        golden = Golden.of(settings.bundle)
    except ClipUdfError as error:
        yield problem("settings", str(error), "run install-udfs again")
        return
    yield from check_graphs(settings)
    yield from check_pictures(settings, user)
    yield from check_workers(placement.launcher, settings, golden, user)


def verify_server(config: ServerConfig, model: InstalledModel, database: Database) -> Iterator[Finding]:
    """Check through ClickHouse what the server loaded and what each function answers."""
    try:
        settings = WorkerSettings.load(config.on_disk(config.user_scripts_path / HOME / model.model / "worker.json"))
        golden = Golden.of(config.on_disk(settings.bundle))
        definitions = _definitions(config, model)
    except ClipUdfError as error:
        yield problem("settings", str(error), "run install-udfs again")
        return
    yield from check_definitions(database, definitions)
    yield from check_calls(database, settings, golden)


def _definitions(config: ServerConfig, model: InstalledModel) -> dict[str, dict[str, str]]:
    found = {}
    for file in model.files:
        if file.path.name.endswith("_function.xml"):
            function = parse(config.on_disk(file.path)).find("function")
            if function is not None:
                values = {str(element.tag): text_of(element) for element in function}
                found[values["name"]] = values
    return found
