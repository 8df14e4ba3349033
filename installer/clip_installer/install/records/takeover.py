"""Takes over an installation by an older version, whose records the server's user could write.

Those records, ``user_scripts/clip_udfs/manifest.json``, may have been falsified. So only what the disk confirms is
accepted: a file counts as installed if it is where an installation for this server would put it, under a name that it
would use, with the recorded SHA-256. Copies of foreign files have no recorded SHA-256: they are left alone and
reported.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

from clip_installer.errors import ConfigurationError, ConflictError
from clip_installer.install.disk.disk import Disk
from clip_installer.install.files.placement import OLD_RECORDS, Placement, is_definition
from clip_installer.install.records.records import MOST_BYTES, RECORDS, InstalledModel, OwnFile, Records
from clip_udfs.document import Document
from clip_udfs.errors import ClipUdfError, printable
from clip_udfs.functions import FUNCTIONS
from clip_udfs.manifest import is_plain_name

_OLD_VERSION = 1
_MOST_MODELS, _MOST_FILES = 64, 10_000
# The form of the schema's statements; anything else is not shown to somebody who might run it.
_NAME = r"[A-Za-z0-9_.`]+"
_DROP = re.compile(
    rf"(DROP VIEW IF EXISTS {_NAME}|ALTER TABLE {_NAME})( ON CLUSTER [A-Za-z0-9_'`-]+)?( DROP INDEX IF EXISTS {_NAME})?"
)


def old_records_path(disk: Disk) -> Path:
    """The records' file of older versions, as the server sees it."""
    return disk.places.home / OLD_RECORDS


def records_of_older_version(disk: Disk) -> Records:
    """The trustworthy part of an older version's records; empty if there are none.

    Raises:
        ConfigurationError: Its records cannot be read.
    """
    path = old_records_path(disk)
    content = disk.read(path, MOST_BYTES)
    if content is None:
        return Records()
    where = str(disk.here(path))
    values = Document.parse(content, where, ConfigurationError, most=MOST_BYTES)
    if values.integer("format_version", 0, 1 << 31) != _OLD_VERSION:
        values.refuse(f"is not the records' file of an older version: inspect {path.parent} and move it away")
    server = Path(values.text("server"))
    if server != disk.config.main_file and disk.here(server).exists():
        raise _shared(disk, server)
    notes: list[str] = []
    models = tuple(
        model for one in values.objects("models", _MOST_MODELS) if (model := _believed(one, disk, notes)) is not None
    )
    directories = tuple(
        Path(one) for one in values.texts("directories", _MOST_FILES) if disk.places.holds_directory(Path(one))
    )
    notes.insert(0, f"the records of an older version, {where}, are taken over into {disk.here(disk.places.state)}")
    return Records(disk.config.main_file, models, directories, tuple(notes))


def refuse_shared_scripts(disk: Disk) -> None:
    """Refuse to install into a directory of scripts that belongs to another server's installation.

    Raises:
        ConflictError: It does; the message names the other server.
    """
    for other in _other_records(disk):
        if other != disk.config.main_file and disk.here(other).exists():
            raise _shared(disk, other)
        raise ConflictError(
            f"{disk.here(disk.places.home)} was installed for {other}, which no longer exists: if it is now"
            f" {disk.config.main_file}, rename its records' directory in {disk.here(disk.places.state.parent)} to"
            f' {disk.places.state.name}, and its "server" in {RECORDS}'
        )


def _other_records(disk: Disk) -> Iterator[Path]:
    """The configurations of other servers with files in the same directory of scripts."""
    try:
        with disk.folder(disk.places.state.parent) as folder:
            names = folder.names()
    except (FileNotFoundError, NotADirectoryError):
        return
    for name in names:
        path = disk.places.state.with_name(name) / RECORDS
        if path.parent == disk.places.state:
            continue
        # Anything else there, or damaged, does not concern this server.
        with suppress(ClipUdfError, OSError):
            content = disk.read(path, MOST_BYTES)
            if content is not None:
                values = Document.parse(content, str(disk.here(path)), ConfigurationError, most=MOST_BYTES)
                if _has_files_below(values, disk.places.home):
                    yield Path(values.text("server"))


def _has_files_below(values: Document, home: Path) -> bool:
    return any(
        home in Path(file.text("path")).parents
        for model in values.objects("models", _MOST_MODELS)
        for file in model.objects("files", _MOST_FILES)
    )


def _shared(disk: Disk, server: Path) -> ConflictError:
    return ConflictError(
        f"{disk.here(disk.places.home)} belongs to the server configured by {printable(str(server))}; two servers"
        " cannot share a user_scripts_path, as each would remove the other's functions"
    )


def _believed(values: Document, disk: Disk, notes: list[str]) -> InstalledModel | None:
    name, suffix = values.text("model", most=128), values.text("suffix", pattern="[A-Za-z0-9_]{0,100}")
    if not is_plain_name(name):
        notes.append(f"not taken over: a model called {printable(name)!r}, which is no name of a model")
        return None
    names = tuple(one for one in (function.sql_name(suffix) for function in FUNCTIONS.values()))
    functions = tuple(one for one in values.texts("functions", 100) if one in names)
    placement = Placement.of(disk.config, name, "")
    files, refused = [], []
    for file in values.objects("files", _MOST_FILES):
        path, digest = Path(file.text("path")), file.text("sha256", pattern="[0-9a-f]{64}")
        expected = path.name in {placement.definition(one).name for one in functions} if is_definition(path) else True
        in_place = disk.places.home not in path.parents or placement.home / name in path.parents
        if expected and in_place and disk.places.holds_file(path) and disk.digest(path) == digest:
            files.append(OwnFile(path, digest))
        else:
            refused.append(str(path))
    if refused:
        more = f" and {len(refused) - 1} more" if len(refused) > 1 else ""
        notes.append(
            f"not taken over: {printable(refused[0])}{more}, as the older version would not have put it there or it was"
            " changed since: remove it yourself if it is not needed"
        )
    for backup in values.objects("backups", _MOST_FILES):
        notes.append(
            f"not taken over: {printable(backup.text('kept'))}, kept as a copy of"
            f" {printable(backup.text('path'))}: inspect it and put it back yourself"
        )
    notes.append(f"taken over: {name}, {len(files)} files that are as they were installed")
    return InstalledModel(
        suffix=suffix,
        model=name,
        version=values.text("version", most=100, line=True),
        python="",
        functions=functions,
        files=tuple(files),
        drops=tuple(one for one in values.texts("drops", 100) if _DROP.fullmatch(one)),
        options={"model": name},
    )
