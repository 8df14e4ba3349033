"""Turns what goes wrong between a command and ClickHouse into one line that says what to do."""

from __future__ import annotations

import http.client
import re
import socket
import ssl
from collections.abc import Iterator
from contextlib import contextmanager

from clip_installer.errors import ConnectionFailed, InstallerError, SqlError, first_line
from clip_udfs.errors import ClipUdfError, printable

# How the driver begins, and ends, the server's message.
_SERVERS_OWN = re.compile(r"Code: (?P<number>\d+)\. DB::.*", re.DOTALL)
_TRAILERS = re.compile(r"(?:\s*\((?:for url [^()]*|version [^()]*(?:\([^()]*\))?)\))+\s*$")
_NAME = re.compile(r"\(([A-Z][A-Z0-9_]{2,})\)\s*$")
_CREDENTIALS = {"AUTHENTICATION_FAILED", "REQUIRED_PASSWORD", "WRONG_PASSWORD", "UNKNOWN_USER"}
_NATIVE_PORT = "is for clickhouse-client program"
# What to do about an error, by ClickHouse's name for it. docs/messages.md has the same list.
REMEDIES = {
    "ACCESS_DENIED": "an administrator can GRANT that to this user",
    "CLUSTER_DOESNT_EXIST": "SELECT DISTINCT cluster FROM system.clusters lists the server's clusters",
    "IP_ADDRESS_NOT_ALLOWED": "an administrator can allow this host in the user's <networks>",
    "MEMORY_LIMIT_EXCEEDED": "repeat it when the server is less busy, or raise max_memory_usage",
    "NOT_ENOUGH_SPACE": "make room on the server's disk and repeat the command",
    "QUOTA_EXCEEDED": "repeat it when the quota's interval is over, or connect as another user",
    "READONLY": "connect as a user whose profile has readonly = 0",
    "TIMEOUT_EXCEEDED": "raise max_execution_time of this user, or ask for less at a time",
    "TOO_MANY_SIMULTANEOUS_QUERIES": "repeat it when the server is less busy",
    "UNKNOWN_DATABASE": "create it, or correct the database in --url or --table",
    "UNKNOWN_TABLE": "SHOW TABLES lists the tables; name one in another database as database.table",
}


@contextmanager
def in_words(where: str, *, connecting: bool = False) -> Iterator[None]:
    """Turn whatever the driver raises in the body into an error of ours.

    Args:
        where: The server, without a password.
        connecting: Whether this is the first contact, when the address itself may be wrong.

    Raises:
        SqlError: ClickHouse refused a statement.
        ConnectionFailed: It cannot be reached, does not accept the user, or went away.
    """
    try:
        yield
    except ClipUdfError:
        raise
    except Exception as error:  # the driver raises its own errors, urllib3's, and Python's from its parsers
        raise explained(error, where, connecting=connecting) from error


def explained(error: BaseException, where: str, *, connecting: bool = False) -> InstallerError:
    """Our error for what the driver raised."""
    text = _text_of(error)
    answered = _SERVERS_OWN.search(text)
    if answered is None:
        return ConnectionFailed(_unreachable(error, text, where, connecting=connecting))
    said = _TRAILERS.sub("", answered[0]).strip()
    name = getattr(error, "name", None) or (found[1] if (found := _NAME.search(said)) else None)
    reason = printable(said.splitlines()[0])
    if name and f"({name})" not in reason:
        reason = f"{reason} ({name})"
    if name in _CREDENTIALS:
        return ConnectionFailed(
            f"{where} does not accept this user and password: {reason}; give them in --url, in CLICKHOUSE_USER and"
            " CLICKHOUSE_PASSWORD, or in ~/.clickhouse-client/config.xml"
        )
    return SqlError(reason, int(answered["number"]), name, REMEDIES.get(name or "", ""))


def _text_of(error: BaseException) -> str:
    cause = error.__cause__
    if isinstance(cause, UnicodeDecodeError):  # chDB: a message that quotes text, cut inside a character
        return bytes(cause.object).decode(errors="replace")
    return str(error)


def _unreachable(error: BaseException, text: str, where: str, *, connecting: bool) -> str:
    causes = list(_causes(error))
    for cause in causes:
        if isinstance(cause, ssl.SSLError):
            return _without_tls(cause, where)
    if any(isinstance(cause, socket.gaierror) for cause in causes):
        return f"no host of that name for {where}: correct --url"
    if connecting and any(isinstance(cause, ConnectionRefusedError) for cause in causes):
        return f"no server listens at {where}: correct host and port in --url, or start ClickHouse"
    if any(isinstance(cause, TimeoutError) for cause in causes) or "timed out" in text:
        return f"no answer from {where}: check that the host is up, and that no firewall drops the connection"
    if _NATIVE_PORT in text:
        return f"{where} is ClickHouse's native port: --url needs the HTTP port, 8123 by default, or 8443 with https"
    if any(isinstance(cause, http.client.HTTPException | ConnectionError) for cause in causes):
        if not connecting:
            return f"the connection to {where} was lost: was the server stopped? Run the command again when it is up"
        return (
            f"{where} does not answer like ClickHouse's HTTP port: is it another port, or one that needs https or"
            " --client-cert?"
        )
    if type(error).__name__ == "ProgrammingError":  # the driver refuses an option before it connects
        return f"{where}: {first_line(error)}; correct what follows the '?' in --url"
    return f"what answers at {where} is not ClickHouse ({first_line(error)}): a proxy, or another port?"


def _without_tls(error: ssl.SSLError, where: str) -> str:
    if isinstance(error, ssl.SSLCertVerificationError):
        return (
            f"the TLS certificate of {where} is not trusted ({error.verify_message}): give the authority that signed"
            " it with --ca-file, and the host name that it is for in --url"
        )
    if error.reason in {"WRONG_VERSION_NUMBER", "HTTP_REQUEST", "RECORD_LAYER_FAILURE"}:
        return f"{where} does not speak TLS: write http://, or give ClickHouse's https_port, 8443 by default"
    if "CERTIFICATE" in (error.reason or ""):
        return f"{where} requires a client certificate: give --client-cert and --client-key"
    return (
        f"TLS with {where} failed ({error.reason or first_line(error)}): if the server asks for a client certificate,"
        " give --client-cert and --client-key"
    )


def _causes(error: BaseException) -> Iterator[BaseException]:
    """The error and all its causes; urllib3 keeps them in ``reason`` and ``args``."""
    found: list[BaseException] = [error]
    for one in found:
        yield one
        kept = (one.__cause__, one.__context__, getattr(one, "reason", None), *one.args)
        found += [cause for cause in kept if isinstance(cause, BaseException) and cause not in found]
