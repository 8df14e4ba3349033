"""``clip-udfs server``: a ClickHouse server for evaluation, on the configuration that install-udfs fills."""

from __future__ import annotations

import json
import shlex
import signal
from pathlib import Path
from typing import TYPE_CHECKING, NoReturn

import click

from clip_installer.commands.options import json_option

if TYPE_CHECKING:
    from clip_installer.trial.configuration import TrialConfiguration

_PORT = click.IntRange(0, 65535)
_HELP = """\
Run a ClickHouse server for evaluation, with HTTP and native listeners, until Ctrl-C.

\b
  clip-udfs server --server-config demo/etc/clickhouse-server

It is chDB with listeners, for evaluation: no replication, no ON CLUSTER, no TLS, and its users are those of
the configuration's users file (no CREATE USER). The user "default" cannot have a password here.
"""


@click.command(help=_HELP, short_help="Run a ClickHouse server for evaluation.")
@click.option(
    "--server-config",
    type=click.Path(path_type=Path),
    required=True,
    help="Configuration directory of a ClickHouse server, or its main file.",
)
@click.option("--http-port", type=_PORT, help="Port for HTTP; 0 takes a free one [default: the configuration's, 8123].")
@click.option("--tcp-port", type=_PORT, help="Native port; 0 takes a free one [default: the configuration's, 9000].")
@click.option("--host", default="127.0.0.1", show_default=True, help="Address to listen on.")
@json_option
def server(server_config: Path, http_port: int | None, tcp_port: int | None, host: str, as_json: bool) -> None:
    """Run a ClickHouse server for evaluation until SIGINT or SIGTERM."""
    from clip_installer.errors import ServerFailed
    from clip_installer.trial.configuration import DEFAULT_HTTP_PORT, DEFAULT_TCP_PORT, configured_port
    from clip_installer.trial.process import trial_server

    if http_port is None:
        http_port = configured_port(server_config, "http_port", DEFAULT_HTTP_PORT)
    if tcp_port is None:
        tcp_port = configured_port(server_config, "tcp_port", DEFAULT_TCP_PORT)
    signal.signal(signal.SIGTERM, _end)
    signal.signal(signal.SIGINT, _end)
    try:
        with trial_server(server_config, host, http_port, tcp_port) as running:
            click.echo(_as_json(running.configuration) if as_json else introduction(running.configuration))
            running.wait()
            raise ServerFailed(f"the server stopped unexpectedly: {running.last_words()}")
    except _Ended:
        if not as_json:
            click.echo("the server has stopped", err=True)


def introduction(configuration: TrialConfiguration) -> str:
    """An introduction to a running server: its addresses, who may log in, and a first query."""
    addresses = configuration.addresses
    lines = [
        "ClickHouse for evaluation, not for production; Ctrl-C stops it",
        f"  HTTP    {addresses.http}",
        f"  native  {addresses.host}:{addresses.tcp_port}",
    ]
    lines += [f"  search  {addresses.http}{page}" for page in configuration.search_pages]
    if configuration.reserved:
        lines.append("  The user default is reserved for the server itself; log in as another user")
    if configuration.login is None:
        lines.append("  No other user is configured: add one to the users file and start again")
        return "\n".join(lines)
    user = f" --user {shlex.quote(configuration.login)}" if configuration.login else ""
    if configuration.has_functions:
        lines.append("Try:")
        lines.append(f'  curl{user} {addresses.http} --data-binary "{configuration.first_query}"')
    else:
        credentials = f"{configuration.login}:PASSWORD@" if configuration.login else ""
        url = addresses.http.replace("//", f"//{credentials}")
        where = shlex.quote(str(configuration.server.main_file.parent))
        lines.append("No functions are installed yet:")
        lines.append(f"  install-udfs --server-config {where} --url {url}")
    return "\n".join(lines)


def _as_json(configuration: TrialConfiguration) -> str:
    """The same as one object, printed once the server answers."""
    addresses = configuration.addresses
    return json.dumps(
        {
            "http": addresses.http,
            "native": f"{addresses.host}:{addresses.tcp_port}",
            "search_pages": [f"{addresses.http}{page}" for page in configuration.search_pages],
            "user": configuration.login,
            "query": configuration.first_query,
        }
    )


class _Ended(Exception):
    """A signal asked the server to end."""


def _end(*_: object) -> NoReturn:
    raise _Ended
