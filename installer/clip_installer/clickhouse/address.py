"""A ClickHouse server's address, parsed from a URL; its password never appears where somebody could read it."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any
from urllib.parse import parse_qsl, unquote, urlsplit

from clip_installer.errors import UsageProblem

_SCHEME = re.compile(r"(https?)://", re.IGNORECASE)
_PORTS = {"http": 8123, "https": 8443}
_SECRET = re.compile(r"://.*@", re.DOTALL)
_ESCAPES = "/ as %2F, @ as %40, # as %23, ? as %3F, % as %25"
_OTHER_WAY = "or omit user and password and set CLICKHOUSE_USER and CLICKHOUSE_PASSWORD"
# These would put a secret where nothing would hide it.
_OUTSIDE_THE_QUERY = {
    "user",
    "username",
    "user_name",
    "password",
    "access_token",
    "host",
    "port",
    "interface",
    "secure",
}


@dataclass(frozen=True)
class Tls:
    """What an https server is verified against, and what authenticates us to it.

    Attributes:
        ca_file: PEM file of the trusted authorities; None for the system's.
        client_cert: PEM file of a client certificate; None for none.
        client_key: PEM file of its key; None if ``client_cert`` has both.
    """

    ca_file: Path | None = None
    client_cert: Path | None = None
    client_key: Path | None = None

    def arguments(self, *, mutual: bool) -> dict[str, Any]:
        """Arguments for clickhouse-connect; ``mutual``: the certificate replaces the password."""
        given: dict[str, Any] = {}
        if self.ca_file is not None:
            given["ca_cert"] = str(self.ca_file)
        if self.client_cert is not None:
            given["client_cert"] = str(self.client_cert)
            given["tls_mode"] = "mutual" if mutual else "strict"
        if self.client_key is not None:
            given["client_cert_key"] = str(self.client_key)
        return given


@dataclass(frozen=True)
class Address:
    """A server, and the user who connects to it.

    Attributes:
        scheme: ``http`` or ``https``.
        host: Its name or address.
        port: Its HTTP(S) port.
        user: The ClickHouse user; None leaves it to the server.
        password: The user's password, '' for none; never part of a text.
        database: The database; None for the user's own.
        settings: Settings of ClickHouse and options of the driver, from the URL's query.
        tls: For ``https``.
    """

    scheme: str
    host: str
    port: int
    user: str | None = None
    password: str = field(default="", repr=False)
    database: str | None = None
    settings: Mapping[str, str] = field(default_factory=dict, repr=False)
    tls: Tls = Tls()

    def __str__(self) -> str:
        """Scheme, host and port, for a message."""
        host = f"[{self.host}]" if ":" in self.host else self.host
        return f"{self.scheme}://{host}:{self.port}"


def parse_url(url: str, tls: Tls = Tls()) -> Address:
    """The address that ``url`` means, ``http[s]://[USER[:PASSWORD]@]HOST[:PORT][/DATABASE][?SETTING=VALUE&…]``.

    Raises:
        UsageProblem: It is not of that form; the message does not show what is before the last ``@``.
    """
    shown = without_secret(url)
    scheme = _SCHEME.match(url)
    if scheme is None:
        raise UsageProblem(
            f"--url {shown!r} does not begin with http:// or https://; give ClickHouse's HTTP port, for example"
            " http://localhost:8123 or https://clickhouse.example.com:8443"
        )
    authority = re.split(r"[/?#]", url[scheme.end() :], maxsplit=1)[0]
    if "@" in url[scheme.end() + len(authority) :]:
        raise UsageProblem(f"--url {shown}: user and password must be percent-encoded ({_ESCAPES}), {_OTHER_WAY}")
    try:
        parts = urlsplit(url)
        host, port = parts.hostname, parts.port
    except ValueError:
        host = port = None
        parts = urlsplit(f"{scheme[0]}?")
    userinfo, at, place = authority.rpartition("@")
    if not host or (":" in place.rpartition("]")[2] and port is None):
        raise UsageProblem(f"--url {shown}: expected http[s]://USER:PASSWORD@HOST:PORT/DATABASE")
    user, colon, password = userinfo.partition(":")
    settings = dict(parse_qsl(parts.query, keep_blank_values=True))
    if misplaced := _OUTSIDE_THE_QUERY & settings.keys():
        raise UsageProblem(
            f"--url {shown.partition('?')[0]}: {sorted(misplaced)[0]} is not allowed after the '?'; write"
            " http[s]://USER:PASSWORD@HOST:PORT/DATABASE"
        )
    return Address(
        scheme[1].lower(),
        host,
        port or _PORTS[scheme[1].lower()],
        unquote(user) if at else None,
        unquote(password) if colon else "",
        unquote(parts.path.strip("/")) or None,
        settings,
        tls,
    )


def without_secret(text: str) -> str:
    """``text`` with ``***`` in place of everything between ``://`` and the last ``@``."""
    if "://" in text:
        return _SECRET.sub("://***@", text)
    return "***@" + text.rpartition("@")[2] if "@" in text else text
