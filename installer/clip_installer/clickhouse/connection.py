"""Where ClickHouse is, and how it is reached: a server by URL, or chDB on a server's configuration."""

from __future__ import annotations

import logging
import os
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from clip_installer.clickhouse.credentials import with_credentials
from clip_installer.clickhouse.database import Database
from clip_installer.clickhouse.failures import in_words
from clip_installer.errors import ConfigurationError, ConnectionFailed, MissingExtra, first_line
from clip_installer.server.config import ServerConfig
from clip_installer.server.embedded import embedded_main_file
from clip_installer.server.user import user_name

if TYPE_CHECKING:
    from clip_installer.clickhouse.address import Address

# The longest silence allowed to a server: the driver's own 5 minutes would end a long statement.
_SILENT_SECONDS = 24 * 3600


@dataclass(frozen=True)
class ConnectionOptions:
    """Where ClickHouse is: exactly one of ``address`` and ``server_config``.

    Attributes:
        address: A server.
        server_config: Configuration directory (or its main file) for chDB, ClickHouse in this process.
        data: Data directory of chDB; None uses ``path`` of the configuration.
    """

    address: Address | None = None
    server_config: Path | None = None
    data: Path | None = None

    @property
    def is_server(self) -> bool:
        """Whether this is a server, and not chDB in this process."""
        return self.address is not None

    def connect(self, *, session: bool = False) -> Database:
        """Open a connection.

        Args:
            session: Whether SET and temporary tables persist between statements. An interrupted statement keeps its
                session locked, so statements that may have to be undone must not use one.

        Raises:
            ConnectionFailed: Nothing answers there, or not as ClickHouse does; or chDB refuses the configuration.
            ConfigurationError: chDB's configuration cannot be read, or its data belong to another user.
            MissingExtra: chDB is requested but not installed.
        """
        _quiet_the_driver()
        _without_pandas()
        if self.address is not None:
            return _connect_server(with_credentials(self.address), session=session)
        assert self.server_config is not None
        return _connect_embedded(ServerConfig.read(self.server_config), self.data)


def _connect_server(address: Address, *, session: bool) -> Database:
    import clickhouse_connect

    where = str(address)
    with in_words(where, connecting=True):
        client = clickhouse_connect.get_client(
            host=address.host,
            port=address.port,
            interface=address.scheme,
            username=address.user,
            password=address.password,
            database=address.database,
            generic_args=dict(address.settings),
            send_receive_timeout=_SILENT_SECONDS,
            autogenerate_session_id=session,
            **address.tls.arguments(mutual=not address.password),
        )
    return Database(client, where)


def _connect_embedded(config: ServerConfig, data: Path | None) -> Database:
    import clickhouse_connect

    try:
        import chdb  # noqa: F401
    except ImportError as error:
        raise MissingExtra("chdb", "embedded", "--embedded") from error
    place = data or config.path
    _refuse_data_of_others(place)
    try:
        place.mkdir(parents=True, exist_ok=True)
        client = clickhouse_connect.get_client(
            interface="chdb",
            path=str(place),
            chdb_options={"config-file": str(embedded_main_file(config, place))},
        )
    except (clickhouse_connect.driver.exceptions.Error, OSError, RuntimeError, ValueError) as error:
        raise ConnectionFailed(
            f"chDB does not start on {config.main_file} with data in {place}: {first_line(error)}"
        ) from error
    return Database(client, f"chDB in {place}")


def _refuse_data_of_others(data: Path) -> None:
    """ClickHouse could not read what this user would write into its data."""
    if not data.exists() or data.stat().st_uid == os.geteuid():
        return
    owner = user_name(data.stat().st_uid)
    raise ConfigurationError(
        f"the data in {data} belong to {owner}, and chDB would leave files of {user_name(os.geteuid())} there; give"
        f" --url of their server, another --data DIR, or run this as {owner}"
    )


def _quiet_the_driver() -> None:
    """Silence the driver's log: our errors say the same, and standard error must have only one line or object."""
    for name in ("clickhouse_connect", "urllib3"):
        logging.getLogger(name).setLevel(logging.CRITICAL)


def _without_pandas() -> None:
    """Keep the driver from importing pandas, which takes seconds, only to see that inserted rows are no DataFrame."""
    from clickhouse_connect.driver import options

    vars(options).update(pd=None, pd_time_test=None)
