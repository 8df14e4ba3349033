"""Two shards with Keeper: the schema ON CLUSTER, encoding on every shard, search over all of them."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import pytest

from tests import behaviours
from tests.docker.conftest import URL, Node

pytestmark = pytest.mark.docker


@pytest.fixture(scope="module")
def nodes(start: Callable[..., Any]) -> Iterator[tuple[Node, Node]]:
    """Both shards, with the schema that was made from the first."""
    with start("compose.cluster.yaml") as node:
        first, second = node("clickhouse-1"), node("clickhouse-2")
        first.install("--cluster", "clip")
        yield first, second


def test_every_shard_has_the_schema_and_the_functions(nodes: tuple[Node, Node]) -> None:
    for node in nodes:
        engines = dict(node.rows("SELECT name, engine FROM system.tables WHERE database = 'default'"))
        assert (engines["laion"], engines["laion_local"]) == ("Distributed", "ReplicatedMergeTree")
        assert engines["search_by_text"] == "View"
        behaviours.a_text_is_a_unit_vector(node)
    first, _ = nodes
    assert first.rows("SELECT shard_num FROM system.clusters WHERE cluster = 'clip' ORDER BY 1") == [(1,), (2,)]
    first.install("--cluster", "clip")


def test_every_shard_encodes_its_own_pictures(nodes: tuple[Node, Node]) -> None:
    first, second = nodes
    for statement in behaviours.PATHS_ON_CLUSTER:
        first.rows(statement)
    for shard, node in enumerate(nodes):
        node.rows(
            "INSERT INTO paths_local SELECT _file FROM file('pictures/*.png', One)"
            f" WHERE cityHash64(_file) % 2 = {shard}"
        )
    first.rows(f"{behaviours.ENCODE_PATHS} SETTINGS parallel_distributed_insert_select = 2")
    for node in (first, second):
        assert node.rows("SELECT url FROM laion_local ORDER BY url") == node.rows(
            "SELECT path FROM paths_local ORDER BY path"
        )
        assert node.workers("encode_image") >= 1
    ((url, distance),) = second.rows(
        "SELECT url, distance FROM search_by_image(path = 'pictures/rgb-96x72.png', k = 1)"
    )
    assert (url, round(abs(distance), 4)) == ("rgb-96x72.png", 0)


def test_a_search_sees_every_shard_from_any_shard(nodes: tuple[Node, Node]) -> None:
    first, second = nodes
    first.rows(
        "INSERT INTO laion (id, url, caption, image_embedding, text_embedding) "
        "SELECT 1000000 + rowNumberInAllBlocks(), w, w, encode_text(w), encode_text(w) "
        f"FROM (SELECT arrayJoin({list(behaviours.WORDS)}) AS w) SETTINGS distributed_foreground_insert = 1"
    )
    assert all(node.rows("SELECT count() > 0 FROM laion_local") == [(1,)] for node in nodes)
    first.run("clip-udfs", "build-index", "--cluster", "clip", "--url", URL)
    for node in nodes:
        behaviours.a_distributed_search_is_exact(node)
        indexes = node.rows(
            "SELECT name, data_compressed_bytes > 0 FROM system.data_skipping_indices"
            " WHERE table = 'laion_local' ORDER BY 1"
        )
        assert indexes == [("image_index", 1), ("text_index", 1)]
    assert first.rows("SELECT count() FROM laion") == second.rows("SELECT count() FROM laion")


def test_a_killed_worker_of_one_shard_harms_no_other(nodes: tuple[Node, Node]) -> None:
    first, second = nodes
    behaviours.a_killed_worker_fails_at_most_one_query(first, first.kill_workers)
    behaviours.a_text_is_a_unit_vector(second)
