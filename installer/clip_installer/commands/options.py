"""Options that several commands share, each with one name, one default and one sentence of help."""

from __future__ import annotations

import os
from collections.abc import Callable
from functools import reduce, wraps
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

import click

if TYPE_CHECKING:
    from clip_installer.clickhouse.connection import ConnectionOptions

_Command = TypeVar("_Command", bound=Callable[..., Any])
_FILE = click.Path(exists=True, dir_okay=False, path_type=Path)
DEFAULT_TABLE = "laion"

URL_VARIABLE = "CLICKHOUSE_URL"

json_option = click.option("--json", "as_json", is_flag=True, help="Print one JSON object.")
table_option = click.option("--table", default=DEFAULT_TABLE, show_default=True, help="The table.")

_SERVER_OPTIONS = (
    click.option(
        "--url",
        help="ClickHouse's HTTP address, http[s]://[USER:PASSWORD@]HOST[:PORT][/DATABASE]"
        f" [default: the environment's {URL_VARIABLE}].",
    ),
    click.option("--ca-file", type=_FILE, help="Trust these authorities for an https server's certificate (PEM)."),
    click.option("--client-cert", type=_FILE, help="Client certificate for an https server (PEM)."),
    click.option("--client-key", type=_FILE, help="Key of --client-cert (PEM) [default: in the same file]."),
    click.option("--embedded", is_flag=True, help="Use chDB, ClickHouse in this process, on --server-config."),
    click.option(
        "--data",
        type=click.Path(file_okay=False, path_type=Path),
        help="With --embedded: chDB's data directory [default: 'path' of the configuration].",
    ),
)
_SERVER_CONFIG = click.option(
    "--server-config",
    type=click.Path(exists=True, path_type=Path),
    help="With --embedded: the configuration directory, or main file, of a ClickHouse server.",
)


def counted(context: click.Context, parameter: click.Parameter, value: Any) -> Any:
    """The callback of an option for a number of rows, such as ``50M``; a tuple if the option is repeatable."""
    from clip_installer.planning.machines import parse_count

    if isinstance(value, tuple):
        return tuple(counted(context, parameter, one) for one in value)
    try:
        return value if value is None or isinstance(value, int) else parse_count(value)
    except (OverflowError, ValueError) as error:
        raise click.BadParameter(str(error), context, parameter) from error


def say_note(text: str, *, as_json: bool) -> None:
    """Print a note on standard error; with ``--json``, nothing, because only an error object may be there."""
    if not as_json:
        click.echo(f"note: {text}", err=True)


def connection_options(command: _Command) -> _Command:
    """Give a command the options that say where ClickHouse is; it receives them as ``connection``."""

    @wraps(command)
    def wrapped(*arguments: Any, server_config: Path | None, **options: Any) -> Any:
        connection = _connection(options, server_config)
        if connection is None:
            raise click.UsageError(
                "say where ClickHouse is: --url http://HOST:8123 for a server, or --embedded --server-config DIR for"
                " chDB in this process"
            )
        if connection.is_server and server_config is not None:
            raise click.UsageError("--server-config applies only to --embedded; a server at --url has its own")
        return command(*arguments, connection=connection, **options)

    decorated: _Command = _with_options(wrapped, (*_SERVER_OPTIONS[:4], _SERVER_CONFIG, *_SERVER_OPTIONS[4:]))
    return decorated


def optional_connection_options(command: _Command) -> _Command:
    """The same for a command with its own ``--server-config``; ``connection`` is None if none is given."""

    @wraps(command)
    def wrapped(*arguments: Any, server_config: Path, **options: Any) -> Any:
        # A staged tree has no server, whatever the environment says.
        staged = options.get("destdir", Path("/")) != Path("/")
        connection = _connection(options, server_config, use_environment=not staged)
        return command(*arguments, server_config=server_config, connection=connection, **options)

    decorated: _Command = _with_options(wrapped, _SERVER_OPTIONS)
    return decorated


def _with_options(command: Any, options: tuple[Callable[[Any], Any], ...]) -> Any:
    return reduce(lambda decorated, option: option(decorated), reversed(options), command)


def _connection(
    options: dict[str, Any], server_config: Path | None, *, use_environment: bool = True
) -> ConnectionOptions | None:
    """Take the options of the connection out of ``options``; None if none is given."""
    from clip_installer.clickhouse.address import Tls, parse_url
    from clip_installer.clickhouse.connection import ConnectionOptions

    url, embedded, data = options.pop("url"), options.pop("embedded"), options.pop("data")
    files = {name: options.pop(name) for name in ("ca_file", "client_cert", "client_key")}
    if url is not None and (embedded or data is not None):
        raise click.UsageError("--url is a server and --embedded is chDB in this process; choose one")
    if data is not None and not embedded:
        raise click.UsageError("--data applies only to --embedded; a server at --url has its own")
    if embedded:
        if server_config is None:
            raise click.UsageError("--embedded needs --server-config DIR, the configuration that chDB runs on")
        return ConnectionOptions(server_config=server_config, data=data)
    if url is None and use_environment:
        url = os.environ.get(URL_VARIABLE)
    if url is None:
        return None
    return ConnectionOptions(address=parse_url(url, Tls(**files)))
