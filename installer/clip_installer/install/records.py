"""What was installed, file by file with its SHA-256: the installer's memory, beside the files."""

from __future__ import annotations

import json
from collections.abc import Iterable
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

from clip_installer.errors import ConfigurationError

FORMAT_VERSION = 1


@dataclass(frozen=True)
class OwnFile:
    """A file that was installed: its final path, and the SHA-256 that it had then."""

    path: Path
    sha256: str


@dataclass(frozen=True)
class Backup:
    """Somebody else's file that was replaced with ``--force``, and where its content is kept."""

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
        drops: Statements that remove the views and indexes of its schema, for who wants that.
        schema: SHA-256 of the DDL that was run for it; '' where none was.
    """

    suffix: str
    model: str
    version: str
    python: str
    functions: tuple[str, ...]
    files: tuple[OwnFile, ...]
    backups: tuple[Backup, ...] = ()
    drops: tuple[str, ...] = ()
    schema: str = ""


@dataclass(frozen=True)
class Records:
    """Everything that is installed for one server.

    Attributes:
        server: The server's main configuration file; None where nothing is installed.
        models: The installed models, ordered by suffix.
        directories: Directories that were created for them, parents first.
    """

    server: Path | None = None
    models: tuple[InstalledModel, ...] = ()
    directories: tuple[Path, ...] = ()

    def find(self, suffix: str) -> InstalledModel | None:
        """The model that is installed under ``suffix``, if any."""
        return next((model for model in self.models if model.suffix == suffix), None)

    def owner_of(self, path: Path) -> tuple[InstalledModel, OwnFile] | None:
        """The model and record to which the file at ``path`` belongs, if it is one of ours."""
        for model in self.models:
            for file in model.files:
                if file.path == path:
                    return model, file
        return None

    def with_model(self, server: Path, model: InstalledModel, directories: Iterable[Path]) -> Records:
        """These records with ``model`` of ``server`` as that of its suffix, and more ``directories``."""
        others = tuple(other for other in self.models if other.suffix != model.suffix)
        merged = tuple(dict.fromkeys((*self.directories, *directories)))
        return Records(server, tuple(sorted((*others, model), key=lambda one: one.suffix)), merged)

    def without(self, suffixes: Iterable[str]) -> Records:
        """These records without the models of ``suffixes``; the directories go with the last of them."""
        gone = set(suffixes)
        rest = tuple(model for model in self.models if model.suffix not in gone)
        return replace(self, models=rest) if rest else Records()

    def to_json(self) -> str:
        """The content of the records' file: no times and no host, so that equal installations are equal."""
        values = {"format_version": FORMAT_VERSION, **asdict(self)}
        return json.dumps(values, indent=2, ensure_ascii=False, default=str) + "\n"

    @classmethod
    def load(cls, path: Path) -> Records:
        """Read the records at ``path``; none there means that nothing is installed.

        Raises:
            ConfigurationError: The file cannot be read, is damaged, or was written by a newer version.
        """
        try:
            content = path.read_bytes()
        except (FileNotFoundError, NotADirectoryError):
            return cls()
        except OSError as error:
            raise ConfigurationError(f"cannot read the installer's records {path}: {error.strerror}") from error
        try:
            values = json.loads(content)
            version = values["format_version"]
            if version != FORMAT_VERSION:
                raise ConfigurationError(
                    f"{path} has format version {version}, this package writes {FORMAT_VERSION}: use the"
                    " version of clickhouse-clip-udfs that installed it, or a newer one"
                )
            return cls(
                server=Path(values["server"]),
                models=tuple(_model(model) for model in values["models"]),
                directories=tuple(Path(directory) for directory in values["directories"]),
            )
        except (ValueError, KeyError, TypeError) as error:
            raise ConfigurationError(
                f"{path} is not the records' file that install-udfs writes ({type(error).__name__}:"
                f" {error}); restore it from a backup, or remove it together with what it listed"
            ) from error


def _model(values: dict[str, Any]) -> InstalledModel:
    return InstalledModel(
        suffix=values["suffix"],
        model=values["model"],
        version=values["version"],
        python=values["python"],
        functions=tuple(values["functions"]),
        files=tuple(OwnFile(Path(file["path"]), file["sha256"]) for file in values["files"]),
        backups=tuple(Backup(Path(one["path"]), Path(one["kept"])) for one in values["backups"]),
        drops=tuple(values["drops"]),
        schema=values["schema"],
    )
