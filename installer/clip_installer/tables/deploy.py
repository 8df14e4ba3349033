"""Deploying the schema: compare, plan, then run all statements or none."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, replace
from typing import Literal

from clip_installer.clickhouse.database import Database
from clip_installer.clickhouse.sql import Statement, identifier, is_table
from clip_installer.errors import ApplyError, SqlError
from clip_installer.tables.monitoring import monitoring_objects
from clip_installer.tables.schema import (
    CAPTION_INDEX,
    SchemaObject,
    SchemaParameters,
    definition_of_comment,
    index_statements,
    objects,
)

ObjectAction = Literal["create", "replace", "unchanged", "refused", "left out"]


@dataclass(frozen=True)
class Schema:
    """The DDL for one model.

    Attributes:
        parameters: The parameters that it was rendered with.
        objects: Table and views with their statements, in executable order.
        index_statements: The vector indexes, to be built after loading.
    """

    parameters: SchemaParameters
    objects: tuple[SchemaObject, ...]
    index_statements: tuple[Statement, ...]

    @classmethod
    def render(cls, parameters: SchemaParameters) -> Schema:
        """The schema for ``parameters``, with the monitoring views."""
        made = (*objects(parameters), *monitoring_objects(parameters))
        return cls(parameters, made, tuple(index_statements(parameters)))

    @property
    def statements(self) -> tuple[Statement, ...]:
        """The statements that create the objects."""
        return tuple(one.statement for one in self.objects)

    def drops(self) -> tuple[str, ...]:
        """Statements that drop what can be recreated (views, indexes, the sample) and keep the data."""
        cluster = self.parameters.on_cluster
        made = [f"DROP {one.kind} IF EXISTS {one.name}{cluster}" for one in reversed(self.objects) if not one.is_data]
        table = identifier(self.parameters.stored_table)
        return (
            *made,
            *(
                f"ALTER TABLE {table}{cluster} DROP INDEX IF EXISTS {index}"
                for index in (*self.parameters.layout.indexes, CAPTION_INDEX)
            ),
        )


@dataclass(frozen=True)
class ObjectStep:
    """What happens to one table or view.

    Attributes:
        action: ``create`` it, ``replace`` its definition, leave it ``unchanged``, be ``refused``, or be ``left out``,
            like a monitoring view on a server without its system tables.
        made: The object as it should be.
        reason: Why, in a few words.
        on_cluster: The clause ``ON CLUSTER``, with a space before it; '' for one server.
        before: Its current definition, from ``SHOW CREATE``; '' if there is none.
    """

    action: ObjectAction
    made: SchemaObject
    reason: str
    on_cluster: str = ""
    before: str = ""

    @property
    def changes(self) -> bool:
        """Whether the step runs a statement."""
        return self.action in ("create", "replace")


def plan_schema(database: Database, schema: Schema, *, force: bool) -> list[ObjectStep]:
    """What :func:`deploy` would do, based on what the server has; changes nothing.

    Args:
        database: The server.
        schema: The schema as it should be.
        force: Whether views that install-udfs did not create may be replaced.

    Raises:
        SqlError: The user may not read the system tables.
    """
    unreadable = _unreadable(database, {table for one in schema.objects for table in one.reads})
    steps = (_step(database, one, unreadable, force=force) for one in schema.objects)
    return [replace(step, on_cluster=schema.parameters.on_cluster) for step in steps]


def deploy(database: Database, steps: Sequence[ObjectStep]) -> bool:
    """Run the statements of ``steps``; if one fails, all objects are restored.

    Returns:
        Whether anything was changed.

    Raises:
        ApplyError: ClickHouse refused a statement; the message names it and the reason.
    """
    undo: list[str] = []
    changing = [step for step in steps if step.changes]
    try:
        for step in changing:
            undo.append(_undo(step))
            try:
                database.command(step.made.statement.sql)
            except SqlError as error:
                raise ApplyError(f"{step.made.statement.name}: {error}") from error
    except BaseException as error:
        for step_back in reversed(undo):
            try:
                database.command(step_back)
            except SqlError as second:
                raise ApplyError(
                    f"{error}; {step_back.splitlines()[0]} should undo a part, and failed: {second}"
                ) from error
        raise
    return bool(changing)


def _unreadable(database: Database, tables: Iterable[str]) -> dict[str, str]:
    """For each of the system ``tables`` that cannot be read, the reason and what to do."""
    found = {}
    for table in sorted(tables):
        exists = f"SELECT count() FROM system.tables WHERE {is_table(table, 'name')}"
        if not database.value(exists):
            with suppress(SqlError):  # a log has no table before its first entry is written
                database.command("SYSTEM FLUSH LOGS")
        if not database.value(exists):
            log = table.endswith("_log")
            way_out = f"enable <{table.partition('.')[2]}>" if log else "upgrade ClickHouse"
            found[table] = f"the server has no {table}; {way_out} and run install-udfs again"
        elif not granted(database, f"SELECT ON {table}"):
            found[table] = f"this user may not read {table}; GRANT SELECT ON {table} and run install-udfs again"
    return found


def granted(database: Database, right: str) -> bool:
    """Whether the user has ``right``; True if the server is too old to tell; the statement itself then fails."""
    try:
        return bool(database.value(f"CHECK GRANT {right}"))
    except SqlError:
        return True


def _step(database: Database, made: SchemaObject, unreadable: Mapping[str, str], *, force: bool) -> ObjectStep:
    for table in made.reads:
        if table in unreadable:
            return ObjectStep("left out", made, unreadable[table])
    there = database.rows(
        "SELECT engine, comment, create_table_query FROM system.tables WHERE " + is_table(made.plain_name, "name")
    )
    if not there:
        return ObjectStep("create", made, made.statement.purpose)
    engine, comment, before = (str(value) for value in there[0])
    is_view = engine == "View"
    if is_view != (made.kind == "VIEW"):
        what = "a view" if is_view else "a table"
        way_out = "rename or drop it, or use --table NAME" if is_view else "rename it, or use --suffix NAME or --no-ddl"
        return ObjectStep("refused", made, f"{what} of this name is there; {way_out}", before=before)
    if made.kind == "TABLE":
        return ObjectStep("unchanged", made, "is there, and its rows stay", before=before)
    definition = definition_of_comment(comment)
    if definition == made.definition:
        return ObjectStep("unchanged", made, made.statement.purpose, before=before)
    if definition is not None:
        return ObjectStep("replace", made, "another definition than this version and model have", before=before)
    if force:
        return ObjectStep("replace", made, "a view that install-udfs did not make (--force)", before=before)
    return ObjectStep(
        "refused",
        made,
        "is there with a definition that install-udfs did not make; --force replaces it, --no-ddl leaves the schema to"
        " you",
        before=before,
    )


def _undo(step: ObjectStep) -> str:
    made = step.made
    if not step.before:
        return f"DROP {made.kind} IF EXISTS {made.name}{step.on_cluster}"
    old_name, rest = step.before.partition("CREATE VIEW ")[2].split(maxsplit=1)
    return f"CREATE OR REPLACE VIEW {old_name}{step.on_cluster} {rest}"
