"""The target server, read once: its configuration, its installations, and its user."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from clip_installer.errors import ConfigurationError, ConflictError
from clip_installer.install.records.records import Records, load_records
from clip_installer.server.config import ServerConfig
from clip_installer.server.user import ServerUser, server_user

_ROOT = Path("/")


@dataclass(frozen=True)
class Target:
    """A server, or a tree staged for one.

    Attributes:
        config: Its configuration.
        records: What is installed on it.
        user: The user that the server runs as.
    """

    config: ServerConfig
    records: Records
    user: ServerUser

    @classmethod
    def read(cls, server_config: Path, destdir: Path, user: str | None) -> Target:
        """Read the server configured at ``server_config`` below ``destdir``.

        Args:
            server_config: Configuration directory or main file, as the server sees it.
            destdir: Root of the tree; ``/`` for this machine.
            user: The server's system user; None means the recorded one, the owner of the data directory, or, for a
                staged tree, the user who stages it.

        Raises:
            ConfigurationError: The configuration or the records cannot be read, or there is no such user.
            ConflictError: The directory of scripts belongs to another server.
        """
        config = ServerConfig.read(server_config, destdir=destdir)
        refuse_unprintable(config.user_scripts_path)
        records = load_records(config)
        if destdir != _ROOT and user is None:
            return cls(config, records, ServerUser.current("who stages the tree"))
        return cls(config, records, server_user(config, user, records.user))

    def require_model(self, suffix: str | None) -> None:
        """Refuse to continue if nothing is installed under ``suffix`` (None: at all).

        Raises:
            ConflictError: Nothing is installed.
        """
        if any(suffix in (None, model.suffix) for model in self.records.models):
            return
        under = f" under the suffix {suffix!r}" if suffix is not None else ""
        raise ConflictError(
            f"nothing is installed{under} for {self.config.on_disk(self.config.main_file)}; name the server's"
            " configuration with --server-config"
        )


def refuse_unprintable(path: Path) -> None:
    """Refuse a path that definitions and launchers cannot contain.

    Raises:
        ConfigurationError: It has a character that they cannot contain.
    """
    if not str(path).isprintable():
        raise ConfigurationError(
            f"{str(path)!r} contains a character that cannot be printed or is not UTF-8; use another directory"
        )
