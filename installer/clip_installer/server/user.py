"""The system user that ClickHouse runs as: who must be able to read and start what is installed."""

from __future__ import annotations

import os
import pwd
from dataclasses import dataclass

from clip_installer.errors import ConfigurationError

DEFAULT_USER = "clickhouse"


@dataclass(frozen=True)
class ServerUser:
    """A system user.

    Attributes:
        name: Login name.
        uid: Numeric user id.
        gid: Numeric id of the user's own group.
        reason: Why it is this one, for the plan.
    """

    name: str
    uid: int
    gid: int
    reason: str

    @classmethod
    def current(cls, reason: str) -> ServerUser:
        """Who runs this process."""
        return cls(_name(os.geteuid()), os.geteuid(), os.getegid(), reason)

    @property
    def is_current(self) -> bool:
        """Whether this process runs as this user."""
        return self.uid == os.geteuid()

    @property
    def can_own(self) -> bool:
        """Whether files can be given to this user, and processes started as this user."""
        return self.is_current or os.geteuid() == 0


def server_user(name: str | None = None) -> ServerUser:
    """The user of that name; by default ``clickhouse`` where root installs and it exists, else who runs this.

    Raises:
        ConfigurationError: There is no such user on this machine.
    """
    if name is not None:
        try:
            entry = pwd.getpwnam(name)
        except KeyError as error:
            raise ConfigurationError(
                f"--user {name}: this machine has no such user; name the one that ClickHouse runs as"
            ) from error
        return ServerUser(name, entry.pw_uid, entry.pw_gid, "given with --user")
    if os.geteuid() == 0:
        try:
            entry = pwd.getpwnam(DEFAULT_USER)
            return ServerUser(DEFAULT_USER, entry.pw_uid, entry.pw_gid, "ClickHouse's usual user")
        except KeyError:
            reason = f"this machine has no user {DEFAULT_USER}; say --user if it is another"
            return ServerUser.current(reason)
    return ServerUser.current("who runs this command")


def _name(uid: int) -> str:
    try:
        return pwd.getpwuid(uid).pw_name
    except KeyError:
        return str(uid)
