"""Building the indexes of a cluster: every shard is asked, waited for and changed, not only the connected one."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import pytest

from clip_installer.clickhouse.database import Database
from clip_installer.errors import ConflictError, SqlError
from clip_installer.tables.schema import SchemaParameters
from clip_installer.tables.vector_index import build_indexes

CLUSTER = SchemaParameters(cluster="big one", dimension=8)


class Shards(Database):
    """Answers as a cluster whose second shard takes two looks longer to build."""

    def __init__(self, definition: str = "", failure: str = "") -> None:
        self.indexes = [("image_index", definition, 1)] if definition else []
        self.failure = failure
        self.looks = 0
        self.asked: list[str] = []
        self.done: list[str] = []

    def rows(self, statement: str, *_: object) -> list[Sequence[Any]]:
        self.asked.append(statement)
        rows: list[tuple[Any, ...]] = [(0,)]
        if "data_skipping_indices" in statement:
            rows = self.indexes
        elif "system.mutations" in statement:
            self.looks += 1
            rows = [("0000000001", 1, self.failure)] if self.looks <= 2 else []
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
    assert all("clusterAllReplicas('big one', system." in statement for statement in shards.asked)
    assert all(" ON CLUSTER `big one`" in statement for statement in shards.done)


def test_other_indexes_are_dropped_on_every_shard() -> None:
    shards = Shards("vector_similarity('hnsw', 'cosineDistance', 8, 'i8', 4, 16)")
    with pytest.raises(ConflictError, match="--rebuild"):
        build(shards)
    assert build(shards, rebuild=True)
    assert shards.done[0] == "ALTER TABLE laion_local ON CLUSTER `big one` DROP INDEX IF EXISTS image_index"


def test_a_failure_on_one_shard_is_told_and_killed_on_all() -> None:
    shards = Shards(failure="Code: 1. No memory")
    with pytest.raises(SqlError, match="laion_local cannot be built: Code: 1"):
        build(shards)
    assert shards.done[-1].startswith("KILL MUTATION ON CLUSTER `big one` WHERE ")
