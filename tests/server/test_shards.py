"""Two servers as two shards: one Distributed table, whose search is that of one server with all rows."""

from __future__ import annotations

import io
import socket
from collections.abc import Iterator
from contextlib import contextmanager

import pytest
from PIL import Image

from tests.chdb.driver import QueryFailed
from tests.server.running import PASSWORDS, RunningServer, ServerPlace, start_server

WORDS = [f"word {number}" for number in range(40)]
CLUSTER = "<remote_servers><pair>{shards}</pair></remote_servers>"
SHARD = (
    "<shard><replica><host>127.0.0.1</host><port>{port}</port><user>admin</user>"
    "<password>{password}</password></replica></shard>"
)
FILL = (
    "INSERT INTO {table} (id, url, caption, image_embedding, text_embedding) "
    "SELECT cityHash64(w), w, w, encode_text(w), encode_text(w) FROM (SELECT arrayJoin({words}) AS w)"
    " SETTINGS distributed_foreground_insert = 1"
)
NEAREST = (
    "WITH {vector} AS q SELECT url, round(cosineDistance(image_embedding, q), 5) AS distance FROM {table}"
    " ORDER BY distance, url LIMIT 5"
)
BY_TEXT = "encode_text('word 7')"


@contextmanager
def kept_port() -> Iterator[int]:
    """A port that the system gives to nobody else meanwhile, and that a server may listen on."""
    with socket.socket() as bound:
        bound.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        bound.bind(("127.0.0.1", 0))
        yield bound.getsockname()[1]


@pytest.fixture(scope="module")
def shards(tmp_path_factory: pytest.TempPathFactory) -> Iterator[list[RunningServer]]:
    """Two servers that know each other, with functions and schema on both, and all rows on the first in ``whole``."""
    running: list[RunningServer] = []
    with kept_port() as first, kept_port() as second:
        both = "".join(SHARD.format(port=port, password=PASSWORDS["admin"]) for port in (first, second))
        try:
            for port in (first, second):
                place = ServerPlace.make(tmp_path_factory.mktemp("shard"), CLUSTER.format(shards=both))
                running.append(start_server(place, "--tcp-port", str(port)))
                running[-1].install()
                running[-1].rows("CREATE TABLE everywhere AS laion ENGINE = Distributed('pair', default, laion, id)")
            running[0].rows("CREATE TABLE whole AS laion")
            for table in ("whole", "everywhere"):
                running[0].rows(FILL.format(table=table, words=WORDS))
            yield running
        finally:
            for server in running:
                server.stop()


def by_picture() -> str:
    """The vector of a picture, as an expression."""
    content = io.BytesIO()
    Image.linear_gradient("L").save(content, "PNG")
    return f"encode_image_bytes(unhex('{content.getvalue().hex()}'))"


@pytest.mark.parametrize("vector", [BY_TEXT, by_picture()], ids=["text", "picture"])
def test_a_search_through_either_shard_is_that_of_one_server(shards: list[RunningServer], vector: str) -> None:
    """All rows are on the first server, in ``whole``."""
    counts = [server.rows("SELECT count() FROM laion")[0][0] for server in shards]
    assert min(counts) > 0
    assert sum(counts) == len(WORDS)
    wanted = shards[0].rows(NEAREST.format(table="whole", vector=vector))
    assert vector != BY_TEXT or wanted[0][0] == "word 7"
    found = [server.rows(NEAREST.format(table="everywhere", vector=vector)) for server in shards]
    assert found == [wanted] * 2


def test_the_text_is_encoded_once_on_the_host_that_was_asked(shards: list[RunningServer]) -> None:
    """The other shard is sent the vector: it needs no worker for the search."""

    def encoded(server: RunningServer) -> int:
        ((found,),) = server.rows(
            "SELECT sum(value) FROM system.events WHERE event = 'ExecutableUserDefinedFunctionInvocations'"
        )
        return int(found)

    before = [encoded(server) for server in shards]
    shards[0].rows(NEAREST.format(table="everywhere", vector=BY_TEXT))
    assert [encoded(server) - was for server, was in zip(shards, before, strict=True)] == [1, 0]


def test_a_shard_that_is_down_is_an_error_or_is_skipped(shards: list[RunningServer]) -> None:
    """The last test of the module: it stops the second server."""
    shards[1].stop()
    with pytest.raises(QueryFailed, match=r"Connection refused|ALL_CONNECTION_TRIES_FAILED"):
        shards[0].rows(NEAREST.format(table="everywhere", vector=BY_TEXT))
    left = shards[0].http().rows(NEAREST.format(table="everywhere", vector=BY_TEXT), skip_unavailable_shards=1)
    assert left == shards[0].rows(NEAREST.format(table="laion", vector=BY_TEXT))
