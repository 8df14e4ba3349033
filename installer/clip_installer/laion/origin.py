"""Whether a part's vectors may go into a table: they must come from the table's model."""

from __future__ import annotations

import itertools
from typing import TYPE_CHECKING

import numpy as np

from clip_installer.clickhouse.sql import literal
from clip_installer.errors import ImportRefused, SqlError
from clip_installer.laion.parts import Part
from clip_installer.tables.comparison import SAME_COSINE
from clip_installer.tables.label import ModelLabel, label_of_command, label_of_comment

if TYPE_CHECKING:
    from clip_installer.clickhouse.database import Database

_SAMPLE = 50
_LONGEST_CAPTION = 1000


def check_origin(database: Database, table: str, comment: str, part: Part, *, has_rows: bool) -> bool:
    """Compare ``part`` with the model that the COMMENT of ``table`` names.

    A sample of the part's captions is encoded with that model, if it is installed.

    Args:
        database: The server of the table, and perhaps of the model's functions.
        table: Its name, for a message.
        comment: Its COMMENT.
        part: A part with the table's dimension.
        has_rows: Whether the table already has vectors of that model.

    Returns:
        Whether the sample proves that the vectors come from that model; False if nothing does.

    Raises:
        ImportRefused: The vectors come from another model, or the table has rows and the model of the part is unknown.
    """
    label = label_of_comment(comment)
    if label is None:
        return False
    cosine = _median_cosine(database, label, part)
    if cosine is not None and cosine >= SAME_COSINE["captions"]:
        return True
    ways_out = "choose another --table, or import them anyway with --any-model"
    if cosine is not None:
        raise ImportRefused(
            f"part {part.number}: its vectors are not of {label}, which the table {table} is for (captions: cosine"
            f" {cosine:.2f}); {ways_out}"
        )
    if has_rows:
        raise ImportRefused(
            f"part {part.number}: the table {table} has vectors of {label}, and nothing tells whether these are, too:"
            f" that model is not installed here, or the part has no captions with vectors; {ways_out}"
        )
    return False


def _median_cosine(database: Database, label: ModelLabel, part: Part) -> float | None:
    function = _function_of(database, label)
    sample = _sample(part) if function and part.has_texts else []
    if not sample:
        return None
    captions = ", ".join(literal(caption) for _, caption in sample)
    try:
        rows = database.rows(f"SELECT {function}(caption) FROM (SELECT arrayJoin([{captions}]) AS caption)")
    except SqlError:
        return None
    encoded = np.array([row[0] for row in rows], dtype=np.float32)
    stored = np.stack([part.texts.read(position, position + 1)[0] for position, _ in sample]).astype(np.float32)
    lengths = np.linalg.norm(encoded, axis=1) * np.linalg.norm(stored, axis=1)
    return float(np.median((encoded * stored).sum(axis=1) / lengths))


def _function_of(database: Database, label: ModelLabel) -> str | None:
    """The SQL function that encodes texts with the model of ``label``; None if the server knows of none."""
    try:
        rows = database.rows(
            "SELECT name, command FROM system.user_defined_functions WHERE startsWith(name, 'encode_text')"
        )
    except SqlError:  # ClickHouse before 26.2 has no such table
        return None
    return next((str(name) for name, command in rows if label_of_command(str(command)) == label), None)


def _sample(part: Part) -> list[tuple[int, str]]:
    """Positions and captions from the start of the part, limited to plain text of ordinary length."""
    captions = next(part.metadata.read(20 * _SAMPLE))["caption"].to_pylist()
    plain = (
        (position, caption.decode())
        for position, caption in enumerate(captions)
        if caption and len(caption) <= _LONGEST_CAPTION and _is_utf8(caption)
    )
    return list(itertools.islice(plain, _SAMPLE))


def _is_utf8(text: bytes) -> bool:
    try:
        text.decode()
    except UnicodeDecodeError:
        return False
    return True
