"""Safe access to one server's files: through handles, and only where its installations can have files."""

from __future__ import annotations

import os
import re
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from hashlib import sha256
from pathlib import Path

from clip_installer.errors import ConfigurationError, ConflictError
from clip_installer.install.disk.folder import Folder
from clip_installer.install.files.placement import HOME, Places
from clip_installer.server.config import ServerConfig
from clip_installer.server.user import user_name

STATE_VARIABLE = "CLIP_UDFS_STATE"
ROOTS_STATE = Path("/var/lib/clip-udfs")
_OWN_STATE = ".state"


class Disk:
    """The file system as one server sees it; every path is the server's, also in a staged tree."""

    def __init__(self, config: ServerConfig) -> None:
        """Use the tree of ``config``; nothing is touched yet."""
        self.config = config
        self.places = Places.of(config, state_directory(config))

    def here(self, path: Path) -> Path:
        """Where ``path`` is on this machine, for messages."""
        return self.config.on_disk(path)

    @contextmanager
    def folder(self, path: Path, *, writing: bool = False) -> Iterator[Folder]:
        """Open the directory at ``path``.

        Args:
            path: As the server sees it.
            writing: Whether its contents will be changed; then a directory of the installer's own must be writable for
                nobody else.

        Raises:
            FileNotFoundError: There is none.
            ConflictError: Another user could change where it leads, or what is in it.
        """
        if path == self.places.state or self.places.state in path.parents:
            with self._state(path) as folder:
                yield folder
            return
        ours = writing and (path == self.places.home or self.places.home in path.parents)
        with Folder.opened(self.here(path), self.here(self.places.home) if ours else None) as folder:
            yield folder

    @contextmanager
    def _state(self, path: Path) -> Iterator[Folder]:
        with ExitStack() as opened:
            try:
                own = self.here(self.places.state)
                folder = opened.enter_context(Folder.opened(self.here(path), own, private=True))
            except ConflictError as error:
                raise ConflictError(
                    f"the installer's records are not safe in {own}: {error}; or name another directory for them in"
                    f" the environment variable {STATE_VARIABLE}"
                ) from error
            yield folder

    def status(self, path: Path) -> os.stat_result | None:
        """The status of the file or directory at ``path`` itself; None if there is none."""
        try:
            with self.folder(path.parent) as folder:
                return folder.status(path.name)
        except (FileNotFoundError, NotADirectoryError):
            return None

    def digest(self, path: Path) -> str | None:
        """SHA-256 of the regular file at ``path``; None if there is none.

        Raises:
            ConflictError: It is not a regular file.
        """
        try:
            with self.folder(path.parent) as folder:
                return folder.digest(path.name)
        except (FileNotFoundError, NotADirectoryError):
            return None

    def read(self, path: Path, most: int) -> bytes | None:
        """The content of the regular file at ``path``; None if there is none.

        Raises:
            ConflictError: It is not a regular file, or larger than ``most`` bytes.
        """
        try:
            with self.folder(path.parent) as folder:
                return folder.read(path.name, most)
        except (FileNotFoundError, NotADirectoryError):
            return None

    def read_installed(self, path: Path, digest: str, most: int) -> bytes:
        """The content of an installed file, which must not have changed.

        Raises:
            ConflictError: It is missing, was changed, or is not a regular file.
        """
        content = self.read(path, most)
        if content is None or sha256(content).hexdigest() != digest:
            missing = "is missing" if content is None else "is not as it was installed"
            raise ConflictError(f"{self.here(path)} {missing}: run install-udfs with --force to put it back")
        return content


def state_directory(config: ServerConfig) -> Path:
    """Where the installer keeps its records and its journal for this server, as a path on the server.

    For root, and for a staged tree, it is below ``/var/lib/clip-udfs``; for anybody else, beside the files. The
    environment variable ``CLIP_UDFS_STATE`` names another place.

    Raises:
        ConfigurationError: The variable is not an absolute path.
        ConflictError: Root installed for this server, and another user runs this.
    """
    key = _key(config.main_file)
    if given := os.environ.get(STATE_VARIABLE):
        if not given.startswith("/"):
            raise ConfigurationError(f"{STATE_VARIABLE} is {given!r}: make it an absolute path")
        return Path(os.path.normpath(given)) / key
    kept = ROOTS_STATE / key
    if os.geteuid() == 0 or config.is_staged:
        return kept
    try:
        owner = config.on_disk(kept).stat().st_uid
    except OSError:
        return config.user_scripts_path / HOME / _OWN_STATE
    if owner != os.geteuid():
        raise ConflictError(
            f"{config.on_disk(config.main_file)}: what is installed for this server belongs to {user_name(owner)}"
            f" (records in {config.on_disk(kept)}): run this command as that user"
        )
    return kept


def _key(main_file: Path) -> str:
    """A directory name for the server configured by ``main_file``: readable and unique."""
    readable = re.sub(r"[^A-Za-z0-9]+", "-", str(main_file)).strip("-")
    return f"{readable[-60:]}-{sha256(os.fsencode(main_file)).hexdigest()[:12]}"
