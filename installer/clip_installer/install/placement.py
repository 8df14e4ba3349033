"""Where the files of one model go on a server, so that ClickHouse finds them as it is configured."""

from __future__ import annotations

import os
from dataclasses import dataclass
from fnmatch import fnmatchcase
from pathlib import Path

from clip_installer.errors import ConfigurationError
from clip_installer.server.config import ServerConfig

HOME = "clip_udfs"
BUNDLE = "bundle"
OWN_DEFINITIONS = "clip_udfs_functions"
_DEFINITION_SUFFIX = "_function.xml"
_WILDCARDS = frozenset("*?[\\")


@dataclass(frozen=True)
class Placement:
    """Final paths of one model's files.

    Attributes:
        scripts: The server's ``user_scripts_path``.
        model: Name of the model, also of its directory.
        definitions: Directory of the function XML.
        drop_in: File to add to the configuration so that ``definitions`` is searched; None where it is.
        drop_in_pattern: The pattern that ``drop_in`` adds.
    """

    scripts: Path
    model: str
    definitions: Path
    drop_in: Path | None = None
    drop_in_pattern: str = ""

    @property
    def home(self) -> Path:
        """The directory that holds every model and the records."""
        return self.scripts / HOME

    @property
    def command_directory(self) -> str:
        """The model's directory as a ``command`` names it: relative to ``user_scripts_path``."""
        return f"{HOME}/{self.model}"

    @property
    def launcher(self) -> Path:
        """The script that ClickHouse starts."""
        return self.home / self.model / "launch"

    @property
    def settings(self) -> Path:
        """The workers' settings."""
        return self.home / self.model / "worker.json"

    @property
    def bundle(self) -> Path:
        """Directory of the model bundle."""
        return self.home / self.model / BUNDLE

    def definition(self, sql_name: str) -> Path:
        """The file that defines the function ``sql_name``."""
        return self.definitions / f"{sql_name}{_DEFINITION_SUFFIX}"


def place(config: ServerConfig, model: str) -> Placement:
    """Choose where the files of ``model`` go; writes nothing.

    The definitions go where a pattern of the configuration finds them already, into a directory that is there or
    can be made inside the configuration's. Only where there is none, a drop-in for the configuration is planned.

    Raises:
        ConfigurationError: No place for the definitions can be written, or none would be searched.
    """
    scripts = config.user_scripts_path
    for directory in _searched(config):
        if _writable(config, directory):
            return Placement(scripts, model, directory)
    if _WILDCARDS & set(str(config.directory)):
        raise ConfigurationError(
            f"{config.directory} has one of * ? [ \\ in its name: ClickHouse takes that for a wildcard and"
            " finds no definitions in there; give <user_defined_executable_functions_config> another"
            " directory"
        )
    drop_ins = config.main_file.with_suffix(".d")
    if not (_writable(config, config.directory) and _writable(config, drop_ins)):
        searched = ", ".join(config.function_globs) or "nowhere"
        raise ConfigurationError(
            f"no place for the function definitions can be written: {config.main_file} has them searched in"
            f" {searched}, and {config.directory} takes no new file; run as the owner of the configuration"
        )
    return Placement(
        scripts,
        model,
        config.directory / OWN_DEFINITIONS,
        drop_in=drop_ins / "clip_udfs.xml",
        drop_in_pattern=f"{OWN_DEFINITIONS}/*{_DEFINITION_SUFFIX}",
    )


def finds(pattern: str, path: Path) -> bool:
    """Whether ClickHouse's glob ``pattern`` finds ``path``: part by part, ``*`` never crosses a ``/``."""
    wanted, given = Path(pattern).parts, path.parts
    return len(wanted) == len(given) and all(fnmatchcase(name, part) for name, part in zip(given, wanted, strict=True))


def _searched(config: ServerConfig) -> list[Path]:
    directories = [Path(pattern).parent for pattern in config.function_globs if _finds_ours(pattern)]
    existing = [directory for directory in directories if config.on_disk(directory).is_dir()]
    return existing + [directory for directory in directories if directory.parent == config.directory]


def _finds_ours(pattern: str) -> bool:
    directory = Path(pattern).parent
    if _WILDCARDS & set(str(directory)) or directory.name == OWN_DEFINITIONS:
        # ClickHouse would expand the directory too; a name with such a character in it is never found.
        return False
    return finds(pattern, directory / f"encode_text{_DEFINITION_SUFFIX}")


def _writable(config: ServerConfig, directory: Path) -> bool:
    on_disk = config.on_disk(directory)
    existing = on_disk if on_disk.exists() else on_disk.parent
    return existing.is_dir() and os.access(existing, os.W_OK | os.X_OK)
