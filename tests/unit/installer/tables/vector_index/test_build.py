"""Building the indexes of a cluster: every shard is asked, waited for and changed, not only the connected one."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import pytest

from clip_installer.clickhouse.database import Database
from clip_installer.errors import ConflictError, SqlError, TableUnfit
from clip_installer.tables.schema import SchemaParameters
from clip_installer.tables.vector_index.build import build_indexes
from clip_installer.tables.vector_index.mutations import cancel

CLUSTER = SchemaParameters(cluster="big one", dimension=8)


class Shards(Database):
    """Behaves like a cluster whose second shard takes two more polls to build."""

    def __init__(self, definition: str = "", failure: str = "", zeros: tuple[int, ...] = ()) -> None:
        self.running = 0
        self.free = 1 << 40
        self.indexes = [("image_index", definition, 1)] if definition else []
        self.failure = failure
        self.zeros = zeros
        self.looks = 0
        self.asked: list[str] = []
        self.done: list[str] = []

    def rows(self, statement: str, *_: object) -> list[Sequence[Any]]:
        self.asked.append(statement)
        rows: list[tuple[Any, ...]] = [(0,)]
        if "data_skipping_indices" in statement:
            rows = self.indexes
        elif statement.startswith("SELECT count()"):
            rows = [(self.running,)]
        elif "GROUP BY 1" in statement:
            rows = [("shard 2", self.free if "disks" in statement else 1000)]
        elif "SELECT mutation_id" in statement:
            self.looks += 1
            rows = [("0000000001", self.failure)] if self.looks <= 2 else []
        elif statement.startswith("SELECT id"):
            rows = [(zero,) for zero in self.zeros]
        return list(rows)

    def command(self, statement: str, **_: object) -> None:
        self.done.append(statement)
        if "DROP INDEX" in statement:
            self.indexes = []


def build(shards: Shards, *, rebuild: bool = False) -> bool:
    changed, _ = build_indexes(shards, CLUSTER, rebuild, lambda *_: None, lambda _: None)
    return changed


def test_the_slowest_shard_is_waited_for() -> None:
    shards = Shards()
    assert build(shards)
    assert shards.looks == 3
    asked = [statement for statement in shards.asked if "system." in statement]
    assert all("clusterAllReplicas('big one', system." in statement for statement in asked)
    assert all(" ON CLUSTER `big one`" in statement for statement in shards.done)


def test_other_indexes_are_dropped_on_every_shard() -> None:
    shards = Shards("vector_similarity('hnsw', 'cosineDistance', 8, 'i8', 4, 16)")
    with pytest.raises(ConflictError, match="--rebuild"):
        build(shards)
    assert build(shards, rebuild=True)
    assert shards.done[0] == "ALTER TABLE laion_local ON CLUSTER `big one` DROP INDEX IF EXISTS image_index"


def test_a_failure_on_one_shard_is_reported_and_killed_on_all() -> None:
    shards = Shards(failure="Code: 1. No memory")
    with pytest.raises(SqlError, match="laion_local cannot be built: Code: 1"):
        build(shards)
    killed = [done.startswith("KILL MUTATION ON CLUSTER `big one` WHERE ") for done in shards.done].index(True)
    assert all("DROP INDEX" in done for done in shards.done[killed + 1 :])


def test_a_failure_puts_the_replaced_definition_back() -> None:
    old = "vector_similarity('hnsw', 'cosineDistance', 8, 'i8', 4, 16)"
    shards = Shards(old, failure="Code: 1. No memory")
    with pytest.raises(SqlError, match="the definitions from before are back"):
        build(shards, rebuild=True)
    assert shards.done[-1] == (
        f"ALTER TABLE laion_local ON CLUSTER `big one` ADD INDEX image_index image_embedding TYPE {old}"
    )


def test_a_vector_of_zeros_is_named_before_anything_is_dropped() -> None:
    shards = Shards("vector_similarity('hnsw', 'cosineDistance', 8, 'i8', 4, 16)", zeros=(17,))
    with pytest.raises(TableUnfit, match="such as id 17"):
        build(shards, rebuild=True)
    assert not shards.done


def test_a_running_build_is_waited_for_and_not_restarted() -> None:
    shards = Shards()
    shards.running = 2
    assert build(shards)
    assert (shards.looks, shards.done) == (3, [])


def test_no_wait_starts_the_build_and_returns() -> None:
    shards = Shards()
    build_indexes(shards, CLUSTER, False, lambda *_: None, wait=False)
    assert shards.looks == 0
    assert any("MATERIALIZE INDEX" in done for done in shards.done)


def test_an_interrupt_leaves_the_build_to_the_server() -> None:
    shards = Shards("vector_similarity('hnsw', 'cosineDistance', 8, 'i8', 4, 16)")

    def interrupt(_: float) -> None:
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        build_indexes(shards, CLUSTER, True, lambda *_: None, interrupt)
    assert "MATERIALIZE INDEX" in shards.done[-1]


def test_a_disk_without_room_is_named_before_anything_is_done() -> None:
    shards = Shards()
    shards.free = 1000
    with pytest.raises(TableUnfit, match=r"need about .* GiB on shard 2, whose disk has .* free"):
        build(shards)
    assert shards.done == []


@pytest.mark.parametrize("running", [0, 2])
def test_a_cancelled_build_is_killed_on_all_shards_and_only_if_there_is_one(running: int) -> None:
    shards = Shards()
    shards.running = running
    assert cancel(shards, CLUSTER) == running
    assert [done.startswith("KILL MUTATION ON CLUSTER `big one` WHERE ") for done in shards.done] == [True][:running]
