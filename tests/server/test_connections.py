"""Every command, with every kind of connection failure: one line, the right status, no password."""

from __future__ import annotations

import json
import os
import re
import secrets
import socket
import subprocess
import sys
import time
from pathlib import Path
from urllib.parse import quote

import psutil
import pytest

from clip_installer import cli
from tests.listeners import CERTIFICATES, answering, tls_proxy
from tests.processes import children, kill
from tests.server.running import PASSWORDS, RunningServer, ServerPlace, start_server

COMMANDS: dict[str, tuple[str, ...]] = {
    "sql": ("-q", "SELECT 1 FROM laion"),
    "build-index": (),
    "check-model": (),
    "recall": (),
    "import-laion": ("{laion}", "--parts", "0"),
    "install": ("--server-config", "{config}", "--verify"),
}
PAGE = b"HTTP/1.1 200 OK\r\nContent-Length: 29\r\nConnection: close\r\n\r\n<html><h1>Sign in</h1></html>"
# What is wrong, what the line says of it.
FAULTS = {
    "no server": "no server listens at",
    "wrong password": "does not accept this user and password",
    "wrong database": "UNKNOWN_DATABASE",
    "a page": "is not ClickHouse",
    "the native port": "native port",
    "a TLS port without TLS": "needs https",
    "TLS to a plain port": "does not speak TLS",
}


def clip_udfs(*arguments: object, **environment: str) -> subprocess.CompletedProcess[str]:
    """Run a command; neither of its outputs may hold a password, and no failure more than its usage and one line."""
    done = subprocess.run(
        [sys.executable, "-m", "clip_installer", *map(str, arguments)],
        capture_output=True,
        text=True,
        check=False,
        timeout=120,
        env={**os.environ, **environment},
    )
    said = done.stdout + done.stderr
    for secret in (*PASSWORDS.values(), *(value for name, value in environment.items() if "PASSWORD" in name)):
        assert secret not in said
    assert "Traceback" not in said
    return done


def in_this_process(capsys: pytest.CaptureFixture[str], *arguments: str) -> tuple[int | str | None, str, str]:
    """The same without a process, for the many; gives status and both outputs."""
    capsys.readouterr()
    with pytest.raises(SystemExit) as ended:
        cli.run(cli.program, "clip-udfs", arguments)
    said = capsys.readouterr()
    assert not any(secret in said.out + said.err for secret in PASSWORDS.values())
    return ended.value.code, said.out, said.err


@pytest.fixture(scope="module")
def laion(tmp_path_factory: pytest.TempPathFactory) -> Path:
    from tests.laion_parts import write_part

    place = tmp_path_factory.mktemp("laion")
    write_part(place, 0, 20)
    return place


def filled(command: str, server: RunningServer, laion: Path) -> list[str]:
    return [word.format(config=server.place.config, laion=laion) for word in COMMANDS[command]]


@pytest.mark.parametrize("command", COMMANDS)
@pytest.mark.parametrize("fault", FAULTS)
def test_each_command_says_what_is_wrong_in_one_line(
    command: str, fault: str, server: RunningServer, laion: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    with answering(PAGE) as page, tls_proxy(server.http_port) as proxy:
        with socket.create_server(("127.0.0.1", 0)) as listener:
            closed = listener.getsockname()[1]
        address = f"{server.host}:{server.http_port}"
        login = f"admin:{PASSWORDS['admin']}"
        url = {
            "no server": f"http://{login}@127.0.0.1:{closed}",
            "wrong password": f"http://admin:{secrets.token_hex(8)}@{address}",
            "wrong database": f"http://{login}@{address}/nothing",
            "a page": f"http://{login}@127.0.0.1:{page}",
            "the native port": f"http://{login}@{server.host}:{server.tcp_port}",
            "a TLS port without TLS": f"http://{login}@127.0.0.1:{proxy.port}",
            "TLS to a plain port": f"https://{login}@{address}",
        }[fault]
        arguments = (command, *filled(command, server, laion), "--url", url)
        status, _, error = in_this_process(capsys, *arguments)
        assert (status, len(error.splitlines())) == (1, 1), error
        assert FAULTS[fault] in error
        status, output, error = in_this_process(capsys, *arguments, "--json")
        assert (status, output) == (1, "")
        assert FAULTS[fault] in json.loads(error)["error"]["message"]


@pytest.mark.parametrize("command", [name for name in COMMANDS if name != "install"])
def test_a_user_without_rights_is_told_which(command: str, server: RunningServer, laion: Path) -> None:
    done = clip_udfs(command, *filled(command, server, laion), "--url", server.url("searcher"))
    assert (done.returncode, len(done.stderr.splitlines())) == (1, 1), done.stderr
    assert re.search("ACCESS_DENIED|READONLY|no table laion|UNKNOWN_TABLE", done.stderr), done.stderr


def test_a_cluster_that_does_not_exist(server: RunningServer) -> None:
    done = clip_udfs("build-index", "--cluster", "nosuch", "--url", server.url())
    assert (done.returncode, len(done.stderr.splitlines())) == (1, 1), done.stderr
    statement = "SELECT * FROM clusterAllReplicas('nosuch', system.one)"
    asked = clip_udfs("sql", "-q", statement, "--url", server.url())
    assert "system.clusters lists" in asked.stderr


def test_a_server_that_dies_in_the_middle(tmp_path: Path) -> None:
    server = start_server(ServerPlace.make(tmp_path))
    slow = "SELECT sum(sleepEachRow(1)) FROM numbers(60) SETTINGS max_block_size = 1"
    command = subprocess.Popen(
        [sys.executable, "-m", "clip_installer", "sql", "--url", server.url(), "-q", slow],
        stderr=subprocess.PIPE,
        text=True,
    )
    while not server.rows("SELECT 1 FROM system.processes WHERE query LIKE '%sleepEachRow(1)) FROM numbers(60)%'")[1:]:
        time.sleep(0.1)
    kill((*children(server.process.pid), psutil.Process(server.process.pid)))
    _, said = command.communicate(timeout=60)
    server.process.communicate()
    assert (command.returncode, len(said.splitlines())) == (1, 1), said
    assert "was lost" in said


def test_a_password_with_every_reserved_character_works_escaped_and_is_never_shown(tmp_path: Path) -> None:
    password = "s3cret/p@ss:w#r?d%&<"
    place = ServerPlace.make(tmp_path)
    users = (place.config / "users.xml").read_text()
    written = password.replace("&", "&amp;").replace("<", "&lt;")
    (place.config / "users.xml").write_text(users.replace(PASSWORDS["admin"], written))
    server = start_server(place)
    try:
        address = f"{server.host}:{server.http_port}"
        escaped = clip_udfs("sql", "-q", "SELECT 'in'", "--url", f"http://admin:{quote(password, safe='')}@{address}")
        assert (escaped.stdout, escaped.stderr) == ("in\n", "")
        for more in ((), ("--json",)):
            bare = clip_udfs("build-index", "--url", f"http://admin:{password}@{address}", *more)
            assert bare.returncode == 2
            assert "s3cret" not in bare.stderr and "w#r" not in bare.stderr
            assert "%2F" in bare.stderr
        by_environment = clip_udfs(
            *("sql", "-q", "SELECT 'in'"),
            CLICKHOUSE_URL=f"http://{address}",
            CLICKHOUSE_USER="admin",
            CLICKHOUSE_PASSWORD=password,
        )
        assert (by_environment.stdout, by_environment.stderr) == ("in\n", "")
    finally:
        assert server.stop() == 0


def test_https_carries_no_readable_password_and_is_verified(server: RunningServer) -> None:
    with tls_proxy(server.http_port) as proxy:
        url = f"https://admin:{PASSWORDS['admin']}@localhost:{proxy.port}"
        refused = clip_udfs("sql", "-q", "SELECT 1", "--url", url)
        assert refused.returncode == 1
        assert "--ca-file" in refused.stderr
        done = clip_udfs("sql", "-q", "SELECT 42", "--url", url, "--ca-file", CERTIFICATES / "authority.pem")
        assert (done.stdout, done.stderr) == ("42\n", "")
        assert len(proxy.captured) > 1000
        for readable in (PASSWORDS["admin"].encode(), b"Authorization", b"SELECT"):
            assert readable not in proxy.captured


def test_a_client_certificate_is_shown_to_a_server_that_wants_one(server: RunningServer) -> None:
    files = ("--ca-file", CERTIFICATES / "authority.pem", "--client-cert", CERTIFICATES / "client.pem")
    with tls_proxy(server.http_port, wants_client=True) as proxy:
        url = f"https://admin:{PASSWORDS['admin']}@localhost:{proxy.port}"
        assert "--client-cert" in clip_udfs("sql", "-q", "SELECT 1", "--url", url, *files[:2]).stderr
        assert clip_udfs("sql", "-q", "SELECT 42", "--url", url, *files).stdout == "42\n"


@pytest.mark.parametrize("source", ["environment", "file"])
def test_no_process_list_shows_a_password_that_is_not_on_the_command_line(
    source: str, server: RunningServer, tmp_path: Path
) -> None:
    environment = {**os.environ, "HOME": str(tmp_path)}
    if source == "environment":
        environment |= {"CLICKHOUSE_USER": "admin", "CLICKHOUSE_PASSWORD": PASSWORDS["admin"]}
    else:
        (tmp_path / ".clickhouse-client").mkdir()
        entry = f"<user>admin</user><password>{PASSWORDS['admin']}</password>"
        (tmp_path / ".clickhouse-client/config.xml").write_text(f"<config>{entry}</config>")
    command = subprocess.Popen(
        [
            *(sys.executable, "-m", "clip_installer", "sql", "--url", f"http://{server.host}:{server.http_port}"),
            *("-q", "SELECT sum(sleepEachRow(1)) + 42 FROM numbers(3)"),
        ],
        stdout=subprocess.PIPE,
        env=environment,
    )
    running = " ".join(" ".join(psutil.Process(command.pid).cmdline()) for _ in range(20) if not time.sleep(0.05))
    output, _ = command.communicate(timeout=60)
    assert (command.returncode, output) == (0, b"42\n")
    assert "sleepEachRow" in running
    assert PASSWORDS["admin"] not in running
