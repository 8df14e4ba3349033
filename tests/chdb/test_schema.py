"""The DDL on the engine: a cluster's as far as it can be read, one server's twice, and the building of indexes."""

from __future__ import annotations

from pathlib import Path

from clip_installer.clickhouse.sql import literal
from clip_installer.tables.schema import SchemaParameters, index_statements, statements
from tests.chdb import commands
from tests.chdb.conftest import make_tree
from tests.laion_parts import write_part


def test_the_ddl_runs_again_and_again_and_a_clusters_is_well_formed(tmp_path: Path) -> None:
    engine = make_tree(tmp_path).engine()
    here = SchemaParameters(table="default.my pictures", dimension=8)
    for statement in (statements(here) + index_statements(here)) * 2:
        engine.rows(statement.sql)
    elsewhere = SchemaParameters(table="db.my pictures", cluster="big one", suffix="second")
    for statement in statements(elsewhere) + index_statements(elsewhere):
        formatted = engine.value(f"SELECT formatQuery({literal(statement.sql)})")
        assert "ON CLUSTER `big one`" in formatted
    assert engine.close() == 0


def test_indexes_are_built_once_and_others_only_when_asked_for(tmp_path: Path) -> None:
    server = make_tree(tmp_path / "server")
    write_part(tmp_path, 0, rows=2000, dimension=16)
    where = ("--embedded", "--server-config", server.config)
    missing = commands.run("build-index", *where)
    assert missing.status == 1
    assert "no table laion" in missing.error
    commands.succeed("import-laion", tmp_path, "--parts", "0", *where)
    origin = commands.succeed("sql", *where, "-q", "SELECT comment FROM system.tables WHERE name = 'laion'").output
    assert origin.startswith(f"CLIP vectors imported from {tmp_path}: check-model tells")
    small = ("--m", "8", "--ef-construction", "32")
    built = commands.succeed("build-index", *where, *small, "--json").answer["indexes"]
    assert [index["name"] for index in built] == ["image_index", "text_index"]
    assert all(index["definition"].endswith("'bf16', 8, 32)") for index in built)
    assert all(index["bytes_on_disk"] > 2000 * 16 for index in built)
    again = commands.succeed("build-index", *where, *small, "--json").answer
    unchanged = {"table": "laion", "kind": "hnsw", "changed": False, "running": False, "indexes": built, "advice": []}
    assert again == unchanged
    twice = "INSERT INTO laion SELECT * REPLACE (id + 5000 AS id) FROM laion"
    twice += " SETTINGS materialize_skip_indexes_on_insert = 0"
    commands.succeed("sql", *where, "-q", twice)
    grown = commands.succeed("build-index", *where, *small, "--json").answer
    assert grown["changed"]
    assert grown["indexes"][0]["bytes_on_disk"] > 1.5 * built[0]["bytes_on_disk"]
    refused = commands.run("build-index", *where, *small, "--quantization", "i8")
    assert refused.status == 1
    assert "--rebuild replaces it" in refused.error
    rebuilt = commands.succeed("build-index", *where, *small, "--quantization", "i8", "--rebuild", "--json").answer
    assert all("'i8'" in index["definition"] for index in rebuilt["indexes"])
    assert rebuilt["indexes"][0]["bytes_on_disk"] < grown["indexes"][0]["bytes_on_disk"]
