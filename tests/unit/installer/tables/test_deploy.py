"""What the installer derives from the DDL: the objects that it creates, and how to drop them."""

from __future__ import annotations

import pytest

from clip_installer.errors import ApplyError, SqlError
from clip_installer.tables.deploy import Schema, deploy, plan_schema
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
        statement = next(line for line in one.statement.sql.splitlines() if not line.startswith("--"))
        assert statement.startswith(
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
        f"ALTER TABLE {stored}{clause} DROP INDEX IF EXISTS caption_index",
    )


def test_a_views_comment_tells_its_definition_from_every_other() -> None:
    changes = (
        {},
        {"table": "t"},
        {"comment": "CLIP vectors of m"},
        {"suffix": "x"},
        {"cluster": "c"},
        {"ef_search": 8},
    )
    views = [
        one
        for change in changes
        for one in Schema.render(SchemaParameters(**change)).objects
        if one.plain_name in ("search_by_text", "search_by_text_x")
    ]
    assert len({one.definition for one in views}) == len(changes)
    assert None not in {one.definition for one in views}


class Server:
    """A server with some tables and views, by name: engine, COMMENT and definition."""

    def __init__(self, **there: tuple[str, str, str]) -> None:
        self.there = there
        self.told: list[str] = []
        self.refused = ""
        self.lacks: tuple[str, ...] = ()

    def rows(self, statement: str) -> list[tuple[str, str, str]]:
        return [row for name, row in self.there.items() if f"name = '{name}'" in statement]

    def value(self, statement: str) -> int:
        return int(not any(one in statement for one in self.lacks))

    def command(self, statement: str) -> None:
        self.told.append(statement)
        if self.refused and self.refused in statement:
            raise SqlError("no")


def actions(server: Server, *, force: bool = False) -> dict[str, str]:
    """What would happen to each object."""
    steps = plan_schema(server, Schema.render(SchemaParameters()), force=force)
    return {step.made.plain_name: step.action for step in steps}


def test_the_plan_of_a_schema_follows_what_the_server_has() -> None:
    made = {one.plain_name: one for one in Schema.render(SchemaParameters()).objects}
    ours = f"CLIP vectors, definition {made['search_by_text'].definition}"
    old = "CLIP vectors of a model, 512 numbers, bundle 0123456789ab, definition 0123456789ab"
    server = Server(
        laion=("MergeTree", "", ""),
        search_by_text=("View", ours, ""),
        search_by_image=("View", old, ""),
        search_by_embedding=("View", "", "CREATE VIEW theirs"),
        search_captions_by_text=("MergeTree", "", ""),
    )
    planned = actions(server)
    assert planned.pop("laion") == planned.pop("search_by_text") == "unchanged"
    assert planned.pop("search_by_image") == "replace"
    assert planned.pop("search_by_embedding") == planned.pop("search_captions_by_text") == "refused"
    assert set(planned.values()) == {"create"}
    forced = actions(server, force=True)
    assert (forced["search_by_embedding"], forced["search_captions_by_text"]) == ("replace", "refused")
    assert server.told == []


def test_a_refused_statement_takes_back_those_before_it() -> None:
    server = Server(search_by_text=("View", "", "CREATE VIEW default.search_by_text AS SELECT 1"))
    server.refused = "VIEW search_by_image"
    steps = plan_schema(server, Schema.render(SchemaParameters()), force=True)
    with pytest.raises(ApplyError, match="no"):
        deploy(server, steps)
    assert [told.splitlines()[-1] for told in server.told[-4:]] == [
        "DROP VIEW IF EXISTS search_by_image",
        "CREATE OR REPLACE VIEW default.search_by_text AS SELECT 1",
        "DROP TABLE IF EXISTS laion_relevance_sample",
        "DROP TABLE IF EXISTS laion",
    ]


def test_monitoring_views_are_left_out_where_the_server_has_not_what_they_show() -> None:
    server = Server()
    server.lacks = ("'query_log'", "GRANT SELECT ON system.user_defined_functions")
    steps = {
        step.made.plain_name: (step.action, step.reason)
        for step in plan_schema(server, Schema.render(SchemaParameters()), force=False)
        if step.made.is_monitoring
    }
    assert steps.pop("clip_counters")[0] == "create"
    assert steps.pop("clip_functions") == (
        "left out",
        "this user may not read system.user_defined_functions; GRANT SELECT ON system.user_defined_functions and run"
        " install-udfs again",
    )
    reason = "the server has no system.query_log; enable <query_log> and run install-udfs again"
    assert steps == dict.fromkeys(("clip_queries", "clip_failures"), ("left out", reason))
    assert server.told == ["SYSTEM FLUSH LOGS"]


def test_models_beside_each_other_share_the_monitoring_views() -> None:
    one, other = (Schema.render(SchemaParameters(table=f"t{suffix}", suffix=suffix)) for suffix in ("", "x"))
    shared = [made.statement for made in one.objects if made.is_monitoring]
    assert shared == [made.statement for made in other.objects if made.is_monitoring]
    assert len(shared) == 4
