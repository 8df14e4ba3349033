"""The rendered DDL: parameters where they belong, names quoted, and nothing left undefined."""

from __future__ import annotations

import pytest

from clip_installer.clickhouse.sql import identifier, literal
from clip_installer.errors import UsageProblem
from clip_installer.tables.schema import SchemaParameters, index_statements, objects, statements, table_statements
from clip_installer.tables.views import VIEWS

EVERYTHING = SchemaParameters(
    table="pictures.big", dimension=768, suffix="vit_l_14", quantization="i8", m=16, ef_construction=99, ef_search=77
)


def _all(parameters: SchemaParameters) -> str:
    return ";\n".join(statement.sql for statement in statements(parameters) + index_statements(parameters))


def test_every_parameter_arrives() -> None:
    text = _all(EVERYTHING)
    assert text.count("CHECK length(image_embedding) = 768") == 1
    assert text.count("vector_similarity('hnsw', 'cosineDistance', 768, 'i8', 16, 99)") == 2
    assert text.count("greatest({k:UInt32}, 77)") == 9
    assert "encode_text_vit_l_14(text)" in text
    assert "CREATE OR REPLACE VIEW pictures.search_by_image_vit_l_14 AS" in text
    assert "ON CLUSTER" not in text


def test_the_defaults_are_the_guides() -> None:
    text = _all(SchemaParameters())
    assert "CREATE TABLE IF NOT EXISTS laion\n" in text
    assert "vector_similarity('hnsw', 'cosineDistance', 512, 'bf16', 64, 256)" in text
    assert "encode_text(text)" in text


def test_no_view_depends_on_a_settings_clause() -> None:
    """For users with readonly = 1, ClickHouse silently drops the SETTINGS of a view."""
    views = [one.statement.sql for one in objects(SchemaParameters()) if one.kind == "VIEW"]
    assert len(views) == len(VIEWS) + 2  # clip_help and clip_image_roots
    assert not any("SETTINGS" in sql for sql in views)


def test_each_statement_says_what_it_is_for_and_has_no_semicolon() -> None:
    for statement in statements(SchemaParameters()) + index_statements(SchemaParameters()):
        assert statement.sql.startswith("-- ")
        assert statement.name == f"{statement.file}: {statement.purpose}"
        assert not statement.sql.endswith(";")


def test_a_cluster_has_replicated_tables_below_a_distributed_one() -> None:
    parameters = SchemaParameters(table="laion", cluster="big one")
    table, distributed = table_statements(parameters)
    assert "CREATE TABLE IF NOT EXISTS laion_local ON CLUSTER `big one`" in table.sql
    assert "ReplicatedMergeTree('/clickhouse/tables/{shard}/{database}/{table}', '{replica}')" in table.sql
    assert "Distributed('big one', currentDatabase(), 'laion_local', cityHash64(id))" in distributed.sql
    for statement in index_statements(parameters):
        assert "ALTER TABLE laion_local ON CLUSTER `big one`" in statement.sql
    assert all("FROM laion_local" not in statement.sql for statement in statements(parameters))


@pytest.mark.parametrize(
    ("name", "quoted"),
    [
        ("laion", "laion"),
        ("db.laion", "db.laion"),
        ("my db.tab`le", "`my db`.`tab\\`le`"),
        ("a\\b", "`a\\\\b`"),
        ("x; DROP TABLE y", "`x; DROP TABLE y`"),
    ],
)
def test_names_are_quoted_where_they_must_be(name: str, quoted: str) -> None:
    assert identifier(name) == quoted


@pytest.mark.parametrize("name", ["", ".", "db.", ".table", "two\nlines"])
def test_what_cannot_be_a_name_is_refused(name: str) -> None:
    with pytest.raises(UsageProblem, match="is not a table name"):
        SchemaParameters(table=name)


def test_literals_cannot_be_escaped_from() -> None:
    assert literal("it's \\ here") == "'it\\'s \\\\ here'"


@pytest.mark.parametrize(
    ("wrong", "said"),
    [({"quantization": "int8"}, "quantization 'int8' is not one of"), ({"m": 0}, "m is 0"), ({"dimension": -1}, "-1")],
)
def test_parameters_that_cannot_work_are_refused(wrong: dict[str, object], said: str) -> None:
    with pytest.raises(UsageProblem, match=said):
        SchemaParameters(**wrong)
