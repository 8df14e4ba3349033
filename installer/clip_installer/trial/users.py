"""The users of a trial server: who may log in without a password, and the one that the server itself needs."""

from __future__ import annotations

import os
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from clip_installer.errors import ConfigurationError
from clip_installer.server.config_files import text_of
from clip_installer.server.config_merge import merge

if TYPE_CHECKING:
    from lxml import etree

# The server logs itself in as this user, without a password, from the loopback address.
ENGINE_USER = "default"
_PASSWORDS = (
    "password",
    "password_sha256_hex",
    "password_scram_sha256_hex",
    "password_double_sha1_hex",
    "ldap",
    "kerberos",
    "ssl_certificates",
    "ssh_keys",
    "http_authentication",
    "jwt",
)
_LOOPBACK = ("::1", "127.0.0.1", "localhost")


@dataclass(frozen=True)
class Users:
    """The users of a configuration.

    Attributes:
        root: The merged users file.
        source: The file that it was read from.
    """

    root: etree._Element
    source: Path

    @classmethod
    def read(cls, users_file: Path) -> Users:
        """Read ``users_file`` with its drop-ins.

        Raises:
            ConfigurationError: It cannot be read or is malformed.
        """
        return cls(merge(users_file, os.environ).root, users_file)

    @property
    def names(self) -> list[str]:
        """Users who log in with a password, in the file's order."""
        return [str(user.tag) for user in self._users() if not _is_open(user)]

    @property
    def engine_user_is_open(self) -> bool:
        """Whether the file itself lets the server's own user log in without a password."""
        return any(user.tag == ENGINE_USER and _is_open(user) for user in self._users())

    def open_to_the_network(self) -> list[str]:
        """Users without a password who are not limited to this machine."""
        return [str(user.tag) for user in self._users() if _is_open(user) and not _is_local(user)]

    def reserve_engine_user(self) -> None:
        """Give the server its own user without a password, limited to its one session."""
        from lxml import etree

        users = self.root.find("users")
        if users is None:
            users = etree.SubElement(self.root, "users")
        for user in users.findall(ENGINE_USER):
            users.remove(user)
        reserved = etree.SubElement(users, ENGINE_USER)
        etree.SubElement(reserved, "no_password")
        etree.SubElement(etree.SubElement(reserved, "networks"), "ip").text = "127.0.0.1"
        etree.SubElement(reserved, "profile").text = "clip_udfs_engine"
        etree.SubElement(reserved, "quota").text = "clip_udfs_engine"
        for group in ("profiles", "quotas"):
            element = self.root.find(group)
            if element is None:
                element = etree.SubElement(self.root, group)
            own = etree.SubElement(element, "clip_udfs_engine")
            if group == "profiles":
                etree.SubElement(own, "max_sessions_for_user").text = "1"

    def _users(self) -> list[etree._Element]:
        users = self.root.find("users")
        return [] if users is None else list(users)


def users_file(merged: etree._Element, main_file: Path) -> Path | None:
    """The users file that a merged configuration names; None if it names none.

    Raises:
        ConfigurationError: It names a file that does not exist.
    """
    element = merged.find("users_config")
    if element is None:
        element = merged.find("user_directories/users_xml/path")
    if element is None or not text_of(element):
        return None
    path = main_file.parent / text_of(element)
    if not path.is_file():
        raise ConfigurationError(f"{main_file}: the users file {path} does not exist; correct <users_config>")
    return path


def write_private(path: Path, root: etree._Element) -> None:
    """Write a configuration that may contain passwords, readable only by the current user."""
    from lxml import etree

    descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    with os.fdopen(descriptor, "wb") as file:
        file.write(etree.tostring(root, encoding="utf-8"))


def _is_open(user: etree._Element) -> bool:
    given = [child for child in user if child.tag in _PASSWORDS]
    return all(child.tag == "password" and not text_of(child) and "from_env" not in child.attrib for child in given)


def _is_local(user: etree._Element) -> bool:
    networks = user.find("networks")
    return networks is not None and len(networks) > 0 and all(text_of(network) in _LOOPBACK for network in networks)
