"""Deploying the schema: all of its statements, or none of them."""

from __future__ import annotations

import re
from dataclasses import dataclass
from hashlib import sha256
from typing import TYPE_CHECKING

from clip_installer.clickhouse.sql import Statement
from clip_installer.errors import ApplyError, ConflictError, InstallerError, SqlError
from clip_installer.tables.schema import SchemaParameters, index_statements, statements

if TYPE_CHECKING:
    from clip_installer.clickhouse.database import Database

_NAME = r"(?:`(?:[^`\\]|\\.)*`|\w+)"
_NAMES = rf"{_NAME}(?:\.{_NAME})?"
_CREATED = re.compile(
    rf"^CREATE (?:OR REPLACE )?(TABLE|VIEW) (?:IF NOT EXISTS )?({_NAMES})( ON CLUSTER {_NAME})?", re.MULTILINE
)
_INDEXED = re.compile(
    rf"^ALTER TABLE ({_NAMES})( ON CLUSTER {_NAME})?\s+ADD INDEX (?:IF NOT EXISTS )?({_NAME})", re.MULTILINE
)


@dataclass(frozen=True)
class Schema:
    """The DDL for one model.

    Attributes:
        parameters: What it was rendered from.
        statements: Table and views, in the order in which they can be run.
        index_statements: The vector indexes, for after the load.
    """

    parameters: SchemaParameters
    statements: tuple[Statement, ...]
    index_statements: tuple[Statement, ...]

    @classmethod
    def render(cls, parameters: SchemaParameters) -> Schema:
        """The schema for ``parameters``."""
        return cls(parameters, tuple(statements(parameters)), tuple(index_statements(parameters)))

    @property
    def digest(self) -> str:
        """SHA-256 of the statements that are run."""
        return sha256("\n".join(statement.sql for statement in self.statements).encode()).hexdigest()

    def objects(self) -> list[tuple[str, str, str]]:
        """Kind, name and ``ON CLUSTER`` clause of everything that is created, in order."""
        return [_created(statement) for statement in self.statements]

    def drops(self) -> tuple[str, ...]:
        """Statements that remove the views and the indexes, and keep the data."""
        views = [f"DROP VIEW IF EXISTS {name}{cluster}" for kind, name, cluster in self.objects() if kind == "VIEW"]
        indexes = [
            f"ALTER TABLE {found[1]}{found[2] or ''} DROP INDEX IF EXISTS {found[3]}"
            for statement in self.index_statements
            for found in _INDEXED.finditer(statement.sql)
        ]
        return (*reversed(views), *indexes)


def is_deployed(database: Database, schema: Schema, recorded: str) -> bool:
    """Whether exactly this schema was deployed, by the records, and everything of it is still there."""
    return recorded == schema.digest and all(_exists(database, name) for _, name, _ in schema.objects())


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
        for statement in schema.statements:
            try:
                before = _definition(database, statement)
                undo.extend(_undo(statement, before))
                database.command(statement.sql)
                if before is not None and not replace and _definition(database, statement) != before:
                    name = _created(statement)[1]
                    raise ConflictError(
                        f"the view {name} is there with another definition, which install-udfs did not make;"
                        " --force replaces it, --no-ddl leaves the schema to you"
                    )
            except SqlError as error:
                raise ApplyError(f"{statement.name}: {error}") from error
    except BaseException as error:
        for step_back in reversed(undo):
            try:
                database.command(step_back)
            except SqlError as second:
                raise ApplyError(f"{error}; undoing failed too, at {step_back}: {second}") from error
        raise


def _created(statement: Statement) -> tuple[str, str, str]:
    found = _CREATED.search(statement.sql)
    if found is None:
        raise InstallerError(f"{statement.name}: expected CREATE TABLE or CREATE VIEW")
    return found[1], found[2], found[3] or ""


def _definition(database: Database, statement: Statement) -> str | None:
    kind, name, _ = _created(statement)
    if not _exists(database, name):
        return None
    # For a view this refuses a table of that name, which CREATE OR REPLACE VIEW would destroy.
    ((definition,),) = database.rows(f"SHOW CREATE {kind} {name}")
    return str(definition)


def _undo(statement: Statement, before: str | None) -> list[str]:
    kind, name, cluster = _created(statement)
    if before is None:
        return [f"DROP {kind} IF EXISTS {name}{cluster}"]
    if kind == "TABLE":
        return []
    old_name, rest = before.partition("CREATE VIEW ")[2].split(maxsplit=1)
    return [f"CREATE OR REPLACE VIEW {old_name}{cluster} {rest}"]


def _exists(database: Database, name: str) -> bool:
    return bool(database.value(f"EXISTS TABLE {name}"))
