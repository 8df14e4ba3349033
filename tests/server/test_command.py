"""``clip-udfs server``: what it prints, what it refuses, how it ends."""

from __future__ import annotations

import signal
import subprocess
import sys
from pathlib import Path

import pytest

from tests.chdb.driver import QueryFailed
from tests.server.running import PASSWORDS, RunningServer, ServerPlace, start_server


def refused(place: ServerPlace, *options: object) -> str:
    done = subprocess.run(
        [sys.executable, "-m", "clip_installer", "server", "--server-config", place.config, *map(str, options)],
        capture_output=True,
        text=True,
        check=False,
        timeout=120,
    )
    assert (done.returncode, done.stdout, len(done.stderr.splitlines())) == (1, "", 1), done.stderr
    return done.stderr


def test_it_tells_its_addresses_and_how_to_go_on(bare_server: RunningServer) -> None:
    said = bare_server.introduction
    assert "for evaluation" in said
    assert f"http://127.0.0.1:{bare_server.http_port}" in said
    assert f"127.0.0.1:{bare_server.tcp_port}" in said


def test_two_protocols_answer_and_no_stranger_gets_in(bare_server: RunningServer) -> None:
    assert bare_server.http().value("SELECT currentUser()") == "admin"
    assert bare_server.native().value("SELECT currentUser()") == "admin"
    import clickhouse_connect
    from clickhouse_connect.driver.exceptions import DatabaseError

    for user, password in (("default", ""), ("admin", ""), ("admin", "wrong")):
        with pytest.raises(DatabaseError):
            clickhouse_connect.get_client(
                host=bare_server.host, port=bare_server.http_port, username=user, password=password
            )


def test_a_port_or_a_data_directory_in_use_is_one_line(bare_server: RunningServer, tmp_path: Path) -> None:
    other = ServerPlace.make(tmp_path)
    busy = refused(other, "--http-port", bare_server.http_port, "--tcp-port", 0)
    assert f"port {bare_server.http_port}" in busy and "--http-port" in busy
    assert "--tcp-port" in refused(other, "--http-port", 0, "--tcp-port", bare_server.tcp_port)
    assert str(bare_server.place.data) in refused(bare_server.place, "--http-port", 0, "--tcp-port", 0)


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_signal_ends_it_cleanly_whatever_runs(tmp_path: Path, number: int) -> None:
    """A query of a minute is cancelled; nothing of the server is left, and it can start again."""
    place = ServerPlace.make(tmp_path)
    server = start_server(place)
    with subprocess.Popen(
        [
            *(sys.executable, "-c"),
            "import sys, clickhouse_driver;"
            "clickhouse_driver.Client(host=sys.argv[1], port=int(sys.argv[2]), user='admin', password=sys.argv[3])"
            ".execute('SELECT sum(sleepEachRow(1)) FROM numbers(60) SETTINGS max_block_size = 1,"
            " function_sleep_max_microseconds_per_block = 0')",
            *(server.host, str(server.tcp_port), PASSWORDS["admin"]),
        ],
        stderr=subprocess.DEVNULL,
    ) as client:
        while server.rows("SELECT count() FROM system.processes WHERE query LIKE '%sum(sleep%'")[0][0] < 2:
            pass
        assert server.stop(number) == 0
        assert client.wait(30) != 0
    again = start_server(place)
    assert again.rows("SELECT 1") == [(1,)]
    assert again.stop() == 0


def test_it_is_not_opened_to_the_network_without_passwords(tmp_path: Path) -> None:
    place = ServerPlace.make(tmp_path)
    users = place.config / "users.xml"
    users.write_text(users.read_text().replace(PASSWORDS["readonly"], ""))
    said = refused(place, "--host", "0.0.0.0", "--http-port", 0, "--tcp-port", 0)
    assert "readonly" in said and "password" in said


def test_users_with_passwords_may_come_from_the_network(tmp_path: Path) -> None:
    place = ServerPlace.make(tmp_path)
    server = start_server(place, "--host", "0.0.0.0")
    assert server.rows("SELECT 1") == [(1,)]
    assert server.stop() == 0


def test_a_broken_configuration_is_clickhouses_own_words(tmp_path: Path) -> None:
    place = ServerPlace.make(tmp_path)
    users = place.config / "users.xml"
    users.write_text(users.read_text().replace("<profile>dashboard</profile>", "<profile>nothing</profile>"))
    assert "nothing" in refused(place, "--http-port", 0, "--tcp-port", 0)


def test_a_query_fails_over_both_protocols_with_its_reason(bare_server: RunningServer) -> None:
    for client in (bare_server.http(), bare_server.native()):
        with pytest.raises(QueryFailed, match="nonexistent"):
            client.rows("SELECT * FROM nonexistent")
