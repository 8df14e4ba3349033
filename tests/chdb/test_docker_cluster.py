"""The cluster's configuration as the containers get it, read by chDB and by the installer."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

import pytest

from clip_installer.clickhouse.sql import literal
from clip_installer.server.config import ServerConfig
from clip_installer.tables.schema import SchemaParameters, index_statements, statements
from tests import behaviours
from tests.chdb.conftest import ServerTree, make_tree
from tests.chdb.driver import Engine, QueryFailed

REPOSITORY = Path(__file__).parents[2]
ENVIRONMENT = {"CLIP_CLUSTER_SECRET": "s", "CLIP_SHARD": "2", "HOSTNAME": "clickhouse-2"}

pytestmark = pytest.mark.dockerless


@pytest.fixture(scope="module")
def shard(tmp_path_factory: pytest.TempPathFactory) -> ServerTree:
    """The tree of the second shard."""
    tree = make_tree(tmp_path_factory.mktemp("shard"))
    drop_ins = tree.config / "config.d"
    drop_ins.mkdir()
    (drop_ins / "cluster.xml").write_bytes((REPOSITORY / "docker/cluster/server.xml").read_bytes())
    (drop_ins / "clip-udfs.xml").write_bytes((REPOSITORY / "docker/clip-udfs.xml").read_bytes())
    return tree


@pytest.fixture(scope="module")
def engine(shard: ServerTree) -> Iterator[Engine]:
    running = shard.engine(env={**os.environ, **ENVIRONMENT})
    yield running
    assert running.close() == 0


def test_two_shards_and_the_macros_of_this_one(engine: Engine) -> None:
    assert engine.rows("SELECT cluster, shard_num, replica_num, host_name, port FROM system.clusters") == [
        ("clip", 1, 1, "clickhouse-1", 9000),
        ("clip", 2, 1, "clickhouse-2", 9000),
    ]
    assert dict(engine.rows("SELECT macro, substitution FROM system.macros")) == {
        "shard": "2",
        "replica": "clickhouse-2",
    }


def test_the_installer_reads_it_too(shard: ServerTree, monkeypatch: pytest.MonkeyPatch) -> None:
    for name, value in ENVIRONMENT.items():
        monkeypatch.setenv(name, value)
    assert ServerConfig.read(shard.config).user_scripts_path == Path("/opt/clip-udfs/user_scripts")


def test_the_schema_for_that_cluster_is_understood_as_far_as_its_keeper(engine: Engine) -> None:
    """Each statement is parsed; the table asks for the Keeper of the configuration, which is not here."""
    parameters = SchemaParameters(cluster="clip")
    for statement in statements(parameters) + index_statements(parameters):
        assert "ON CLUSTER clip" in engine.value(f"SELECT formatQuery({literal(statement.sql)})")
    table = statements(parameters)[0].sql
    with pytest.raises(QueryFailed, match=r"(?i)zookeeper|keeper"):
        engine.rows(table.replace(" ON CLUSTER clip", ""))


def test_the_docker_tests_statements_for_a_cluster_are_well_formed(engine: Engine) -> None:
    for statement in behaviours.PATHS_ON_CLUSTER:
        assert "ON CLUSTER clip" in engine.value(f"SELECT formatQuery({literal(statement)})")
    everywhere = f"{behaviours.ENCODE_PATHS} SETTINGS parallel_distributed_insert_select = 2"
    assert "parallel_distributed_insert_select = 2" in engine.value(f"SELECT formatQuery({literal(everywhere)})")
