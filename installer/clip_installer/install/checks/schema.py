"""Checks of an installed model's table and views: whether they exist, as installed, and for its vectors."""

from __future__ import annotations

from collections.abc import Iterator

from clip_installer.clickhouse.database import Database
from clip_installer.install.checks.findings import Finding, note, ok, problem
from clip_installer.install.checks.preflight import left_out
from clip_installer.install.records.records import InstalledModel
from clip_installer.tables.deploy import Schema, plan_schema
from clip_installer.tables.label import label_of_comment, table_comment
from clip_udfs import __version__

_AGAIN = "run install-udfs again with the same --url: it deploys what is missing"


def check_schema(database: Database, model: InstalledModel, schema: Schema | None) -> Iterator[Finding]:
    """Whether the table and views of ``schema`` exist as this version creates them, and whose vectors they hold.

    A schema that was never deployed, as by an install without a server, is a note.
    """
    if schema is None:
        return
    steps = plan_schema(database, schema, force=False)
    missing = [step.made.plain_name for step in steps if step.action == "create" and not step.made.is_monitoring]
    if len(missing) == sum(not step.made.is_monitoring for step in steps):
        yield note("schema", f"neither {missing[0]} nor the views exist: install-udfs with --url creates them")
        return
    for step in steps:
        what = f"{step.made.kind.lower()} {step.made.plain_name}"
        if step.action == "create":
            yield problem("schema", f"the {what} is missing", _AGAIN)
        elif step.action == "replace" and model.version != __version__:
            yield note("schema", f"the {what} is of version {model.version}: {_AGAIN}")
        elif step.action == "replace":
            yield problem("schema", f"the {what} has another definition than this model needs", _AGAIN)
        elif step.action == "refused":
            reason, _, way_out = step.reason.partition("; ")
            yield problem("schema", f"the {what} {reason}", way_out)
    table = schema.parameters.table
    comment = table_comment(database, table)
    there, ours = label_of_comment(comment), label_of_comment(schema.parameters.comment)
    if there is not None and ours is not None and there.name != ours.name:
        yield problem(
            "schema",
            f"the table {table} is for {there}, and the functions are of {ours}",
            f"clip-udfs check-model --table {table} compares the vectors themselves",
        )
    elif all(step.action in ("unchanged", "left out") for step in steps):
        views = sum(step.action == "unchanged" for step in steps) - 1
        yield ok("schema", f"the table {table} and its {views} views are as they were deployed")
    yield from left_out(steps)
