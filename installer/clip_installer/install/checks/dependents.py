"""Tables, views and columns that call a function, and stop working without it."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from clip_installer.clickhouse.database import Database
from clip_installer.clickhouse.sql import literal


@dataclass(frozen=True)
class Dependent:
    """One object whose definition names a function.

    Attributes:
        what: Its kind: ``the DEFAULT of column v``, ``the view``, ``an index or key``.
        table: Its table, ``database.name``.
        function: The function.
        breaks: Whether inserts into the table fail without the function.
    """

    what: str
    table: str
    function: str
    breaks: bool

    def __str__(self) -> str:
        """For a person: which object calls which function."""
        return f"{self.what} of {self.table} calls {self.function}"


def dependents(database: Database, functions: Sequence[str]) -> Iterator[Dependent]:
    """Everything on the server that calls one of ``functions``; columns that break inserts come first.

    The views that install-udfs created are left out: they belong to the functions.

    Raises:
        SqlError: The user may not read the system tables.
    """
    names = f"[{', '.join(literal(name) for name in functions)}]"
    called = "arrayFilter(f -> match({text}, concat('\\\\b', f, '\\\\s*\\\\(')), " + names + ")"
    columns = called.format(text="default_expression")
    rows = database.rows(
        f"SELECT database, table, name, default_kind, arrayJoin({columns}) FROM system.columns"
        " WHERE default_kind != '' AND database NOT IN ('system', 'information_schema', 'INFORMATION_SCHEMA')"
        " ORDER BY 1, 2, 3"
    )
    seen = set()
    for place, table, column, kind, function in rows:
        seen.add((place, table))
        breaks = kind in ("DEFAULT", "MATERIALIZED")
        yield Dependent(f"the {kind} column {column}", f"{place}.{table}", str(function), breaks)
    tables = called.format(text="create_table_query")
    rows = database.rows(
        f"SELECT database, name, engine, arrayJoin({tables}) FROM system.tables"
        " WHERE NOT match(comment, '^CLIP (vectors|functions).*, definition ')"
        " AND database NOT IN ('system', 'information_schema', 'INFORMATION_SCHEMA') ORDER BY 1, 2"
    )
    for place, table, engine, function in rows:
        if (place, table) in seen:
            continue
        if engine == "MaterializedView":
            yield Dependent("the materialized view", f"{place}.{table}", str(function), breaks=True)
        elif engine.endswith("View"):
            yield Dependent("the view", f"{place}.{table}", str(function), breaks=False)
        else:
            yield Dependent("a key, index, TTL or constraint", f"{place}.{table}", str(function), breaks=True)
