"""Deploying the schema: all of its statements, or none of them."""

from __future__ import annotations

from dataclasses import dataclass
from hashlib import sha256
from typing import TYPE_CHECKING

from clip_installer.clickhouse.sql import Statement, identifier
from clip_installer.errors import ApplyError, ConflictError, SqlError
from clip_installer.tables.schema import INDEXES, SchemaObject, SchemaParameters, index_statements, objects

if TYPE_CHECKING:
    from clip_installer.clickhouse.database import Database


@dataclass(frozen=True)
class Schema:
    """The DDL for one model.

    Attributes:
        parameters: What it was rendered from.
        objects: Tables and views, in the order in which they can be created.
        index_statements: The vector indexes, for after the load.
    """

    parameters: SchemaParameters
    objects: tuple[SchemaObject, ...]
    index_statements: tuple[Statement, ...]

    @classmethod
    def render(cls, parameters: SchemaParameters) -> Schema:
        """The schema for ``parameters``."""
        return cls(parameters, tuple(objects(parameters)), tuple(index_statements(parameters)))

    @property
    def statements(self) -> tuple[Statement, ...]:
        """What creates the objects, in order."""
        return tuple(one.statement for one in self.objects)

    @property
    def digest(self) -> str:
        """SHA-256 of the statements that are run."""
        return sha256("\n".join(statement.sql for statement in self.statements).encode()).hexdigest()

    def drops(self) -> tuple[str, ...]:
        """Statements that remove what can be made again (views, indexes, the sample), and keep the data."""
        cluster = self.parameters.on_cluster
        made = [f"DROP {one.kind} IF EXISTS {one.name}{cluster}" for one in reversed(self.objects) if not one.is_data]
        table = identifier(self.parameters.stored_table)
        return (*made, *(f"ALTER TABLE {table}{cluster} DROP INDEX IF EXISTS {index}" for index in INDEXES))


def is_deployed(database: Database, schema: Schema, recorded: str) -> bool:
    """Whether exactly this schema was deployed, by the records, and everything of it is still there."""
    return recorded == schema.digest and all(_exists(database, one.name) for one in schema.objects)


def deploy(database: Database, schema: Schema, *, replace: bool) -> None:
    """Run the statements; when one fails, the objects are as they were before.

    Args:
        database: Where to run them.
        schema: What to run.
        replace: Whether views that are there may get another definition.

    Raises:
        ApplyError: ClickHouse refused a statement; names it and says why.
        ConflictError: A view of somebody else's would be lost.
    """
    undo: list[str] = []
    try:
        for one in schema.objects:
            try:
                before = _definition(database, one)
                undo.extend(_undo(one, before, schema.parameters.on_cluster))
                database.command(one.statement.sql)
                if before is not None and not replace and _definition(database, one) != before:
                    raise ConflictError(
                        f"the view {one.name} is there with another definition, which install-udfs did not make;"
                        " --force replaces it, --no-ddl leaves the schema to you"
                    )
            except SqlError as error:
                raise ApplyError(f"{one.statement.name}: {error}") from error
    except BaseException as error:
        for step_back in reversed(undo):
            try:
                database.command(step_back)
            except SqlError as second:
                raise ApplyError(f"{error}; undoing failed too, at {step_back}: {second}") from error
        raise


def _definition(database: Database, one: SchemaObject) -> str | None:
    if not _exists(database, one.name):
        return None
    # For a view this refuses a table of that name, which CREATE OR REPLACE VIEW would destroy.
    return str(database.value(f"SHOW CREATE {one.kind} {one.name}"))


def _undo(one: SchemaObject, before: str | None, on_cluster: str) -> list[str]:
    if before is None:
        return [f"DROP {one.kind} IF EXISTS {one.name}{on_cluster}"]
    if one.kind == "TABLE":
        return []
    old_name, rest = before.partition("CREATE VIEW ")[2].split(maxsplit=1)
    return [f"CREATE OR REPLACE VIEW {old_name}{on_cluster} {rest}"]


def _exists(database: Database, name: str) -> bool:
    return bool(database.value(f"EXISTS TABLE {name}"))
