"""The mutations that build a table's vector indexes: their progress, disk space and cancellation."""

from __future__ import annotations

from typing import TYPE_CHECKING

from clip_installer.clickhouse.sql import is_table, literal
from clip_installer.errors import SqlError, TableUnfit
from clip_installer.tables.schema import SchemaParameters

if TYPE_CHECKING:
    from clip_installer.clickhouse.database import Database


def system(table: str, parameters: SchemaParameters) -> str:
    """A system table, on every server with rows."""
    if parameters.cluster is None:
        return f"system.{table}"
    return f"clusterAllReplicas({literal(parameters.cluster)}, system.{table})"


def is_building(database: Database, parameters: SchemaParameters) -> bool:
    """Whether a server is building an index of the table; another request would build it twice."""
    return bool(database.value(f"SELECT count() {_unfinished(parameters)}"))


def cancel(database: Database, parameters: SchemaParameters) -> int:
    """Cancel the mutations that build indexes of the table, on all servers; return their number.

    Finished data parts keep their index; searches compare all vectors of the others.
    """
    running = int(database.value(f"SELECT count() {_unfinished(parameters)}") or 0)
    if running:
        table = parameters.stored_table
        where = f"{is_table(table)} AND NOT is_done AND command LIKE '%MATERIALIZE INDEX%'"
        database.command(f"KILL MUTATION{parameters.on_cluster} WHERE {where}")
    return running


def rows_to_do(database: Database, parameters: SchemaParameters) -> tuple[int, int]:
    """How many rows still lack an index, counted for each index, and the total of rows.

    Rows of a part in progress count in proportion to its progress.
    """
    active = (
        f"SELECT hostName() AS host, name, rows FROM {system('parts', parameters)}"
        f" WHERE {is_table(parameters.stored_table)} AND active"
    )
    waiting = f"SELECT hostName() AS host, arrayJoin(parts_to_do_names) AS name {_unfinished(parameters)}"
    left = database.value(f"SELECT sum(rows) FROM ({waiting}) AS w INNER JOIN ({active}) AS p USING (host, name)")
    done = database.value(
        f"SELECT sum(progress * rows) FROM (SELECT hostName() AS host, source_part_names[1] AS name, progress"
        f" FROM {system('merges', parameters)} WHERE {is_table(parameters.stored_table)} AND is_mutation) AS m"
        f" INNER JOIN ({active}) AS p USING (host, name)"
    )
    rows = database.value(f"SELECT sum(rows) FROM ({active})")
    return max(0, round((left or 0) - (done or 0))), len(parameters.layout.indexes) * int(rows or 0)


def check_space(database: Database, parameters: SchemaParameters) -> None:
    """Refuse to start a build that does not fit on a server's disks.

    Raises:
        TableUnfit: It does not fit; the message names the server, what it needs and what it has.
    """
    active = f"{system('parts', parameters)} WHERE {is_table(parameters.stored_table)} AND active"
    try:
        rows = _by_host(database, f"SELECT hostName(), sum(rows) FROM {active} GROUP BY 1")
        disks = f"SELECT hostName(), max(free_space) FROM {system('disks', parameters)} GROUP BY 1"
        free = _by_host(database, disks)
    except SqlError as error:
        if error.name == "ACCESS_DENIED":
            return
        raise
    row_bytes = len(parameters.layout.indexes) * (parameters.indexed_vector_bytes + parameters.neighbours_bytes)
    for host, count in rows.items():
        needed = count * row_bytes
        if host in free and needed > free[host]:
            raise TableUnfit(
                f"the indexes of {parameters.stored_table} need about {needed / 2**30:.1f} GiB on {host}, whose disk"
                f" has {free[host] / 2**30:.1f} GiB free: make room, or choose a smaller --quantization or --m"
            )


def _by_host(database: Database, query: str) -> dict[str, int]:
    return {str(host): int(number) for host, number in database.rows(query)}


def _unfinished(parameters: SchemaParameters) -> str:
    return (
        f"FROM {system('mutations', parameters)}"
        f" WHERE {is_table(parameters.stored_table)} AND NOT is_done AND command LIKE '%MATERIALIZE INDEX%'"
    )
