"""What the functions and views do on a real server, through both protocols, for administrators and restricted users."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Callable

import psutil
import pytest

from tests import behaviours
from tests.chdb.driver import QueryFailed
from tests.processes import command_line, kill
from tests.server.running import PASSWORDS, Client, RunningServer, ServerPlace
from tests.server.soak import soak

Connect = Callable[[str], Client]
# Programs that ask a statement: arguments are host, port, password and statement.
GOES_AWAY = {
    "native": "import sys, clickhouse_driver as d; host, port, password, statement = sys.argv[1:];"
    "d.Client(host=host, port=int(port), user='admin', password=password).execute(statement)",
    "http": "import sys, clickhouse_connect as c; host, port, password, statement = sys.argv[1:];"
    "c.get_client(host=host, port=int(port), username='admin', password=password)"
    ".query(statement, settings={'readonly': 2, 'cancel_http_readonly_queries_on_client_close': 1})",
}


def kill_workers(place: ServerPlace) -> None:
    """Kill every worker as the kernel does when memory runs out."""
    kill(process for process in place.processes() if "clip_udfs" in command_line(process))


def test_vectors_and_refusals(connect: Connect) -> None:
    behaviours.a_text_is_a_unit_vector(connect("admin"))
    behaviours.a_missing_picture_is_one_line_and_harms_nothing(connect("admin"))


def test_both_protocols_give_the_same_vector(server: RunningServer) -> None:
    question = "SELECT encode_text('cat')"
    assert server.http().value(question) == pytest.approx(server.native().value(question), abs=1e-7)


def test_searching(server: RunningServer) -> None:
    behaviours.texts_are_found_by_what_they_say(server.http())


def test_a_killed_worker(connect: Connect, place: ServerPlace) -> None:
    behaviours.a_killed_worker_fails_at_most_one_query(connect("admin"), lambda: kill_workers(place))


@pytest.mark.parametrize("user", ["readonly", "dashboard"])
def test_an_analyst_reads_encodes_and_changes_nothing(server: RunningServer, user: str) -> None:
    for client in (server.http(user), server.native(user)):
        assert client.value("SELECT length(encode_text('cat'))") == 512
        assert isinstance(client.rows("SELECT url FROM search_by_text(query = 'cat', k = 3)"), list)
        for forbidden in ("DROP TABLE laion", "TRUNCATE TABLE laion", "SYSTEM RELOAD FUNCTIONS"):
            with pytest.raises(QueryFailed, match=r"readonly|Not enough privileges"):
                client.rows(forbidden)


def test_a_user_with_no_grant_on_the_table_reads_nothing_of_it(server: RunningServer) -> None:
    client = server.http("searcher")
    assert client.value("SELECT length(encode_text('cat'))") == 512
    with pytest.raises(QueryFailed, match="Not enough privileges"):
        client.rows("SELECT url FROM laion")


def test_a_user_with_a_grant_on_a_view_only_searches_where_the_view_has_a_definer(server: RunningServer) -> None:
    """As docs/dba.md says; the table stays closed."""
    search = "SELECT count() <= 3 FROM search_by_text(query = 'cat', k = 3)"
    with pytest.raises(QueryFailed, match="Not enough privileges"):
        server.http("searcher").rows(search)
    server.rows("ALTER TABLE search_by_text MODIFY SQL SECURITY DEFINER DEFINER = admin")
    try:
        for client in (server.http("searcher"), server.native("searcher")):
            assert client.rows(search) == [(1,)]
            with pytest.raises(QueryFailed, match="Not enough privileges"):
                client.rows("SELECT url FROM laion")
    finally:
        server.rows("ALTER TABLE search_by_text MODIFY SQL SECURITY INVOKER")


def test_a_statement_that_is_killed_or_out_of_time_ends_and_harms_nothing(server: RunningServer) -> None:
    long = "SELECT count(encode_text(toString(number))) FROM numbers(3000000) SETTINGS max_block_size = 500"
    with pytest.raises(QueryFailed, match="Timeout exceeded"):
        server.native().rows(long, max_execution_time=1)
    behaviours.a_text_is_a_unit_vector(server.http())


@pytest.mark.parametrize("protocol", ["http", "native"])
def test_a_client_that_goes_away_takes_its_statement_with_it(server: RunningServer, protocol: str) -> None:
    """Over HTTP where `cancel_http_readonly_queries_on_client_close` is set; what is asked next is right."""
    running = (
        "SELECT count() FROM system.processes WHERE query LIKE '%numbers(3000001)%' AND query NOT LIKE '%processes%'"
    )
    long = "SELECT count(encode_text(toString(number))) FROM numbers(3000001) SETTINGS max_block_size = 200"
    client = subprocess.Popen(
        [sys.executable, "-c", GOES_AWAY[protocol], server.host, str(server.ports[protocol]), PASSWORDS["admin"], long],
        stderr=subprocess.DEVNULL,
    )
    while server.rows(running) != [(1,)]:
        assert client.poll() is None
    client.kill()
    client.wait()
    while server.rows(running) != [(0,)]:
        pass
    behaviours.a_text_is_a_unit_vector(server.http())


def test_a_statement_beyond_the_memory_limit_fails_alone(server: RunningServer) -> None:
    with pytest.raises(QueryFailed, match="emory limit"):
        server.http().rows(
            "SELECT groupArray(encode_text(toString(number))) FROM numbers(20000)", max_memory_usage=30_000_000
        )
    behaviours.a_text_is_a_unit_vector(server.http())


def test_verify_reads_an_image_by_its_path(server: RunningServer, place: ServerPlace) -> None:
    """As an analyst's query does; the file that it puts there is gone afterwards."""
    before = sorted(place.pictures.parent.rglob("*"))
    said = server.install("--verify", "--deep")
    assert "returns the model's own vector for an image read by its path below" in said
    assert sorted(place.pictures.parent.rglob("*")) == before


def test_functions_stay_out_of_keys_and_indexes(server: RunningServer) -> None:
    """ClickHouse refuses non-deterministic functions where they would keep the server from starting."""
    for place_of_it in (
        "(s String, INDEX i encode_text(s) TYPE minmax) ENGINE = MergeTree ORDER BY tuple()",
        "(s String) ENGINE = MergeTree ORDER BY encode_text(s)",
        "(s String) ENGINE = MergeTree PARTITION BY length(encode_text(s)) ORDER BY tuple()",
    ):
        with pytest.raises(QueryFailed, match="eterministic"):
            server.rows(f"CREATE TABLE refused {place_of_it}")


def test_no_worker_outlives_a_reload(server: RunningServer, place: ServerPlace) -> None:
    before = {process.pid for process in place.processes()}
    server.rows("SYSTEM RELOAD FUNCTIONS")
    behaviours.a_text_is_a_unit_vector(server.http())
    _, alive = psutil.wait_procs([psutil.Process(pid) for pid in before if psutil.pid_exists(pid)], timeout=0)
    assert {process.pid for process in place.processes()} - before or not alive


def test_the_soak_in_short(server: RunningServer) -> None:
    """Four clients over both protocols, bad rows among the good ones."""
    first, second, *_ = soak(server, statements=40, clients=4, seed=3)
    assert first.startswith("40 statements of 4 clients")
    assert second.endswith("0 wrong, 0 hangs")
