"""User and password if the URL lacks them: from environment variables, or clickhouse-client's own configuration.

The rules are clickhouse-client's: ``CLICKHOUSE_USER`` and ``CLICKHOUSE_PASSWORD`` come first, then the first
configuration file that exists. In it, ``connections_credentials`` has entries for single servers; the top-level
``user`` and ``password`` apply to its ``host``, or to every server if it names none.
"""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

from clip_installer.clickhouse.address import Address
from clip_installer.server.config_files import parse, text_of

if TYPE_CHECKING:
    from lxml import etree

USER_VARIABLE, PASSWORD_VARIABLE = "CLICKHOUSE_USER", "CLICKHOUSE_PASSWORD"
_ENDINGS = (".xml", ".yaml", ".yml")


def with_credentials(address: Address, environment: Mapping[str, str] = os.environ) -> Address:
    """``address``, completed with user, password, database and trusted authorities.

    A password that is given with a user's name is used only for that user.

    Raises:
        ConfigurationError: clickhouse-client's configuration cannot be read.
    """
    completed = _completed(address, environment.get(USER_VARIABLE), environment.get(PASSWORD_VARIABLE))
    if completed.password:
        return completed
    root = _client_configuration(environment)
    if root is None:
        return completed
    for entry in _entries(root, address.host):
        completed = _completed(completed, _value(entry, "user"), _value(entry, "password"))
        if completed.database is None:
            completed = replace(completed, database=_value(entry, "database"))
    authority = _value(root, "openSSL/client/caConfig")
    if authority is not None and completed.tls.ca_file is None:
        completed = replace(completed, tls=replace(completed.tls, ca_file=Path(authority)))
    return completed


def _completed(address: Address, user: str | None, password: str | None) -> Address:
    if address.password or (user is not None and address.user is not None and address.user != user):
        return address
    return replace(address, user=address.user or user, password=password or "")


def _client_configuration(environment: Mapping[str, str]) -> etree._Element | None:
    home = Path(environment["HOME"]) if environment.get("HOME") else Path.home()
    shared = Path(environment.get("XDG_CONFIG_HOME") or home / ".config")
    places = (home / ".clickhouse-client/config", shared / "clickhouse/config", Path("/etc/clickhouse-client/config"))
    for place in places:
        for ending in _ENDINGS:
            if (file := place.with_name(place.name + ending)).is_file():
                return parse(file)
    return None


def _entries(root: etree._Element, host: str) -> Iterator[etree._Element]:
    """The parts of the configuration that apply to ``host``: its own entries, then the top level."""
    for connection in root.findall("connections_credentials/connection"):
        if host in (_value(connection, "name"), _value(connection, "hostname")):
            yield connection
    if _value(root, "host") in (None, host):
        yield root


def _value(parent: etree._Element, name: str) -> str | None:
    element = parent.find(name)
    if element is None:
        return None
    variable = element.get("from_env")
    return os.environ.get(variable) if variable else text_of(element)
