"""Builds the vector indexes of a loaded table, and follows ClickHouse's progress."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING

from clip_installer.clickhouse.sql import identifier, is_table
from clip_installer.errors import ConflictError, SqlError, TableUnfit
from clip_installer.progress import Advance
from clip_installer.tables.schema import (
    CAPTION_INDEX,
    SchemaParameters,
    caption_index_statements,
    index_statements,
)
from clip_installer.tables.vector_index.built import BuiltIndex, vector_indexes
from clip_installer.tables.vector_index.mutations import check_space, is_building, rows_to_do
from clip_installer.tables.vector_index.mutations import system as _system

if TYPE_CHECKING:
    from clip_installer.clickhouse.database import Database

_POLL_SECONDS = 0.5
# The first version with the tokenizer asciiCJK.
_CAPTION_INDEX_SINCE = (26, 4)


def build_indexes(
    database: Database,
    parameters: SchemaParameters,
    rebuild: bool,
    advance: Advance,
    sleep: Callable[[float], None] = time.sleep,
    *,
    wait: bool = True,
) -> tuple[bool, list[BuiltIndex]]:
    """Add both vector indexes and build them for the existing rows, waiting until they are done.

    A running build is waited for, not started again. An interrupt, or a lost connection, leaves it running.

    Args:
        database: The connection.
        parameters: The table and the indexes' parameters.
        rebuild: Drop indexes with other parameters first, instead of refusing.
        advance: Called with the number of finished rows, counted for each index.
        sleep: Waits between two reads of ``system.mutations``.
        wait: Whether to wait for the end.

    Returns:
        Whether anything was changed, and both indexes.

    Raises:
        ConflictError: The indexes exist with other parameters.
        TableUnfit: A row has a zero vector, which the message names; or the disk has no room.
        SqlError: ClickHouse cannot build them; replaced definitions are restored.
    """
    wanted = f"'hnsw', 'cosineDistance', {parameters.dimension}, '{parameters.quantization}'"
    wanted = f"vector_similarity({wanted}, {parameters.m}, {parameters.ef_construction})"
    replaced = [index for index in vector_indexes(database, parameters) if index.definition != wanted]
    if replaced and not rebuild:
        index = replaced[0]
        raise ConflictError(
            f"the table {parameters.stored_table} has {index.name} as {index.definition}, not as"
            f" {wanted}; --rebuild replaces it"
        )
    if not replaced and _are_built(database, parameters):
        changed = build_caption_index(database, parameters, advance, sleep if wait else None)
        return changed, vector_indexes(database, parameters)
    attached = not replaced and is_building(database, parameters)
    if not attached:
        _refuse_zero_vectors(database, parameters)
        check_space(database, parameters)
    for index in replaced:
        _drop(database, parameters, index.name)
    try:
        for statement in () if attached else index_statements(parameters):
            database.command(statement.sql, mutations_sync=0, alter_sync=1)
        if wait:
            _wait(database, parameters, advance, sleep)
    except SqlError as error:
        _put_back(database, parameters, replaced, error)
        raise
    build_caption_index(database, parameters, advance, sleep if wait else None)
    return True, vector_indexes(database, parameters)


def drop_indexes(database: Database, parameters: SchemaParameters) -> bool:
    """Drop the vector indexes of a table; return whether it had any."""
    there = vector_indexes(database, parameters)
    for index in there:
        _drop(database, parameters, index.name)
    return bool(there)


def build_caption_index(
    database: Database,
    parameters: SchemaParameters,
    advance: Advance,
    sleep: Callable[[float], None] | None = time.sleep,
) -> bool:
    """Index the words of the captions for search_hybrid, if the server can and they are not indexed yet.

    Waits with ``sleep``; None does not wait.
    """
    if parameters.layout.caption is None:
        return False
    version = tuple(int(part) for part in str(database.value("SELECT version()")).split(".")[:2])
    there = database.value(
        f"SELECT count() FROM {_system('data_skipping_indices', parameters)}"
        f" WHERE {is_table(parameters.stored_table)} AND name = '{CAPTION_INDEX}'"
    )
    if version < _CAPTION_INDEX_SINCE or there:
        return False
    for statement in caption_index_statements(parameters):
        database.command(statement.sql, mutations_sync=0, alter_sync=1)
    if sleep is not None:
        _wait(database, parameters, advance, sleep)
    return True


def _are_built(database: Database, parameters: SchemaParameters) -> bool:
    """Whether every data part has both indexes, because MATERIALIZE INDEX would rebuild them all.

    ClickHouse lists only the size of a part's indexes; both graphs hold at least all numbers.
    """
    if len(vector_indexes(database, parameters)) < len(parameters.layout.indexes):
        return False
    row_bytes = len(parameters.layout.indexes) * parameters.indexed_vector_bytes
    unbuilt = database.value(
        f"SELECT countIf(secondary_indices_uncompressed_bytes < rows * {row_bytes})"
        f" FROM {_system('parts', parameters)}"
        f" WHERE {is_table(parameters.stored_table)} AND active"
    )
    return bool(unbuilt == 0)


def _refuse_zero_vectors(database: Database, parameters: SchemaParameters) -> None:
    """No index accepts zero vectors, which have no direction. Tables of this version have a constraint against them."""
    for column in parameters.layout.indexes.values():
        condition = f"NOT (L2Norm({column}) > 0)"
        table = identifier(parameters.table)
        key = identifier(parameters.layout.key)
        found = database.rows(f"SELECT {key} FROM {table} WHERE {condition} ORDER BY {key} LIMIT 3")
        if found:
            ids = ", ".join(str(one) for (one,) in found)
            raise TableUnfit(
                f"the table {parameters.table} has rows whose {column} is all zeros or NaN, such as id {ids}, and no"
                f" index accepts those: ALTER TABLE {identifier(parameters.stored_table)} DELETE WHERE {condition}"
            )


def _drop(database: Database, parameters: SchemaParameters, index: str) -> None:
    table = identifier(parameters.stored_table)
    database.command(f"ALTER TABLE {table}{parameters.on_cluster} DROP INDEX IF EXISTS {index}", mutations_sync=2)


def _put_back(
    database: Database, parameters: SchemaParameters, replaced: Sequence[BuiltIndex], error: SqlError
) -> None:
    """Drop what could not be built, because merges would fail on it, and restore the definitions that it replaced."""
    table = identifier(parameters.stored_table)
    before = {index.name: index.definition for index in replaced}
    try:
        for index, column in parameters.layout.indexes.items():
            if replaced and index not in before:
                continue
            _drop(database, parameters, index)
            if index in before:
                definition = f"ADD INDEX {index} {column} TYPE {before[index]}"
                database.command(f"ALTER TABLE {table}{parameters.on_cluster} {definition}", alter_sync=1)
    except SqlError as second:
        raise SqlError(f"{error}; restoring the old definition failed too: {second}") from error


def _wait(database: Database, parameters: SchemaParameters, advance: Advance, sleep: Callable[[float], None]) -> None:
    table = parameters.stored_table
    while True:
        mutations = database.rows(
            f"SELECT mutation_id, latest_fail_reason FROM {_system('mutations', parameters)}"
            f" WHERE {is_table(table)} AND NOT is_done AND command LIKE '%MATERIALIZE INDEX%'"
        )
        for mutation, reason in mutations:
            if reason:
                # ClickHouse would retry for ever, and block every later mutation of the table.
                where = f"{is_table(table)} AND mutation_id = '{mutation}'"
                database.command(f"KILL MUTATION{parameters.on_cluster} WHERE {where}")
                raise SqlError(
                    f"an index of {table} cannot be built: {reason.splitlines()[0]}",
                    remedy="the definitions from before are back: build-index --rebuild with those builds them again",
                )
        to_do, total = rows_to_do(database, parameters)
        advance(f"indexes of {table}", total - min(to_do, total), total, "rows")
        if not mutations:
            return
        sleep(_POLL_SECONDS)
