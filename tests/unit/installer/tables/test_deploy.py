"""What the installer reads out of the DDL: the objects that it makes, and how to drop them."""

from __future__ import annotations

import pytest

from clip_installer.tables.deploy import Schema
from clip_installer.tables.schema import SchemaParameters


@pytest.mark.parametrize(
    ("table", "suffix", "cluster", "stored", "clause"),
    [
        ("laion", "", None, "laion", ""),
        ("laion_l14", "l14", "main", "laion_l14_local", " ON CLUSTER main"),
        ("`", "x", "my cluster", "`\\`_local`", " ON CLUSTER `my cluster`"),
        ("my db.t`able", "", None, "`my db`.`t\\`able`", ""),
    ],
)
def test_objects_and_drops(table: str, suffix: str, cluster: str | None, stored: str, clause: str) -> None:
    schema = Schema.render(SchemaParameters(table=table, suffix=suffix, cluster=cluster))
    assert [one.kind for one in schema.objects if one.is_data] == ["TABLE"] * (2 if cluster else 1)
    assert schema.objects[0].name == stored
    for one in schema.objects:
        assert one.statement.sql.splitlines()[1].startswith(
            (f"CREATE OR REPLACE VIEW {one.name}{clause} AS", f"CREATE TABLE IF NOT EXISTS {one.name}{clause}")
        )
    views = [one.name for one in schema.objects if one.kind == "VIEW"]
    assert any(name.endswith(f"search_by_text{'_' if suffix else ''}{suffix}") for name in views)
    drops = schema.drops()
    assert drops[: len(views)] == tuple(f"DROP VIEW IF EXISTS {name}{clause}" for name in reversed(views))
    assert drops[len(views) :] == (
        f"DROP TABLE IF EXISTS {schema.objects[-len(views) - 1].name}{clause}",
        f"ALTER TABLE {stored}{clause} DROP INDEX IF EXISTS image_index",
        f"ALTER TABLE {stored}{clause} DROP INDEX IF EXISTS text_index",
    )


def test_the_digest_follows_the_statements() -> None:
    digests = {
        Schema.render(SchemaParameters(**changes)).digest
        for changes in ({}, {"table": "t"}, {"dimension": 768}, {"suffix": "x"}, {"cluster": "c"})
    }
    assert len(digests) == 5
