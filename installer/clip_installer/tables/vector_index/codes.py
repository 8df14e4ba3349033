"""Quantized codes beside a table's vectors: a search compares these, and reads the vectors of the nearest only.

ClickHouse writes the codes of a column whose codec is ``Quantized``. The codec belongs to the column from CREATE TABLE
on and cannot be altered, so a table gets its codes, or loses them, as it is copied.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

from clip_installer.clickhouse.sql import identifier, is_table
from clip_installer.errors import ConflictError, TableUnfit
from clip_installer.tables.schema import SchemaParameters
from clip_installer.tables.vector_index.built import BuiltIndex, vector_indexes

if TYPE_CHECKING:
    from clip_installer.clickhouse.database import Database
    from clip_installer.progress import Advance

# What lets a search use the codes, and what lets CREATE TABLE name the codec, in the words of the versions.
USE_CODES = "vector_search_use_quantized_codes"
_ALLOW_CODEC = ("enable_quantized_codec", "allow_experimental_codecs")
# Bits of a number in a code; each code has a factor of four bytes beside.
_BITS = {"rabitq": 1, "turboquant": 2}
_FACTOR_BYTES = 4
_CODEC = re.compile(r" CODEC\((?:[^()]|\([^()]*\))*\)")
_METHOD = re.compile(r"Quantized\('(\w+)'")
# Rows that one statement copies: progress is shown after each.
_SLICE = 250_000
_MOST_SLICES = 1000
_BLOCKS = {
    "max_block_size": 8192,
    "max_insert_threads": 1,
    "min_insert_block_size_bytes": 1 << 28,
    "insert_deduplicate": 0,
    "insert_allow_materialized_columns": 1,
}


def code_bytes(method: str, dimension: int) -> int:
    """Bytes of one vector's code."""
    return dimension * _BITS[method] // 8 + _FACTOR_BYTES


def codes_of(database: Database, parameters: SchemaParameters) -> list[BuiltIndex]:
    """The vector columns that have quantized codes, each with its codec and the bytes of the codes."""
    stored = is_table(parameters.stored_table)
    described = database.rows(f"SELECT name, compression_codec FROM system.columns WHERE {stored}")
    codecs = {str(name): str(codec) for name, codec in described}
    rows = int(database.value(f"SELECT sum(rows) FROM system.parts WHERE {stored} AND active") or 0)
    found = []
    for column in parameters.layout.indexes.values():
        method = _METHOD.search(codecs.get(column, ""))
        if method is not None:
            definition = f"Quantized('{method[1]}', {parameters.dimension})"
            found.append(BuiltIndex(column, definition, rows * code_bytes(method[1], parameters.dimension)))
    return found


def kind_of(database: Database, parameters: SchemaParameters) -> str:
    """What makes the searches of a table quick: ``hnsw``, ``quantized`` or ``none``."""
    if codes_of(database, parameters):
        return "quantized"
    return "hnsw" if vector_indexes(database, parameters) else "none"


def switch(database: Database) -> str:
    """The setting with which this server lets CREATE TABLE name the codec.

    Raises:
        TableUnfit: The server has no such codec.
    """
    known = {str(name) for (name,) in database.rows("SELECT name FROM system.settings")}
    if USE_CODES in known:
        for name in _ALLOW_CODEC:
            if name in known:
                return name
    version = str(database.value("SELECT version()"))
    raise TableUnfit(f"ClickHouse {version} has no quantized codes, which came with 26.7; use --kind hnsw")


def build_codes(database: Database, parameters: SchemaParameters, method: str, rebuild: bool, advance: Advance) -> bool:
    """Give the vectors of a table codes by ``method`` in place of a vector index; return whether anything changed.

    The rows are copied into a table with the codec, which then takes the name of the old one.

    Raises:
        ConflictError: The table has vector indexes, or codes of another method, and ``rebuild`` does not replace them.
        TableUnfit: The server has no such codec, or the table cannot be copied; nothing was changed.
        SqlError: ClickHouse refused a statement; nothing was changed.
    """
    allow = switch(database)
    codec = f"Quantized('{method}', {parameters.dimension})"
    there = [*codes_of(database, parameters), *vector_indexes(database, parameters)]
    if there and all(one.definition == codec for one in there):
        return False
    if there and not rebuild:
        raise ConflictError(
            f"the table {parameters.stored_table} has {there[0].name} as {there[0].definition}, not as {codec};"
            " --rebuild replaces it"
        )
    _copy(database, parameters, codec, {allow: 1}, advance)
    return True


def drop_codes(database: Database, parameters: SchemaParameters, advance: Advance) -> bool:
    """Store the vectors of a table without codes again; return whether it had any.

    Raises:
        TableUnfit: The table cannot be copied; nothing was changed.
        SqlError: ClickHouse refused a statement; nothing was changed.
    """
    if not codes_of(database, parameters):
        return False
    _copy(database, parameters, "NONE", {}, advance)
    return True


def advice_on_codes(database: Database, parameters: SchemaParameters) -> list[str]:
    """How users get to search by the codes, if the connected user does not; nothing for a table without codes."""
    setting = f"SELECT toUInt8(value) FROM system.settings WHERE name = '{USE_CODES}'"
    if not codes_of(database, parameters) or database.value(setting):
        return []
    return [
        f"a search uses the codes only for users with {USE_CODES} = 1, and otherwise compares every vector, with the"
        f" same results: CREATE SETTINGS PROFILE quantized_codes SETTINGS {USE_CODES} = 1 TO ALL"
    ]


def with_codec(definition: str, columns: list[str], codec: str, name: str) -> str:
    """The CREATE TABLE statement ``definition``, of a table ``name``, its ``columns`` with ``codec``, without indexes.

    Only the vector indexes of those columns are left out. ``definition`` is what SHOW CREATE TABLE returns: a column or
    an index a line.

    Raises:
        TableUnfit: It lacks one of the columns.
    """
    _, body = definition.split("\n", 1)
    for column in columns:
        quoted = re.escape(f"`{column}`")
        line = re.search(rf"^    {quoted} Array\(Float32\)[^\n]*?(?=,?$)", body, re.MULTILINE)
        if line is None:
            raise TableUnfit(f"the table {name} has no column {column} of type Array(Float32)")
        body = f"{body[: line.start()]}{_CODEC.sub('', line[0])} CODEC({codec}){body[line.end() :]}"
        plain = rf"(?:{quoted}|{re.escape(column)})"
        body = re.sub(
            rf",\n    INDEX [^\n]*? {plain} TYPE vector_similarity\([^\n]*?(?=,?$)", "", body, flags=re.MULTILINE
        )
    return f"CREATE TABLE {identifier(name)}\n{body}"


def _copy(
    database: Database, parameters: SchemaParameters, codec: str, settings: dict[str, int], advance: Advance
) -> None:
    """Copy the table with another codec of its vectors, and put the copy in its place."""
    table = parameters.stored_table
    copy = f"{table}_with_another_codec"
    if database.exists(copy):
        raise ConflictError(
            f"the table {copy} exists: an interrupted build-index left it; drop it if {table} has all its rows"
        )
    _refuse_foreign_engine(database, table)
    _refuse_row_policies(database, table)
    _check_space(database, table)
    columns = list(parameters.layout.indexes.values())
    definition = with_codec(str(database.value(f"SHOW CREATE TABLE {identifier(table)}")), columns, codec, copy)
    database.command(definition, **settings)
    try:
        _fill(database, parameters, copy, advance)
        database.command(f"EXCHANGE TABLES {identifier(table)} AND {identifier(copy)}")
    except BaseException:
        database.command(f"DROP TABLE IF EXISTS {identifier(copy)} SYNC")
        raise
    # Rows that came while the others were copied are now in the table that was put aside.
    key = identifier(parameters.layout.key)
    listed = _columns(database, table)
    database.command(
        f"INSERT INTO {identifier(table)} ({listed}) SELECT {listed} FROM {identifier(copy)}"
        f" WHERE {key} NOT IN (SELECT {key} FROM {identifier(table)})",
        **_BLOCKS,
    )
    database.command(f"DROP TABLE {identifier(copy)} SYNC")


def _fill(database: Database, parameters: SchemaParameters, copy: str, advance: Advance) -> None:
    """Copy the rows, a range of keys at a time.

    Raises:
        TableUnfit: The copy does not have as many rows: some were deleted, or inserted twice, meanwhile.
    """
    table, key = identifier(parameters.stored_table), identifier(parameters.layout.key)
    rows = int(database.value(f"SELECT count() FROM {table}"))
    slices = min(_MOST_SLICES, -(-rows // _SLICE))
    bounds: list[int] = []
    if slices > 1:
        levels = ", ".join(str(one / slices) for one in range(1, slices))
        found = database.value(f"SELECT arrayMap(bound -> toInt64(bound), quantiles({levels})({key})) FROM {table}")
        bounds = sorted({int(one) for one in found})
    listed = _columns(database, parameters.stored_table)
    for number, (least, below) in enumerate(zip([None, *bounds], [*bounds, None], strict=True)):
        wanted = [*([] if least is None else [f"{key} >= {least}"]), *([] if below is None else [f"{key} < {below}"])]
        where = f" WHERE {' AND '.join(wanted)}" if wanted else ""
        insert = f"INSERT INTO {identifier(copy)} ({listed}) SELECT {listed} FROM {table}{where}"
        database.command(insert, **_BLOCKS)
        advance(f"copy of {parameters.stored_table}", rows * (number + 1) // (len(bounds) + 1), rows, "rows")
    copied = int(database.value(f"SELECT count() FROM {identifier(copy)}"))
    if copied < rows:
        raise TableUnfit(
            f"{copied} of {rows} rows of {parameters.stored_table} were copied, because some were deleted meanwhile;"
            " nothing was changed: run build-index again when no rows are being deleted"
        )


def _columns(database: Database, table: str) -> str:
    """The columns with stored values, quoted."""
    stored = f"{is_table(table)} AND default_kind NOT IN ('ALIAS', 'EPHEMERAL')"
    found = database.rows(f"SELECT name FROM system.columns WHERE {stored} ORDER BY position")
    return ", ".join("`" + str(name).replace("`", "\\`") + "`" for (name,) in found)


def _refuse_foreign_engine(database: Database, table: str) -> None:
    engine = str(database.value(f"SELECT engine_full FROM system.tables WHERE {is_table(table, 'name')}"))
    if not engine.partition("(")[0].strip().split(" ")[0].endswith("MergeTree") or (
        engine.startswith("Replicated") and "{uuid}" not in engine
    ):
        raise TableUnfit(
            f"{table} is {engine.split(' ORDER BY')[0]}, which build-index cannot copy, and codes come with a copy:"
            " create a table with CODEC(Quantized(…)) and insert the rows into it"
        )


def _refuse_row_policies(database: Database, table: str) -> None:
    """Refuse to copy a table if a row policy may hide rows from the connected user: the copy would lack them."""
    on_every_table = is_table(f"{table.rpartition('.')[0]}.")
    found = database.rows(f"SELECT name FROM system.row_policies WHERE ({is_table(table)}) OR ({on_every_table})")
    if found:
        raise TableUnfit(
            f"the row policy {found[0][0]} may hide rows of {table}, which a copy would lack:"
            " drop it, run build-index, and create it again"
        )


def _check_space(database: Database, table: str) -> None:
    """Refuse to copy what does not fit on the disk a second time."""
    needed = int(database.value(f"SELECT sum(bytes_on_disk) FROM system.parts WHERE {is_table(table)} AND active") or 0)
    free = int(database.value("SELECT max(free_space) FROM system.disks") or 0)
    if needed * 1.1 > free:
        raise TableUnfit(
            f"{table} is copied to get other codes, and a copy needs {needed * 1.1 / 2**30:.1f} GiB where"
            f" {free / 2**30:.1f} GiB are free: make room, or use --kind hnsw"
        )
