"""The installed layout: which files an installation has, and where they go for ClickHouse to find them."""

from __future__ import annotations

import os
import re
from collections.abc import Iterator
from dataclasses import dataclass
from fnmatch import fnmatchcase
from pathlib import Path

from clip_installer.errors import ConfigurationError
from clip_installer.server.config import ServerConfig
from clip_udfs.functions import FUNCTIONS
from clip_udfs.manifest import is_plain_name
from clip_udfs.verified import VERIFIED

HOME = "clip_udfs"
BUNDLE = "bundle"
OLD_RECORDS = "manifest.json"  # of versions that kept them beside the models
LAUNCHER = "launch"
SETTINGS = "worker.json"
OWN_DEFINITIONS = "clip_udfs_functions"
PAGE = "clip_page"
_REVISION = re.compile(r"[0-9a-f]{12}")
_DROP_IN = "clip_udfs.xml"
_DEFINITION_SUFFIX = "_function.xml"
_DEFINITION_NAME = re.compile(rf"[A-Za-z_][A-Za-z0-9_]*{re.escape(_DEFINITION_SUFFIX)}")
_PAGE_NAME = re.compile(rf"{PAGE}(_[A-Za-z0-9_]+)?\.xml")
_WILDCARDS = frozenset("*?[\\")


@dataclass(frozen=True)
class Placement:
    """Final paths of one model's files.

    Attributes:
        scripts: The server's ``user_scripts_path``.
        model: Name of the model, also of its directory.
        definitions: Directory of the function XML.
        revision: Name of the directory, below the model's, of this state of the installation: another model, option,
            package or CPU gets another one, so that new workers start beside the old ones and never on a mixture. ''
            for an installation by an older version, which had none.
        drop_in: File to add to the configuration so that ``definitions`` is searched; None if it already is.
        drop_in_pattern: The pattern that ``drop_in`` adds.
    """

    scripts: Path
    model: str
    definitions: Path
    revision: str
    drop_in: Path | None = None
    drop_in_pattern: str = ""

    @property
    def home(self) -> Path:
        """The directory that holds every model and the records."""
        return self.scripts / HOME

    @classmethod
    def of(cls, config: ServerConfig, model: str, revision: str) -> Placement:
        """Where the files of the installed ``model`` are; its definitions are where the records say."""
        return cls(config.user_scripts_path, model, config.directory, revision)

    @property
    def directory(self) -> Path:
        """The directory of everything that a worker is started from."""
        return self.scripts / self.command_directory

    @property
    def command_directory(self) -> str:
        """The directory as a ``command`` names it: relative to ``user_scripts_path``."""
        return "/".join(filter(None, (HOME, self.model, self.revision)))

    @property
    def launcher(self) -> Path:
        """The script that ClickHouse starts."""
        return self.directory / LAUNCHER

    @property
    def settings(self) -> Path:
        """The workers' settings."""
        return self.directory / SETTINGS

    def own_settings(self, function: str) -> Path:
        """The settings of one function's workers, if it has its own."""
        return self.directory / f"{function}.json"

    @property
    def bundle(self) -> Path:
        """Directory of the model bundle."""
        return self.directory / BUNDLE

    @property
    def verified(self) -> Path:
        """The record of the bundle's files, for workers that then need not hash them."""
        return self.directory / VERIFIED

    def definition(self, sql_name: str) -> Path:
        """The file that defines the function ``sql_name``."""
        return self.definitions / f"{sql_name}{_DEFINITION_SUFFIX}"


def is_definition(path: Path) -> bool:
    """Whether the file at ``path`` defines a function."""
    return path.name.endswith(_DEFINITION_SUFFIX)


@dataclass(frozen=True)
class Places:
    """Every place where an installation for one server can have files; nothing else is read, changed or removed.

    Attributes:
        home: The directory of all models.
        state: The installer's own directory.
        definitions: Directories in which function definitions can be.
        drop_in: The file added to a configuration that searches none of them.
        shared: Other directories that an install may have to create, for the server or for its own files.
    """

    home: Path
    state: Path
    definitions: tuple[Path, ...]
    drop_in: Path
    shared: tuple[Path, ...]

    @classmethod
    def of(cls, config: ServerConfig, state: Path) -> Places:
        """The places of the server that is configured by ``config``, with the records in ``state``."""
        searched = (Path(pattern).parent for pattern in config.function_globs)
        return cls(
            home=config.user_scripts_path / HOME,
            state=state,
            definitions=(
                *(directory for directory in searched if not _WILDCARDS & set(str(directory))),
                config.directory,
                config.directory / OWN_DEFINITIONS,
            ),
            drop_in=_drop_in(config),
            shared=(config.user_scripts_path, config.user_files_path, _drop_in(config).parent, state.parent),
        )

    def holds_file(self, path: Path) -> bool:
        """Whether an installation for this server can have a file at ``path``."""
        if ".." in path.parts:
            return False
        if path.parent in self.definitions and _DEFINITION_NAME.fullmatch(path.name):
            return True
        if path == self.home / OLD_RECORDS or self.adds_to_configuration(path) or self._is_state(path):
            return True
        if self.home not in path.parents:
            return False
        model, *rest = path.relative_to(self.home).parts
        if not is_plain_name(model):
            return False
        if rest and _REVISION.fullmatch(rest[0]):
            rest = rest[1:]
        if len(rest) == 1:
            return rest[0] in (LAUNCHER, SETTINGS, VERIFIED) or rest[0].removesuffix(".json") in FUNCTIONS
        return len(rest) > 1 and rest[0] == BUNDLE

    def adds_to_configuration(self, path: Path) -> bool:
        """Whether the file at ``path`` is one that an installation adds to the configuration."""
        return path == self.drop_in or (path.parent == self.drop_in.parent and bool(_PAGE_NAME.fullmatch(path.name)))

    def holds_directory(self, path: Path) -> bool:
        """Whether an install for this server can have created a directory at ``path``."""
        if ".." in path.parts:
            return False
        if path == self.home or self.home in path.parents or path == self.state or self.state in path.parents:
            return True
        return any(path == one or path in one.parents for one in (*self.definitions, *self.shared))

    def directories(self, path: Path) -> Iterator[Path]:
        """The directories from the installer's own place above ``path`` down to its parent; none elsewhere."""
        for place in (self.home, self.state):
            if place in path.parents:
                yield from (one for one in reversed(path.parents) if one == place or place in one.parents)

    def _is_state(self, path: Path) -> bool:
        if path.parent == self.state:
            return path.name == "installed.json"
        return path.parent in (self.state / "replaced", self.state / "edited") and not path.name.startswith(".")


def place(config: ServerConfig, model: str, revision: str) -> Placement:
    """Choose where the files of ``revision`` of ``model`` go; writes nothing.

    The definitions go where a pattern of the configuration already finds them, into a directory that exists or can be
    created inside the configuration's. Only if there is none, a drop-in for the configuration is planned.

    Raises:
        ConfigurationError: No directory for the definitions is writable, or none would be searched.
    """
    scripts = config.user_scripts_path
    for directory in _searched(config):
        if _writable(config, directory):
            return Placement(scripts, model, directory, revision)
    if _WILDCARDS & set(str(config.directory)):
        raise ConfigurationError(
            f"{config.directory} has one of * ? [ \\ in its name: ClickHouse takes that for a wildcard and"
            " finds no definitions in there; give <user_defined_executable_functions_config> another"
            " directory"
        )
    drop_in = _drop_in(config)
    if not (_writable(config, config.directory) and _writable(config, drop_in.parent)):
        searched = ", ".join(config.function_globs) or "nowhere"
        raise ConfigurationError(
            f"no place for the function definitions can be written: {config.main_file} makes the server look for them"
            f" in {searched}, and {config.directory} takes no new file; run as the owner of the configuration"
        )
    return Placement(
        scripts,
        model,
        config.directory / OWN_DEFINITIONS,
        revision,
        drop_in=drop_in,
        drop_in_pattern=f"{OWN_DEFINITIONS}/*{_DEFINITION_SUFFIX}",
    )


def page_drop_in(config: ServerConfig, suffix: str) -> Path:
    """The file with the handlers of the search page, on a server where SQL cannot create them."""
    return _drop_in(config).with_name(f"{PAGE}_{suffix}.xml" if suffix else f"{PAGE}.xml")


def finds(pattern: str, path: Path) -> bool:
    """Whether ClickHouse's glob ``pattern`` finds ``path``: part by part, ``*`` never crosses a ``/``."""
    wanted, given = Path(pattern).parts, path.parts
    return len(wanted) == len(given) and all(fnmatchcase(name, part) for name, part in zip(given, wanted, strict=True))


def _drop_in(config: ServerConfig) -> Path:
    return config.main_file.with_suffix(".d") / _DROP_IN


def _searched(config: ServerConfig) -> list[Path]:
    directories = [Path(pattern).parent for pattern in config.function_globs if _finds_ours(pattern)]
    existing = [directory for directory in directories if config.on_disk(directory).is_dir()]
    return existing + [directory for directory in directories if directory.parent == config.directory]


def _finds_ours(pattern: str) -> bool:
    directory = Path(pattern).parent
    if _WILDCARDS & set(str(directory)) or directory.name == OWN_DEFINITIONS:
        # ClickHouse would expand the directory too, so a name with such a character is never found.
        return False
    return finds(pattern, directory / f"encode_text{_DEFINITION_SUFFIX}")


def _writable(config: ServerConfig, directory: Path) -> bool:
    on_disk = config.on_disk(directory)
    existing = on_disk if on_disk.exists() else on_disk.parent
    return existing.is_dir() and os.access(existing, os.W_OK | os.X_OK)
