"""Checks of an installed model on its machine: files, interpreter, packages, images, workers."""

from __future__ import annotations

import os
import re
import stat
from collections.abc import Collection, Iterator
from pathlib import Path

from clip_installer.errors import CheckFailed, ConflictError
from clip_installer.install.checks.findings import Finding, note, ok, problem
from clip_installer.install.checks.golden import Golden, deviation, precision_loss
from clip_installer.install.checks.launch import answers, closed_directory, last_line, refuse_changeable_program
from clip_installer.install.disk.disk import Disk
from clip_installer.install.disk.folder import is_private
from clip_installer.install.files.placement import is_definition
from clip_installer.install.records.records import InstalledModel
from clip_installer.server.config import ServerConfig
from clip_installer.server.user import ServerUser
from clip_udfs.bundle import Bundle
from clip_udfs.encoders import engine_files, tokenizer_files
from clip_udfs.encoders.prepared import TOWERS, stale_because
from clip_udfs.errors import BundleError, printable
from clip_udfs.functions import FUNCTIONS
from clip_udfs.manifest import TOKENIZER
from clip_udfs.settings import WorkerSettings
from clip_udfs.verified import VerifiedFiles

_IMPORTS = """
import os, sys, sysconfig
import clip_udfs, ftfy, numpy, onnxruntime, orjson, PIL, tokenizers
print(clip_udfs.__version__)
print(PIL.__version__)
bytecode = [part.__cached__ for part in list(sys.modules.values()) if getattr(part, "__cached__", None)]
missing = [path for path in bytecode if not os.path.exists(path)]
if 2 * len(missing) > len(bytecode):
    print(sysconfig.get_path("purelib"))
"""
# The first whose decoders are bounded as SECURITY.md says; pyproject.toml asks for it too.
LEAST_PILLOW = (12, 2)


def check_files(
    config: ServerConfig, model: InstalledModel, user: ServerUser, edited: Collection[Path] = ()
) -> Iterator[Finding]:
    """Whether every file is as installed, owned by the installer, found by ClickHouse, and readable by its user.

    An edited definition still works and is a note, and so are the files in ``edited``. Any other edit is a problem.
    """
    disk = Disk(config)
    wrong = 0
    for finding in _changeable_directories(disk, model):
        wrong += 1
        yield finding
    for file in model.files:
        path = disk.here(file.path)
        try:
            digest, status = disk.digest(file.path), disk.status(file.path)
        except ConflictError as error:
            wrong += 1
            yield problem("file", str(error), "move it away and run install-udfs again")
            continue
        if digest is None or status is None:
            wrong += 1
            yield problem("file", f"{path} is missing", "run install-udfs again")
        elif digest != file.sha256 and (file.path in edited or is_definition(file.path)):
            yield note("file", f"{path} was edited since it was installed; --diff shows the edit, --force replaces it")
        elif digest != file.sha256:
            wrong += 1
            yield problem(
                "file",
                f"{path} was edited since it was installed",
                "run install-udfs with --force to put it back",
            )
        elif not is_private(status):
            wrong += 1
            yield problem("file", f"{path} can be changed by others", "run install-udfs again")
        elif not config.is_staged and (reason := _unreadable(path, status, user)):
            wrong += 1
            yield problem("file", f"{path} cannot be read by {user.name}: {reason}", "correct the permissions")
    if not wrong:
        yield ok("files", f"all {len(model.files)} are as they were installed")
    found = config.functions()
    definitions = {
        name: file.path for name in model.functions for file in model.files if file.path.stem == f"{name}_function"
    }
    for name, path in definitions.items():
        if found.get(name) != path:
            elsewhere = found.get(name)
            yield problem(
                name,
                f"ClickHouse takes its definition from {elsewhere or 'nowhere'}, not from {config.on_disk(path)}",
                "remove the other definition" if elsewhere else "run install-udfs again: the configuration has changed",
            )


def _changeable_directories(disk: Disk, model: InstalledModel) -> Iterator[Finding]:
    """A problem for each directory of the model that other users can change."""
    for directory in dict.fromkeys(one for file in model.files for one in disk.places.directories(file.path)):
        status = disk.status(directory)
        if status is not None and not is_private(status):
            yield problem("directory", f"{disk.here(directory)} can be changed by others", "run install-udfs again")


def check_interpreter(model: InstalledModel, user: ServerUser) -> Finding:
    """Whether the server's user can start the interpreter and import what a worker needs."""
    if not model.python:
        return problem("interpreter", "that of an older version is not known", "run install-udfs again")
    python = Path(model.python)
    closed = closed_directory(python, user)
    if closed is not None:
        return problem(
            "interpreter",
            f"{user.name} may not enter {closed}, so it cannot start {python}",
            "install the package where that user can read, e.g. python3 -m venv /opt/clip-udfs, and run the"
            " install-udfs of that place",
        )
    try:
        refuse_changeable_program(python, user)
        completed = user.run([model.python, "-I", "-c", _IMPORTS])
    except CheckFailed as error:
        return problem("interpreter", str(error), "run install-udfs again with the interpreter that has the package")
    if completed.returncode != 0:
        return problem(
            "packages",
            f"{python} as {user.name}: {last_line(completed.stderr)}",
            f"install them there: {python} -m pip install clickhouse-clip-udfs",
        )
    said = [printable(line) for line in completed.stdout.decode(errors="replace").splitlines()]
    version, pillow, uncompiled = (said + [""] * 3)[:3]
    least = ".".join(map(str, LEAST_PILLOW))
    if tuple(map(int, re.findall(r"\d+", pillow)[:2])) < LEAST_PILLOW:
        return problem(
            "packages",
            f"{python} has Pillow {pillow or 'of an unknown version'}, whose decoders have known faults; workers need"
            f" {least} or newer",
            f"{python} -m pip install --upgrade 'pillow>={least}'",
        )
    if version != model.version:
        return note("packages", f"{python} has version {version}, the files are from {model.version}: install again")
    if uncompiled:
        return note(
            "packages",
            f"{uncompiled} has no bytecode, which uv does not write by default, so each worker compiles hundreds of"
            f" modules as it starts; write it once: {python} -m compileall -q {uncompiled}",
        )
    return ok("interpreter", f"{python} runs as {user.name} and has the packages, version {version}")


def check_graphs(settings: WorkerSettings) -> Iterator[Finding]:
    """How exact the model's graphs are, and whether the prepared ones still fit this machine."""
    if settings.engine != "onnx":
        return
    try:
        bundle = Bundle.open(settings.bundle)
        reason = stale_because(bundle)
    except BundleError as error:
        yield problem("bundle", str(error), "run install-udfs with --force to put it back")
        return
    if loss := precision_loss(bundle.manifest):
        yield note("precision", loss)
    if reason is not None:
        yield note(
            "graphs", f"the prepared graphs are not used, because {reason}: run install-udfs to prepare them again"
        )


def check_start(settings: WorkerSettings) -> Iterator[Finding]:
    """Whether workers recognise the model's files as those that the installer hashed, and need not hash them."""
    try:
        bundle = Bundle.open(settings.bundle)
        files = bundle.records(TOKENIZER) | tokenizer_files(settings, bundle)
        for tower in TOWERS:
            files |= engine_files(settings, bundle, tower)
    except BundleError:
        return  # the file checks report why
    verified = VerifiedFiles.beside(bundle.directory)
    unknown = [path for path, record in files.items() if not verified.holds(path, record.sha256)]
    if unknown:
        yield note(
            "start",
            f"each worker hashes {len(unknown)} of the model's {len(files)} files as it starts, which takes longer:"
            f" {unknown[0]} was copied here or touched since it was installed; install-udfs records it again",
        )


def check_pictures(settings: WorkerSettings, user: ServerUser) -> Iterator[Finding]:
    """Whether the server's user can reach the directories that encode_image may read."""
    for root in settings.image_roots:
        closed = closed_directory(root / "any", user)
        if not root.is_dir():
            yield problem("pictures", f"{root} is not a directory", "create it, or install with another --image-root")
        elif closed is not None:
            yield problem("pictures", f"{user.name} may not enter {closed}", "correct the permissions")
        else:
            yield ok("pictures", f"encode_image reads below {root}")


def check_workers(launcher: Path, settings: WorkerSettings, golden: Golden, user: ServerUser) -> Iterator[Finding]:
    """Whether a worker of each tower, started as ClickHouse starts it, returns the model's own vectors."""
    if not user.can_run:
        yield note("workers", f"checked as the current user: only root can check as {user.name}")
    who = f"{user.name}, with an empty environment," if user.can_run else "the current user"
    for function, samples in (("encode_text", golden.texts), ("encode_image_bytes", golden.pictures)):
        name = FUNCTIONS[function].sql_name(settings.suffix)
        try:
            given = answers(launcher, function, [sample.value for sample in samples], settings, user)
        except CheckFailed as error:
            yield problem(name, f"its worker fails: {error}", "install-udfs --verify repeats this check alone")
            continue
        wrong = deviation(given, samples, normalized=settings.normalize)
        if wrong:
            yield problem(name, f"its worker returns {wrong}", "build the bundle again on a machine like this one")
        else:
            yield ok(
                name, f"a worker started as {who} returns the model's own vectors for {len(samples)} golden values"
            )


def _unreadable(path: Path, status: os.stat_result, user: ServerUser) -> str | None:
    if user.uid == 0:
        return None
    closed = closed_directory(path, user)
    if closed is not None:
        return f"it may not enter {closed}"
    shift = 6 if status.st_uid == user.uid else 3 if status.st_gid == user.gid else 0
    bits = stat.S_IMODE(status.st_mode) >> shift
    if not bits & stat.S_IROTH:
        return f"mode {stat.S_IMODE(status.st_mode):04o}"
    return None
