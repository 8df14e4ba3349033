"""What the functions do on a server, stated once for chDB, the servers of tests/server, and the Docker containers."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Protocol

import pytest

from tests.chdb.driver import QueryFailed


class Server(Protocol):
    """Something that runs SQL."""

    def rows(self, statement: str) -> list[tuple[Any, ...]]:
        """Run one statement and give its rows.

        Raises:
            QueryFailed: ClickHouse refused it.
        """
        ...


WORDS = ("cat", "dog", "red heart", "car", "tree")
PATHS_ON_CLUSTER = (
    "CREATE TABLE paths_local ON CLUSTER clip (path String) ENGINE = MergeTree ORDER BY path",
    "CREATE TABLE paths ON CLUSTER clip AS paths_local ENGINE = Distributed('clip', default, paths_local, rand())",
)
ENCODE_PATHS = """
INSERT INTO laion (id, url, caption, image_embedding, text_embedding)
SELECT cityHash64(path) % 1000000, path, path, encode_image('pictures/' || path), encode_text(path) FROM paths
"""


def value(server: Server, statement: str) -> Any:
    """Run one statement and give its only value."""
    ((only,),) = server.rows(statement)
    return only


def a_text_is_a_unit_vector(server: Server) -> None:
    assert server.rows("SELECT length(encode_text('cat')), round(arraySum(x -> x * x, encode_text('cat')), 3)") == [
        (512, 1)
    ]


def a_missing_picture_is_one_line_and_harms_nothing(server: Server) -> None:
    before = value(server, "SELECT encode_text('cat')")
    with pytest.raises(QueryFailed, match=r"encode_image: row 1: 'missing\.png': no such file"):
        server.rows("SELECT encode_image('missing.png')")
    assert server.rows("SELECT try_encode_image('missing.png')") == [([],)]
    assert value(server, "SELECT encode_text('cat')") == before


def texts_are_found_by_what_they_say(server: Server) -> None:
    server.rows(
        "INSERT INTO laion (id, url, caption, image_embedding, text_embedding) "
        "SELECT 1000000 + rowNumberInAllBlocks(), w, w, encode_text(w), encode_text(w) "
        f"FROM (SELECT arrayJoin({list(WORDS)}) AS w)"
    )
    for word in WORDS:
        assert value(server, f"SELECT url FROM search_by_text(query = '{word}', k = 1)") == word
        assert value(server, f"SELECT url FROM search_captions_by_text(query = '{word}', k = 1)") == word


def pictures_are_encoded_where_they_are(server: Server, folder: str) -> None:
    """``folder`` is the argument of file() for ``pictures/`` in user_files: chDB needs the full path."""
    server.rows(
        "INSERT INTO laion (id, url, caption, image_embedding, text_embedding) "
        "SELECT cityHash64(_file) % 1000000, 'pictures/' || _file, _file, encode_image('pictures/' || _file), "
        "encode_text(_file) "
        f"FROM file('{folder}/*.png', One)"
    )
    stored = server.rows("SELECT url, image_embedding FROM laion WHERE startsWith(url, 'pictures/') ORDER BY url")
    assert len(stored) >= 3
    for url, _ in stored:
        ((nearest, distance),) = server.rows(f"SELECT url, distance FROM search_by_image(path = '{url}', k = 1)")
        assert (nearest, round(abs(distance), 4)) == (url, 0)
    as_bytes = server.rows(
        "SELECT 'pictures/' || _file AS url, encode_image_bytes(raw_blob) "
        f"FROM file('{folder}/*.png', RawBLOB, 'raw_blob String') ORDER BY url"
    )
    for (url, wanted), (same_url, vector) in zip(stored, as_bytes, strict=True):
        assert url == same_url
        assert vector == pytest.approx(wanted, abs=1e-5)


def a_killed_worker_fails_at_most_one_query(server: Server, kill_workers: Callable[[], None]) -> None:
    wanted = server.rows("SELECT encode_text('cat')")
    kill_workers()
    answers = []
    for _ in range(3):
        try:
            answers.append(server.rows("SELECT encode_text('cat')"))
        except QueryFailed:
            continue
    assert len(answers) >= 2
    assert all(answer == wanted for answer in answers)


def an_upgrade_replaces_the_workers_and_an_uninstall_ends_them(
    server: Server, install: Callable[..., None], uninstall: Callable[[], None]
) -> None:
    """Changed settings make a new revision, whose workers answer the next query. Rows always stay."""
    question = "SELECT count(), encode_text('cat') FROM laion"
    squares = "SELECT round(arraySum(x -> x * x, encode_text('cat')), 3)"
    before = server.rows(question)
    assert value(server, squares) == 1
    install("--raw")
    assert value(server, squares) != 1
    uninstall()
    with pytest.raises(QueryFailed, match="encode_text"):
        server.rows(squares)
    install()
    assert server.rows(question) == before


def rows_and_functions_survive_a_restart(server: Server, restart: Callable[[], Server]) -> None:
    question = "SELECT count(), encode_text('cat') FROM laion"
    before = server.rows(question)
    assert restart().rows(question) == before


def a_restricted_user_may_encode_and_search_and_no_more(admin: Server, analyst: Server) -> None:
    """``analyst`` has a grant to read the table and nothing else."""
    wanted = value(admin, "SELECT encode_text('cat')")
    assert value(analyst, "SELECT encode_text('cat')") == wanted
    nearest = "SELECT url FROM laion ORDER BY cosineDistance(image_embedding, encode_text('cat')) LIMIT 3"
    assert analyst.rows(nearest) == admin.rows(nearest)
    for forbidden in ("SYSTEM RELOAD FUNCTIONS", "DROP TABLE laion", "INSERT INTO laion (id) VALUES (1)"):
        with pytest.raises(QueryFailed, match="Not enough privileges"):
            analyst.rows(forbidden)
    with pytest.raises(QueryFailed, match=r"may read|no such file"):
        analyst.rows("SELECT encode_image('/etc/passwd')")


def a_distributed_search_is_exact(server: Server) -> None:
    """The views on a Distributed table find the same rows as a comparison with all rows of all shards."""
    for word in WORDS:
        found = server.rows(f"SELECT url, round(distance, 4) FROM search_by_text(query = '{word}', k = 3)")
        exact = server.rows(
            f"WITH encode_text('{word}') AS q SELECT url, round(cosineDistance(image_embedding, q), 4) AS d FROM laion"
            " ORDER BY d LIMIT 3 SETTINGS use_skip_indexes = 0"
        )
        assert [distance for _, distance in found] == [distance for _, distance in exact]
        assert found[0] == exact[0]
