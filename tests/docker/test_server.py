"""One server as the compose file starts it: both protocols, both users, upgrade, removal, killed workers, restart."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from typing import Any

import pytest

from tests import behaviours
from tests.docker.conftest import URL, Node

pytestmark = pytest.mark.docker


@pytest.fixture(scope="module")
def server(start: Callable[..., Any]) -> Iterator[Node]:
    with start("compose.yaml") as node:
        yield node("clickhouse")


def test_the_server_and_its_workers_run_as_clickhouse(server: Node) -> None:
    behaviours.a_text_is_a_unit_vector(server)
    assert server.workers("encode_text") >= 1
    assert {user for user, _ in server.processes()} == {101}


def test_encoding_over_both_protocols(server: Node) -> None:
    for protocol in (server, server.http()):
        behaviours.a_text_is_a_unit_vector(protocol)
        behaviours.a_missing_picture_is_one_line_and_harms_nothing(protocol)
    question = "SELECT encode_text('cat')"
    assert behaviours.value(server, question) == pytest.approx(behaviours.value(server.http(), question), abs=1e-6)


def test_searching(server: Node) -> None:
    behaviours.texts_are_found_by_what_they_say(server)
    behaviours.pictures_are_encoded_where_they_are(server.http(), "pictures")


def test_verify_finds_nothing_wrong_and_a_second_install_changes_nothing(server: Node) -> None:
    assert json.loads(server.run("install-clip", "--url", URL, "--json"))["changed"] is False
    server.run("install-udfs", "--verify", "--url", URL)


def test_a_restricted_user(server: Node) -> None:
    server.rows("CREATE USER OR REPLACE analyst IDENTIFIED BY 'a'")
    server.rows("GRANT SELECT ON default.laion TO analyst")
    analyst = server.as_user("analyst", "a")
    behaviours.a_restricted_user_may_encode_and_search_and_no_more(server, analyst)
    behaviours.a_restricted_user_may_encode_and_search_and_no_more(server, analyst.http())


def test_a_killed_worker(server: Node) -> None:
    behaviours.a_killed_worker_fails_at_most_one_query(server, server.kill_workers)


def test_upgrade_and_uninstall_on_the_running_server(server: Node) -> None:
    behaviours.an_upgrade_replaces_the_workers_and_an_uninstall_ends_them(server, server.install, server.uninstall)


def test_a_restart(server: Node) -> None:
    behaviours.rows_and_functions_survive_a_restart(server, server.restart)
