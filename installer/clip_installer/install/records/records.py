"""``installed.json``: what was installed for a server, file by file with its SHA-256."""

from __future__ import annotations

import json
import re
from collections.abc import Iterable, Mapping
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Any

from clip_installer.errors import ConfigurationError, ConflictError
from clip_installer.install.disk.disk import Disk
from clip_installer.server.config import ServerConfig
from clip_udfs.document import Document
from clip_udfs.manifest import is_plain_name

FORMAT_VERSION = 2
RECORDS = "installed.json"
BACKUPS = "replaced"
EDITED = "edited"
MOST_BYTES = 8 << 20
_MOST_MODELS, _MOST_FILES = 64, 10_000
_SHA256 = "[0-9a-f]{64}"
_SQL_NAME = "[A-Za-z_][A-Za-z0-9_]{0,200}"


@dataclass(frozen=True)
class OwnFile:
    """An installed file: its path on the server, and its SHA-256 when it was installed."""

    path: Path
    sha256: str


@dataclass(frozen=True)
class Backup:
    """A foreign file that was replaced with ``--force``, and where its content is kept."""

    path: Path
    kept: Path


@dataclass(frozen=True)
class InstalledModel:
    """One model that is installed.

    Attributes:
        suffix: Suffix of its SQL names, '' for the default model.
        model: Name of the model.
        version: Version of this package that installed it.
        python: The interpreter of its workers.
        functions: SQL names of its functions.
        files: Its files.
        backups: Foreign files that it replaced.
        drops: Statements that remove the views and indexes of its schema.
        user: The system user that the server runs as; '' if unknown.
        revision: Name of the directory, below the model's, that its workers are started from.
        options: The options that were given, as :meth:`~clip_installer.install.request.options.Options.to_record`
            writes them.
        effective: The effective value of every option, defaults included, as a plan shows it.
    """

    suffix: str
    model: str
    version: str
    python: str
    functions: tuple[str, ...]
    files: tuple[OwnFile, ...]
    backups: tuple[Backup, ...] = ()
    drops: tuple[str, ...] = ()
    user: str = ""
    revision: str = ""
    options: Mapping[str, Any] = field(default_factory=dict)
    effective: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True)
class Records:
    """Everything that is installed for one server.

    Attributes:
        server: The server's main configuration file; None if nothing is installed.
        models: The installed models, ordered by suffix.
        directories: Directories that were created for them, parents first.
        taken_over: What was accepted and rejected from an installation by an older version, as sentences; not written.
    """

    server: Path | None = None
    models: tuple[InstalledModel, ...] = ()
    directories: tuple[Path, ...] = ()
    taken_over: tuple[str, ...] = field(default=(), compare=False)

    @property
    def user(self) -> str:
        """The recorded system user that the server runs as; '' if none is."""
        return next((model.user for model in self.models if model.user), "")

    def find(self, suffix: str) -> InstalledModel | None:
        """The model that is installed under ``suffix``, if any."""
        return next((model for model in self.models if model.suffix == suffix), None)

    def owner_of(self, path: Path) -> tuple[InstalledModel, OwnFile] | None:
        """The model and record of the file at ``path``, if it is ours."""
        for model in self.models:
            for file in model.files:
                if file.path == path:
                    return model, file
        return None

    def with_model(self, server: Path, model: InstalledModel, directories: Iterable[Path]) -> Records:
        """These records with ``model`` of ``server`` in place of any with its suffix, and with more ``directories``."""
        others = tuple(other for other in self.models if other.suffix != model.suffix)
        merged = tuple(dict.fromkeys((*self.directories, *directories)))
        return Records(server, tuple(sorted((*others, model), key=lambda one: one.suffix)), merged, self.taken_over)

    def without(self, suffixes: Iterable[str]) -> Records:
        """These records without the models with ``suffixes``; the directories are dropped with the last model."""
        gone = set(suffixes)
        rest = tuple(model for model in self.models if model.suffix not in gone)
        return replace(self, models=rest) if rest else Records(taken_over=self.taken_over)

    def to_json(self) -> str:
        """The content of the records' file; without times and host, so that equal installations have equal records."""
        values = {"format_version": FORMAT_VERSION, **asdict(self)}
        del values["taken_over"]
        return json.dumps(values, indent=2, ensure_ascii=False, default=str) + "\n"

    @classmethod
    def from_json(cls, content: bytes, disk: Disk) -> Records:
        """Parse the content of the records' file.

        Raises:
            ConfigurationError: It is damaged, was written by another version, or names a file that no installation
                for this server can have.
        """
        where = str(disk.here(records_path(disk)))
        values = Document.parse(content, where, ConfigurationError, most=MOST_BYTES)
        version = values.integer("format_version", 0, 1 << 31)
        if version != FORMAT_VERSION:
            values.refuse(
                f"has format version {version}, this package writes {FORMAT_VERSION}: use the version of"
                " clickhouse-clip-udfs that installed it, or a newer one"
            )
        values.only("format_version", "server", "models", "directories")
        return cls(
            server=Path(values.text("server", pattern="/.*")),
            models=tuple(_model(model, disk) for model in values.objects("models", _MOST_MODELS)),
            directories=tuple(
                _directory(values, disk, directory) for directory in values.texts("directories", _MOST_FILES)
            ),
        )


def records_path(disk: Disk) -> Path:
    """The file of the installer's records, as the server sees it."""
    return disk.places.state / RECORDS


def load_records(config: ServerConfig) -> Records:
    """What is installed for this server.

    Raises:
        ConfigurationError: The records cannot be read.
        ConflictError: The files belong to another server that shares the directory of scripts.
    """
    from clip_installer.install.records.takeover import records_of_older_version, refuse_shared_scripts

    disk = Disk(config)
    content = disk.read(records_path(disk), MOST_BYTES)
    if content is None:
        refuse_shared_scripts(disk)
        return records_of_older_version(disk)
    records = Records.from_json(content, disk)
    if records.server != config.main_file and records.server is not None and config.on_disk(records.server).exists():
        raise ConflictError(
            f"{disk.here(disk.places.home)} belongs to the server configured by {records.server}; two servers cannot"
            " share a user_scripts_path, as each would remove the other's functions"
        )
    return records


def _model(values: Document, disk: Disk) -> InstalledModel:
    values.only(*InstalledModel.__dataclass_fields__)
    name = values.text("model", most=128)
    if not is_plain_name(name):
        values.refuse(f"has the model {name!r}, which is no name of a model")
    return InstalledModel(
        suffix=values.text("suffix", pattern="[A-Za-z0-9_]{0,100}"),
        model=name,
        version=values.text("version", most=100, line=True),
        python=values.text("python", line=True),
        functions=tuple(
            one if re.fullmatch(_SQL_NAME, one) else values.refuse(f"has the function {one!r}, which is no name")
            for one in values.texts("functions", 100)
        ),
        files=tuple(
            OwnFile(_path(file, "path", disk), file.text("sha256", pattern=_SHA256))
            for file in values.objects("files", _MOST_FILES)
        ),
        backups=tuple(
            Backup(_path(one, "path", disk), _path(one, "kept", disk)) for one in values.objects("backups", _MOST_FILES)
        ),
        drops=values.texts("drops", 100),
        user=values.text("user", most=256, line=True),
        revision=values.text("revision", pattern="([0-9a-f]{12})?"),
        options=values.object("options").plain(),
        effective={name: str(value) for name, value in values.object("effective").plain().items()},
    )


def _path(values: Document, key: str, disk: Disk) -> Path:
    path = Path(values.text(key, pattern="/.*"))
    if not disk.places.holds_file(path):
        values.refuse(
            f"names {path}, which is no file that an installation for {disk.config.main_file} can have: if the paths in"
            " the configuration have changed, set them back, uninstall, and install again"
        )
    return path


def _directory(values: Document, disk: Disk, directory: str) -> Path:
    path = Path(directory)
    if not path.is_absolute() or not disk.places.holds_directory(path):
        values.refuse(
            f"names the directory {directory}, which no install for {disk.config.main_file} makes: if the paths in the"
            " configuration have changed, set them back, uninstall, and install again"
        )
    return path
