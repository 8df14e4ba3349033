"""What the installer needs from a server's configuration: its paths, and all functions defined in it."""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

from clip_installer.errors import ConfigurationError
from clip_installer.server.config_files import parse, text_of
from clip_installer.server.config_merge import MergedConfig, merge
from clip_udfs.errors import printable

MAIN_FILES = ("config.xml", "config.yaml", "config.yml")
FUNCTIONS_KEY = "user_defined_executable_functions_config"
_DEFAULT_PATH = Path("/var/lib/clickhouse")
_ORIGINS = {
    "from_env": "the environment variable",
    "incl": "the included element",
    "from_zk": "the ZooKeeper node",
}


@dataclass(frozen=True)
class ServerConfig:
    """The merged configuration of one server.

    Attributes:
        main_file: The main configuration file, absolute, with links in its directory resolved.
        path: Data directory.
        user_scripts_path: Directory in which ClickHouse looks for the commands of executable functions.
        user_files_path: Directory that ``file()`` may read.
        function_globs: Absolute patterns of the files that define functions, in the configuration's order.
        files: The files that the configuration was merged from.
        destdir: Root of the configured tree, ``/`` for this machine; the other paths are as the server sees them.
    """

    main_file: Path
    path: Path
    user_scripts_path: Path
    user_files_path: Path
    function_globs: tuple[str, ...]
    files: tuple[Path, ...] = field(default=(), repr=False)
    destdir: Path = Path("/")

    @property
    def directory(self) -> Path:
        """Directory of the main file, to which relative globs refer."""
        return self.main_file.parent

    @classmethod
    def read(
        cls, location: Path, environment: Mapping[str, str] | None = None, destdir: Path = Path("/")
    ) -> ServerConfig:
        """Read and merge the configuration at ``location``, a directory or a main file.

        Args:
            location: As the server sees it, e.g. ``/etc/clickhouse-server``.
            environment: Variables for ``from_env`` [default: this process's].
            destdir: Root of the tree that holds ``location``.

        Raises:
            ConfigurationError: There is none, it is malformed, or a path in it cannot be determined from here.
        """
        main_file = _main_file(location, destdir)
        merged = merge(_below(destdir, main_file), os.environ if environment is None else environment)
        path = _directory(merged, main_file, "path", _DEFAULT_PATH)
        return cls(
            main_file=main_file,
            path=path,
            user_scripts_path=_directory(merged, main_file, "user_scripts_path", path / "user_scripts"),
            user_files_path=_directory(merged, main_file, "user_files_path", path / "user_files"),
            function_globs=_function_globs(merged, main_file),
            files=merged.files,
            destdir=destdir,
        )

    @property
    def is_staged(self) -> bool:
        """Whether the tree is for another machine."""
        return self.destdir != Path("/")

    def on_disk(self, path: Path) -> Path:
        """Where ``path`` of the server is on this machine."""
        return _below(self.destdir, path)

    def function_files(self) -> list[Path]:
        """The files in which ClickHouse finds function definitions now, sorted."""
        # Path.glob, unlike the glob module, lets '*' match a leading dot, as ClickHouse does.
        found = {path for pattern in self.function_globs for path in self.destdir.glob(pattern.lstrip("/"))}
        return sorted(Path("/") / path.relative_to(self.destdir) for path in found if path.is_file())

    def functions(self) -> dict[str, Path]:
        """Names of the executable functions that are defined, with the file that defines each.

        A file that does not parse defines nothing; ClickHouse logs it and continues, too.
        """
        defined: dict[str, Path] = {}
        for path in self.function_files():
            try:
                root = parse(self.on_disk(path))
            except ConfigurationError:
                continue
            for name in root.findall("function/name"):
                defined.setdefault(text_of(name), path)
        return defined


def _below(destdir: Path, path: Path) -> Path:
    return destdir / path.relative_to("/")


def _main_file(location: Path, destdir: Path) -> Path:
    absolute = location.absolute()
    if destdir == Path("/"):
        # One name for a directory with several; config.xml itself may be a link to anywhere.
        absolute = absolute.resolve() if absolute.is_dir() else absolute.parent.resolve() / absolute.name
    on_disk = _below(destdir, absolute)
    if on_disk.is_file():
        return absolute
    for name in MAIN_FILES:
        if (on_disk / name).is_file():
            return absolute / name
    problem = f"holds none of {', '.join(MAIN_FILES)}" if on_disk.exists() else "does not exist"
    raise ConfigurationError(f"{on_disk} {problem}; --server-config is the server's configuration directory")


def _value(merged: MergedConfig, main_file: Path, key: str) -> str | None:
    element = merged.root.find(key)
    if element is None:
        return None
    for attribute, origin in _ORIGINS.items():
        if attribute in element.attrib:
            name = str(element.attrib[attribute])
            raise ConfigurationError(
                f"{main_file}: <{key}> takes its value from {origin} {name}, which this command cannot see;"
                f" provide it as the server has it, or write <{key}> into the configuration"
            )
    if codec := element.attrib.get("encrypted_by"):
        raise ConfigurationError(
            f"{main_file}: <{key}> is encrypted (encrypted_by = {codec}), and only the server has its key; write"
            f" <{key}> in clear text: a path is no secret"
        )
    return _shown(text_of(element), main_file, key) or None


def _shown(value: str, main_file: Path, key: str) -> str:
    """``value``, which must be fit to be shown on a terminal and to be a line of a script."""
    if printable(value) != value:
        raise ConfigurationError(f"{main_file}: <{key}> is {value!r}: remove the control characters")
    return value


def _directory(merged: MergedConfig, main_file: Path, key: str, default: Path) -> Path:
    value = _value(merged, main_file, key)
    if value is None:
        return default
    if not value.startswith("/"):
        raise ConfigurationError(
            f"{main_file}: <{key}> is {value!r}, relative to where the server was started; make it absolute"
        )
    return Path(value)


def _function_globs(merged: MergedConfig, main_file: Path) -> tuple[str, ...]:
    globs = []
    for element in merged.root.findall(FUNCTIONS_KEY):
        pattern = _shown(text_of(element), main_file, FUNCTIONS_KEY)
        if pattern:
            globs.append(pattern if pattern.startswith("/") else f"{main_file.parent}/{pattern}")
    return tuple(dict.fromkeys(globs))
