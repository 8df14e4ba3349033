"""The kinds of quick search that a table can have, and the way from one to another."""

from __future__ import annotations

from typing import TYPE_CHECKING

from clip_installer.errors import ConflictError, UsageProblem
from clip_installer.tables.schema import SchemaParameters
from clip_installer.tables.vector_index.build import build_caption_index, build_indexes, drop_indexes
from clip_installer.tables.vector_index.codes import build_codes, codes_of, drop_codes, kind_of

if TYPE_CHECKING:
    from clip_installer.clickhouse.database import Database
    from clip_installer.progress import Advance
    from clip_installer.tables.vector_index.built import BuiltIndex


def refuse_options(kind: str | None, *, cluster: str | None, wait: bool) -> None:
    """Refuse options that do not go with ``kind``.

    Raises:
        UsageProblem: Codes are asked for on a cluster, or without waiting.
    """
    if kind in ("quantized", "none") and cluster is not None:
        raise UsageProblem(f"--kind {kind} copies a table of one server: run it on each shard, without --cluster")
    if kind == "quantized" and not wait:
        raise UsageProblem("--kind quantized copies the table while the command runs: leave out --no-wait")


def make_kind(
    database: Database,
    parameters: SchemaParameters,
    kind: str | None,
    *,
    method: str,
    rebuild: bool,
    advance: Advance,
    wait: bool,
) -> tuple[bool, str, list[BuiltIndex]]:
    """Give a table the quick searches of ``kind``, or, where that is None, complete those that it has.

    Args:
        database: The connection.
        parameters: The table and the parameters of an HNSW index.
        kind: One of :data:`~clip_installer.tables.schema.KINDS`; None for what the table has.
        method: Of the codes.
        rebuild: Whether indexes or codes that the table has may be replaced.
        advance: Called with the number of finished rows.
        wait: Whether to wait for the end of an index's build.

    Returns:
        Whether anything was changed, the kind, and the indexes or codes of the table.

    Raises:
        ConflictError: The table has another kind, or other parameters, and ``rebuild`` is off.
        TableUnfit: The table or the server does not allow it.
        SqlError: ClickHouse refused a statement.
    """
    present = "hnsw" if parameters.cluster else kind_of(database, parameters)
    if kind is None:
        kind = "hnsw" if present == "none" else present
        if kind == "quantized":
            method = codes_of(database, parameters)[0].definition.split("'")[1]
    if kind == "none":
        dropped = drop_indexes(database, parameters)
        return drop_codes(database, parameters, advance) or dropped, kind, []
    if kind == "quantized":
        changed = build_codes(database, parameters, method, rebuild, advance)
        changed = build_caption_index(database, parameters, advance) or changed
        return changed, kind, codes_of(database, parameters)
    if present == "quantized":
        if not rebuild:
            one = codes_of(database, parameters)[0]
            raise ConflictError(
                f"the table {parameters.stored_table} has {one.name} as {one.definition}, not with an HNSW index;"
                " --rebuild replaces it"
            )
        drop_codes(database, parameters, advance)
    changed, built = build_indexes(database, parameters, rebuild, advance, wait=wait)
    return changed, kind, built
