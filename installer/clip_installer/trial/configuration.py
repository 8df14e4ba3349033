"""The configuration of a trial server: the given one as ClickHouse merges it, with other addresses."""

from __future__ import annotations

import ipaddress
import os
import re
import socket
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from clip_installer.errors import ConfigurationError
from clip_installer.server.config import FUNCTIONS_KEY, ServerConfig
from clip_installer.server.config_files import text_of
from clip_installer.server.config_merge import merge
from clip_installer.server.http_handlers import http_handlers
from clip_installer.tables.search_page.page import ADDRESS, NAME
from clip_installer.trial.users import ENGINE_USER, Users, users_file, write_private

if TYPE_CHECKING:
    from lxml import etree

DEFAULT_HTTP_PORT = 8123
DEFAULT_TCP_PORT = 9000
# The page's main handler, as ClickHouse stores it; the others have longer addresses.
_PAGE_ADDRESS = re.compile(rf"^CREATE HANDLER \w+ URL '({ADDRESS}[^/']*)' ")


@dataclass(frozen=True)
class Addresses:
    """Where a server listens.

    Attributes:
        host: Address or name of this machine.
        http_port: Port for HTTP clients.
        tcp_port: Port for native clients.
    """

    host: str
    http_port: int
    tcp_port: int

    @property
    def http(self) -> str:
        """The URL for HTTP clients."""
        return f"http://{f'[{self.host}]' if ':' in self.host else self.host}:{self.http_port}"

    @classmethod
    def choose(cls, host: str, http_port: int, tcp_port: int) -> Addresses:
        """The given addresses, with a free port chosen by the system in place of each 0.

        Raises:
            ConfigurationError: This machine has no such address, or a port is in use.
        """
        with _bound(host, http_port, "--http-port") as http, _bound(host, tcp_port, "--tcp-port") as tcp:
            return cls(host, http.getsockname()[1], tcp.getsockname()[1])


@dataclass(frozen=True)
class TrialConfiguration:
    """The written configuration of a trial server.

    Attributes:
        server: The given configuration.
        addresses: Where the server listens.
        login: A user who may log in; '' for the default user without a password, None if there is none.
        reserved: Whether the user ``default`` of the given configuration cannot log in here.
    """

    server: ServerConfig
    addresses: Addresses
    login: str | None
    reserved: bool

    @property
    def has_functions(self) -> bool:
        """Whether functions are installed, so that the first query can call one."""
        return "encode_text" in self.server.functions()

    @property
    def search_pages(self) -> list[str]:
        """The addresses of the search pages that were installed, without host."""
        found = [
            handler.url for handler in http_handlers(self.server).rules if re.fullmatch(rf"{ADDRESS}[^/]*", handler.url)
        ]
        for file in sorted((self.server.path / "handlers").glob(f"{NAME}*.sql")):
            made = _PAGE_ADDRESS.search(file.read_text(encoding="utf-8", errors="replace"))
            if made:
                found.append(made[1])
        return found

    @property
    def first_query(self) -> str:
        """A search if the search views exist, otherwise a vector."""
        if (self.server.path / "metadata" / "default" / "search_by_text.sql").exists():
            return "SELECT url, caption, distance FROM search_by_text(query = 'a happy face', k = 5)"
        return "SELECT length(encode_text('a happy face'))"


def write_configuration(location: Path, directory: Path, addresses: Addresses) -> TrialConfiguration:
    """Write ``config.xml``, and a users file if needed, for a server on ``location`` into ``directory``.

    Raises:
        ConfigurationError: The configuration cannot be used, or would open the server to the network.
    """
    config = ServerConfig.read(location)
    root = merge(config.main_file, os.environ).root
    named = users_file(root, config.main_file)
    users = None if named is None else Users.read(named)
    if not is_loopback(addresses.host):
        _refuse_open_users(addresses.host, users, config)
    reserved = users is not None and not users.engine_user_is_open
    _set(root, "path", f"{config.path}/")
    _set(root, "user_scripts_path", f"{config.user_scripts_path}/")
    _set(root, "user_files_path", f"{config.user_files_path}/")
    _set(root, "listen_host", addresses.host)
    _set(root, "http_port", str(addresses.http_port))
    _set(root, "tcp_port", str(addresses.tcp_port))
    _set(root, FUNCTIONS_KEY, *config.function_globs)
    if users is not None and named is not None:
        if reserved:
            users.reserve_engine_user()
            named = directory / "users.xml"
            write_private(named, users.root)
        _set(root, "user_directories")  # clickhouse-local supports only the users file
        _set(root, "users_config", str(named))
    write_private(directory / "config.xml", root)
    return TrialConfiguration(config, addresses, _login(users), reserved)


def is_loopback(host: str) -> bool:
    """Whether only this machine can reach ``host``."""
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"


def _refuse_open_users(host: str, users: Users | None, config: ServerConfig) -> None:
    open_users = [ENGINE_USER] if users is None else users.open_to_the_network()
    if open_users:
        source = config.main_file if users is None else users.source
        raise ConfigurationError(
            f"--host {host} is reachable from the network, and {source} lets the user {open_users[0]} in without a"
            f" password: give every user a password, or limit <networks> of {open_users[0]} to 127.0.0.1"
        )


def _login(users: Users | None) -> str | None:
    if users is None or users.engine_user_is_open:
        return ""
    return next((name for name in users.names if name != ENGINE_USER), None)


def _set(root: etree._Element, key: str, *values: str) -> None:
    """Replace all elements ``key`` of the configuration by one for each of ``values``."""
    from lxml import etree

    for element in root.findall(key):
        root.remove(element)
    for number, value in enumerate(values):
        element = etree.SubElement(root, key)
        element.text = value
        if number:
            element.set("id", str(number))


def configured_port(location: Path, key: str, default: int) -> int:
    """The port under ``key`` in the configuration, or ``default``."""
    element = merge(ServerConfig.read(location).main_file, os.environ).root.find(key)
    text = "" if element is None else text_of(element)
    return int(text) if text.isdigit() else default


def _bound(host: str, port: int, option: str) -> socket.socket:
    try:
        family = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)[0][0]
    except OSError as error:
        raise ConfigurationError(f"--host {host} is no address of this machine: {error.strerror}") from error
    bound = socket.socket(family, socket.SOCK_STREAM)
    bound.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    try:
        bound.bind((host, port))
    except OSError as error:
        bound.close()
        raise ConfigurationError(
            f"cannot listen on {host}, port {port}: {error.strerror}; choose another with {option} (0 takes a free one)"
        ) from error
    return bound
