"""The system user that ClickHouse runs as, who must be able to read and start what is installed."""

from __future__ import annotations

import os
import pwd
import subprocess
from dataclasses import dataclass
from pathlib import Path

from clip_installer.errors import ApplyError, CheckFailed, ConfigurationError
from clip_installer.server.config import ServerConfig

DEFAULT_USER = "clickhouse"
_TIMEOUT_SECONDS = 600


@dataclass(frozen=True)
class ServerUser:
    """A system user.

    Attributes:
        name: Login name.
        uid: Numeric user id.
        gid: Numeric id of the user's own group.
        reason: Why this user was chosen, for the plan.
    """

    name: str
    uid: int
    gid: int
    reason: str

    @classmethod
    def current(cls, reason: str) -> ServerUser:
        """The user of this process."""
        return cls(user_name(os.geteuid()), os.geteuid(), os.getegid(), reason)

    @property
    def is_current(self) -> bool:
        """Whether this process runs as this user."""
        return self.uid == os.geteuid()

    @property
    def can_run(self) -> bool:
        """Whether processes can be started as this user."""
        return self.is_current or os.geteuid() == 0

    def run(self, command: list[str], given: bytes = b"") -> subprocess.CompletedProcess[bytes]:
        """Run ``command`` as this user if this process may, otherwise as the current one: no environment, in ``/``.

        Raises:
            CheckFailed: It cannot be started, or does not end in time.
        """
        other = self.can_run and not self.is_current
        try:
            return subprocess.run(
                command,
                input=given,
                capture_output=True,
                env={},
                cwd="/",
                timeout=_TIMEOUT_SECONDS,
                check=False,
                user=self.uid if other else None,
                group=self.gid if other else None,
                extra_groups=[] if other else None,
            )
        except OSError as error:
            raise CheckFailed(f"cannot start {command[0]}: {error.strerror}") from error
        except subprocess.TimeoutExpired as error:
            raise CheckFailed(f"{command[0]} gave no answer within {_TIMEOUT_SECONDS} seconds") from error

    def make_directory(self, path: Path) -> None:
        """Create a directory of this user's, with no more rights than this user has.

        Raises:
            ApplyError: This user may not create it.
        """
        done = self.run(["/bin/mkdir", "-m", "755", "--", str(path)])
        if done.returncode != 0:
            raise ApplyError(
                f"{self.name}, the user that the server runs as, cannot create {path}: create it with"
                f" install -d -o {self.name} {path}"
            )


def server_user(config: ServerConfig, name: str | None = None, recorded: str = "") -> ServerUser:
    """The user that the server configured by ``config`` runs as.

    That is the one given as ``name``, otherwise the one ``recorded`` at installation, otherwise the owner of the data
    directory, because ClickHouse refuses to run as anybody else, otherwise ``clickhouse``. Only root can start workers
    as another user.

    Args:
        config: The server.
        name: A login name or a number.
        recorded: The same, from the records; '' for none.

    Raises:
        ConfigurationError: There is no such user on this machine, or the server's user is not known.
    """
    if name is not None:
        return _named(name, f"--user {name}", "given with --user")
    if os.geteuid() != 0:
        return ServerUser.current("who runs this command")
    if recorded:
        return _named(recorded, f"user {recorded} in the records", "recorded when it was installed")
    try:
        owner = config.on_disk(config.path).stat()
    except OSError:
        owner = None
    if owner is not None and owner.st_uid != 0:
        return ServerUser(user_name(owner.st_uid), owner.st_uid, owner.st_gid, f"the owner of {config.path}")
    try:
        entry = pwd.getpwnam(DEFAULT_USER)
    except KeyError:
        if owner is not None:
            return ServerUser(user_name(0), 0, owner.st_gid, f"the owner of {config.path}")
        raise ConfigurationError(
            f"cannot tell which user the server runs as: there is no data directory {config.path} yet, and no user"
            f" {DEFAULT_USER}; name it with --user"
        ) from None
    return ServerUser(DEFAULT_USER, entry.pw_uid, entry.pw_gid, "ClickHouse's usual user")


def _named(name: str, where: str, reason: str) -> ServerUser:
    try:
        entry = pwd.getpwuid(int(name)) if name.isascii() and name.isdigit() else pwd.getpwnam(name)
    except (KeyError, OverflowError) as error:
        raise ConfigurationError(
            f"{where}: this machine has no such user; name the one that ClickHouse runs as with --user"
        ) from error
    return ServerUser(entry.pw_name, entry.pw_uid, entry.pw_gid, reason)


def user_name(uid: int) -> str:
    """Login name of the user ``uid``, or the number if this machine knows none."""
    try:
        return pwd.getpwuid(uid).pw_name
    except KeyError:
        return str(uid)
