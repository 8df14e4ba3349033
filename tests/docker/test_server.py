"""The functions on a real server: native protocol and HTTP, restart, a killed worker, a restricted user, removal."""

from __future__ import annotations

from typing import Any

import pytest
from clickhouse_connect.driver.exceptions import DatabaseError

from tests.docker.conftest import Container

pytestmark = pytest.mark.docker


def test_a_text_is_encoded_over_both_protocols(container: Container, server: Any) -> None:
    query = "SELECT length(encode_text('cat')), round(arraySum(x -> x * x, encode_text('cat')), 3)"
    assert container.sql(query) == "512\t1"
    assert server.query(query).result_rows == [(512, 1.0)]


def test_a_missing_picture_is_one_line_in_the_client(server: Any) -> None:
    with pytest.raises(DatabaseError, match=r"encode_image: row 1: 'missing\.png': no such file"):
        server.query("SELECT encode_image('missing.png')")
    assert server.query("SELECT try_encode_image('missing.png')").result_rows == [([],)]


def test_the_views_search_what_was_inserted(container: Container, server: Any) -> None:
    words = "['cat', 'dog', 'red heart', 'car', 'tree']"
    server.command(
        "INSERT INTO laion (id, url, caption, image_embedding, text_embedding) "
        f"SELECT rowNumberInAllBlocks(), w, w, encode_text(w), encode_text(w) FROM (SELECT arrayJoin({words}) AS w)"
    )
    assert container.sql("SELECT url FROM search_by_text(query = 'red heart', k = 1)") == "red heart"


def test_verify_finds_nothing_wrong_and_a_second_install_changes_nothing(container: Container) -> None:
    url = "http://clip:clip@127.0.0.1:8123"
    assert '"changed": false' in container.run(f"install-udfs --user clickhouse --url {url} --json")
    container.run(f"install-udfs --verify --url {url}")


def test_a_restricted_user_may_call_the_functions(container: Container) -> None:
    container.sql("CREATE USER analyst IDENTIFIED BY 'a'; GRANT SELECT ON laion TO analyst")
    answer = container.run("clickhouse-client --user analyst --password a --query \"SELECT length(encode_text('x'))\"")
    assert answer.strip() == "512"


def test_a_killed_worker_fails_at_most_one_query(container: Container, server: Any) -> None:
    wanted = server.query("SELECT encode_text('cat')").result_rows
    container.run("sh -c 'pkill -9 -f clip_udfs || true'")
    answers = []
    for _ in range(3):
        try:
            answers.append(server.query("SELECT encode_text('cat')").result_rows)
        except DatabaseError:
            continue
    assert len(answers) >= 2
    assert all(answer == wanted for answer in answers)


def test_uninstall_takes_the_functions_away(container: Container, server: Any) -> None:
    url = "http://clip:clip@127.0.0.1:8123"
    container.run(f"install-udfs --uninstall --url {url}")
    with pytest.raises(DatabaseError, match="encode_text"):
        server.query("SELECT encode_text('cat')")
    container.run(f"install-udfs --user clickhouse --url {url}")
    assert container.sql("SELECT length(encode_text('cat'))") == "512"
