"""One way to reach ClickHouse: a server by URL, or the embedded engine on a server's configuration."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

import click

from clip_installer.errors import ConnectionRefused, MissingExtra, SqlError
from clip_installer.server.config import ServerConfig
from clip_installer.server.embedded import embedded_main_file

if TYPE_CHECKING:
    from clickhouse_connect.driver.client import Client

_Command = TypeVar("_Command", bound=Callable[..., Any])


@dataclass(frozen=True)
class ConnectionOptions:
    """Where ClickHouse is: exactly one of ``url`` and ``server_config``.

    Attributes:
        url: DSN of clickhouse-connect, e.g. ``http://user:password@host:8123/database``.
        server_config: Configuration directory (or its main file) for the embedded engine.
        data: Data directory of the embedded engine; None takes ``path`` of the configuration.
    """

    url: str | None = None
    server_config: Path | None = None
    data: Path | None = None

    def connect(self, **settings: Any) -> Client:
        """Open a client of clickhouse-connect, with ``settings`` for every statement.

        Raises:
            click.UsageError: Neither or both of URL and configuration are given.
            ConnectionRefused: Nothing answers there, or the embedded engine refuses the configuration.
            MissingExtra: The embedded engine is asked for and chdb is not installed.
        """
        if (self.url is None) == (self.server_config is None):
            raise click.UsageError(
                "say where ClickHouse is: --url DSN for a server, or --server-config DIR for the embedded engine"
            )
        if self.url is not None:
            return self._connect_server(self.url, settings)
        assert self.server_config is not None
        return self._connect_embedded(ServerConfig.read(self.server_config), settings)

    def _connect_server(self, url: str, settings: dict[str, Any]) -> Client:
        import clickhouse_connect
        from clickhouse_connect.driver.exceptions import Error

        try:
            return clickhouse_connect.get_client(dsn=url, settings=settings)
        except (Error, OSError, ValueError) as error:
            raise ConnectionRefused(f"no ClickHouse at {_without_password(url)}: {first_line(error)}") from error

    def _connect_embedded(self, config: ServerConfig, settings: dict[str, Any]) -> Client:
        import clickhouse_connect
        from clickhouse_connect.driver.exceptions import Error

        try:
            import chdb  # noqa: F401
        except ImportError as error:
            raise MissingExtra("chdb", "embedded", "the embedded engine") from error
        data = self.data or config.path
        try:
            data.mkdir(parents=True, exist_ok=True)
            return clickhouse_connect.get_client(
                interface="chdb",
                path=str(data),
                chdb_options={"config-file": str(embedded_main_file(config, data))},
                settings=settings,
            )
        except (Error, OSError, RuntimeError, ValueError) as error:
            raise ConnectionRefused(
                f"the embedded engine does not start on {config.main_file} with data in {data}: {first_line(error)}"
            ) from error


def connection_options(command: _Command) -> _Command:
    """Give a command ``--url``, ``--server-config`` and ``--data``; it receives them as ``connection``."""
    from functools import wraps

    @click.option("--url", help="clickhouse-connect DSN of a server, e.g. http://user:password@host:8123/default.")
    @click.option(
        "--server-config",
        type=click.Path(exists=True, path_type=Path),
        help="Configuration directory of a ClickHouse server: run on the embedded engine with it.",
    )
    @click.option(
        "--data",
        type=click.Path(file_okay=False, path_type=Path),
        help="Data directory of the embedded engine [default: 'path' of the configuration].",
    )
    @wraps(command)
    def wrapped(*arguments: Any, url: str | None, server_config: Path | None, data: Path | None, **options: Any) -> Any:
        if data is not None and server_config is None:
            raise click.UsageError("--data belongs to --server-config; a server at --url has its own")
        return command(*arguments, connection=ConnectionOptions(url, server_config, data), **options)

    return wrapped  # type: ignore[return-value]


def execute(client: Client, statement: str, **settings: Any) -> Any:
    """Run one statement that returns no table and give ClickHouse's summary.

    Raises:
        SqlError: ClickHouse refused the statement; the text is the first line of its message.
    """
    from clickhouse_connect.driver.exceptions import Error

    try:
        return client.command(statement, settings=settings)
    except Error as error:
        raise SqlError(first_line(error)) from error


def first_line(error: BaseException) -> str:
    """The first line of an error's text, or its type where it has none."""
    return next(iter(str(error).strip().splitlines()), type(error).__name__)


def _without_password(url: str) -> str:
    from urllib.parse import urlsplit, urlunsplit

    parts = urlsplit(url)
    if parts.password is None:
        return url
    return urlunsplit(parts._replace(netloc=parts.netloc.replace(f":{parts.password}@", ":***@")))
