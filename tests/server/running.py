"""The server of the tests: the command ``clip-udfs server`` on a tree of its own, and clients of both protocols."""

from __future__ import annotations

import re
import secrets
import signal
import subprocess
import sys
from abc import ABC, abstractmethod
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import clickhouse_connect
import clickhouse_driver
import psutil
from clickhouse_connect.driver.exceptions import Error as ConnectError
from clickhouse_driver.errors import Error as DriverError

from clip_installer.tables.schema import SchemaParameters
from clip_installer.tables.search_page.page import SearchPage
from clip_installer.tables.search_page.search_user import CHANGEABLE, SETTINGS, SearchUser
from clip_installer.tables.search_page.search_user import QUOTA as SEARCH_QUOTA
from tests.chdb.driver import QueryFailed
from tests.processes import command_line

START_SECONDS = 120
# Each user has a password of the run's own, so that a search of everything that was printed can find it.
_USERS = ("admin", "readonly", "dashboard", "searcher", "search", "limited")
PASSWORDS = {name: secrets.token_hex(12) for name in _USERS}
STOCK = """<clickhouse>
    <logger><level>warning</level><log>{data}/server.log</log></logger>
    <http_port>8123</http_port>
    <tcp_port>9000</tcp_port>
    <path>{data}/</path>
    <tmp_path>{data}/tmp/</tmp_path>
    <user_scripts_path>{data}/user_scripts/</user_scripts_path>
    <user_files_path>{data}/user_files/</user_files_path>
    <user_directories>
        <users_xml><path>users.xml</path></users_xml>
        <local_directory><path>{data}/access/</path></local_directory>
    </user_directories>
    <access_control_improvements>
        <settings_constraints_replace_previous>true</settings_constraints_replace_previous>
    </access_control_improvements>
    <default_profile>default</default_profile>
    <default_database>default</default_database>
    <mark_cache_size>268435456</mark_cache_size>
    <query_log><database>system</database><table>query_log</table></query_log>
    <user_defined_executable_functions_config>*_function.*ml</user_defined_executable_functions_config>
{extra}
</clickhouse>
"""
# readonly = 1 is what BI tools get, readonly = 2 what clients need that send settings.
USERS = """<clickhouse>
    <profiles>
        <default/>
        <readonly><readonly>1</readonly></readonly>
        <dashboard><readonly>2</readonly></dashboard>
        <search>{search_settings}</search>
    </profiles>
    <quotas>
        <default/>
        <search><interval><duration>60</duration>{search_quota}</interval></search>
        <small><interval><duration>3600</duration><queries>{queries}</queries></interval></small>
    </quotas>
    <users>
        <admin>
            <password>{admin}</password><networks><ip>::/0</ip></networks>
            <profile>default</profile><quota>default</quota><access_management>1</access_management>
        </admin>
        <readonly>
            <password>{readonly}</password><networks><ip>::/0</ip></networks>
            <profile>readonly</profile><quota>default</quota>
        </readonly>
        <dashboard>
            <password>{dashboard}</password><networks><ip>::/0</ip></networks>
            <profile>dashboard</profile><quota>default</quota>
        </dashboard>
        <searcher>
            <password>{searcher}</password><networks><ip>::/0</ip></networks>
            <profile>readonly</profile><quota>default</quota>
            <grants>
                <query>GRANT SELECT ON default.search_by_text</query>
                <query>GRANT SELECT ON default.search_by_image</query>
            </grants>
        </searcher>
        <search>
            <password>{search}</password><networks><ip>::/0</ip></networks>
            <profile>search</profile><quota>search</quota>
            <grants>{search_grants}</grants>
        </search>
        <limited>
            <password>{limited}</password><networks><ip>::/0</ip></networks>
            <profile>default</profile><quota>small</quota>
        </limited>
    </users>
</clickhouse>
"""
QUOTA = 5


def users() -> str:
    """The users file, with this run's passwords."""
    return USERS.format(queries=QUOTA, **search_user(), **PASSWORDS)


@dataclass(frozen=True)
class ServerPlace:
    """The directories of one server, on a stock configuration with the users of these tests."""

    config: Path
    data: Path

    @property
    def pictures(self) -> Path:
        """A directory of the user_files."""
        return self.data / "user_files" / "pictures"

    def write(self, extra: str = "") -> None:
        """Write the configuration, with ``extra`` elements."""
        self.config.joinpath("config.xml").write_text(STOCK.format(data=self.data, extra=extra))
        self.config.joinpath("users.xml").write_text(users())

    @classmethod
    def make(cls, place: Path, extra: str = "") -> ServerPlace:
        """Lay a server's directories out below ``place``, with nothing installed."""
        made = cls(place / "etc/clickhouse-server", place / "var/lib/clickhouse")
        for directory in (made.config, made.pictures):
            directory.mkdir(parents=True)
        made.write(extra)
        return made

    def processes(self) -> list[psutil.Process]:
        """The workers that run with this place's settings."""
        return [process for process in psutil.process_iter() if str(self.data) in " ".join(command_line(process))]


class Client(ABC):
    """A user's connection; each statement gives rows or :class:`QueryFailed`."""

    @abstractmethod
    def rows(self, statement: str, **settings: Any) -> list[tuple[Any, ...]]:
        """Run one statement and give its rows."""

    def value(self, statement: str, **settings: Any) -> Any:
        """Run one statement and give its only value."""
        ((only,),) = self.rows(statement, **settings)
        return only

    @abstractmethod
    def close(self) -> None:
        """Let the connection go."""


class HttpClient(Client):
    """clickhouse-connect, over HTTP."""

    def __init__(self, host: str, port: int, user: str, password: str) -> None:
        """Connect."""
        self._client = clickhouse_connect.get_client(
            host=host, port=port, username=user, password=password, autogenerate_session_id=False
        )

    def rows(self, statement: str, **settings: Any) -> list[tuple[Any, ...]]:
        """See :class:`Client`."""
        try:
            answers = re.match(r"\s*(?:SELECT|WITH|SHOW|EXPLAIN|DESC|EXISTS)", statement, re.IGNORECASE)
            if not answers:
                self._client.command(statement, settings=settings)
                return []
            return [tuple(row) for row in self._client.query(statement, settings=settings).result_rows]
        except ConnectError as error:
            raise QueryFailed(str(error)) from error

    def close(self) -> None:
        """See :class:`Client`."""
        self._client.close()


class NativeClient(Client):
    """clickhouse-driver, over the native protocol."""

    def __init__(self, host: str, port: int, user: str, password: str) -> None:
        """Connect with the first statement."""
        self._client = clickhouse_driver.Client(
            host=host, port=port, user=user, password=password, send_receive_timeout=900
        )

    def rows(self, statement: str, **settings: Any) -> list[tuple[Any, ...]]:
        """See :class:`Client`."""
        try:
            found = self._client.execute(statement, settings=settings)
        except (DriverError, EOFError) as error:
            raise QueryFailed(str(error)) from error
        return found if isinstance(found, list) else []

    def close(self) -> None:
        """See :class:`Client`."""
        self._client.disconnect()


@dataclass
class RunningServer:
    """The command ``clip-udfs server`` while it runs."""

    place: ServerPlace
    process: subprocess.Popen[str]
    host: str
    http_port: int
    tcp_port: int
    introduction: str
    _clients: list[Client] = field(default_factory=list)

    def http(self, user: str = "admin") -> Client:
        """A client of clickhouse-connect, logged in as ``user``."""
        return self._kept(HttpClient(self.host, self.http_port, user, PASSWORDS[user]))

    def native(self, user: str = "admin") -> Client:
        """A client of clickhouse-driver, logged in as ``user``."""
        return self._kept(NativeClient(self.host, self.tcp_port, user, PASSWORDS[user]))

    @property
    def ports(self) -> dict[str, int]:
        """The port of each protocol."""
        return {"http": self.http_port, "native": self.tcp_port}

    def url(self, user: str = "admin") -> str:
        """The DSN for ``--url``."""
        return f"http://{user}:{PASSWORDS[user]}@{self.host}:{self.http_port}"

    def rows(self, statement: str) -> list[tuple[Any, ...]]:
        """Run one statement as the administrator, over HTTP."""
        client = HttpClient(self.host, self.http_port, "admin", PASSWORDS["admin"])
        try:
            return client.rows(statement)
        finally:
            client.close()

    def install(self, *arguments: object) -> str:
        """Run ``install-udfs --url`` as the administrator, which must work, and give what it printed."""
        done = subprocess.run(
            [
                *(sys.executable, "-m", "clip_installer", "install", "--server-config", str(self.place.config)),
                *("--url", self.url()),
                *map(str, arguments),
            ],
            capture_output=True,
            text=True,
            check=False,
        )
        assert not holds_password(done.stdout + done.stderr)
        assert done.returncode == 0, done.stderr + done.stdout
        return done.stdout

    def stop(self, number: int = signal.SIGTERM) -> int:
        """Stop it as a user does, and return its exit status."""
        for client in self._clients:
            client.close()
        self._clients.clear()
        if self.process.poll() is None:
            self.process.send_signal(number)
        self.process.communicate(timeout=60)
        return self.process.returncode

    def _kept(self, client: Client) -> Client:
        self._clients.append(client)
        return client


def start_server(place: ServerPlace, *options: str) -> RunningServer:
    """Start the command on ``place`` with ports of the system's choice; it answers when this returns."""
    process = subprocess.Popen(
        [
            *(sys.executable, "-m", "clip_installer", "server", "--server-config", str(place.config)),
            *("--http-port", "0"),
            *("--tcp-port", "0"),
            *options,
        ],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        env=_unbuffered(),
    )
    assert process.stdout is not None
    lines: list[str] = []
    while line := process.stdout.readline():
        lines.append(line)
        if match := re.match(r"\s*native\s+(\S+):(\d+)", line):
            host, tcp_port = match[1], int(match[2])
            http = re.search(r"HTTP\s+http://\S+:(\d+)", "".join(lines))
            assert http is not None
            return RunningServer(place, process, host, int(http[1]), tcp_port, "".join(lines))
    _, error = process.communicate()
    raise AssertionError(f"the server did not start: {error}")


@contextmanager
def running_server(place: ServerPlace, *options: str) -> Iterator[RunningServer]:
    """A server for a ``with`` block, after which neither it nor a worker is left."""
    server = start_server(place, *options)
    try:
        yield server
    finally:
        assert server.stop() == 0
        _, left = psutil.wait_procs(place.processes(), timeout=20)
        assert left == []
        assert [path for path in written(place) if holds_password(path.read_text(errors="replace"))] == []


def search_user() -> dict[str, str]:
    """The search page's own user as the users file has it, because this server cannot run CREATE USER."""
    page = SearchPage.render(SchemaParameters(), "default", "any")
    changeable = f"<constraints><{CHANGEABLE}><changeable_in_readonly/></{CHANGEABLE}></constraints>"
    return {
        "search_settings": _elements(SETTINGS) + changeable,
        "search_quota": _elements(SEARCH_QUOTA),
        "search_grants": "".join(f"<query>GRANT {grant}</query>" for grant in SearchUser("search", page).grants),
    }


def _elements(values: Mapping[str, int]) -> str:
    return "".join(f"<{name}>{value}</{name}>" for name, value in values.items())


def holds_password(text: str) -> bool:
    """Whether one of the passwords of this run is in ``text``."""
    return any(secret in text for secret in PASSWORDS.values())


def written(place: ServerPlace) -> Iterator[Path]:
    """What the server logged, and the texts that were installed for it."""
    yield from place.data.glob("*.log")
    yield from place.config.glob("*_function.xml")
    yield from (path for path in place.data.glob("user_scripts/**/*") if path.name in ("launch", "worker.json"))


def _unbuffered() -> Mapping[str, str]:
    import os

    return {**os.environ, "PYTHONUNBUFFERED": "1"}
