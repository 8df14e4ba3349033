"""Checks whether the installed model produces a table's vectors: a sample is encoded again and compared."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, NamedTuple, Protocol

from clip_installer.clickhouse.sql import identifier, literal, render
from clip_installer.errors import CheckFailed
from clip_installer.tables.label import ModelLabel, installed_label, label_of_comment, table_comment
from clip_udfs.functions import FUNCTIONS

if TYPE_CHECKING:
    from clip_installer.clickhouse.database import Database

# Other machines and float16 storage leave text vectors above 0.999. A published image has often been scaled or
# compressed again since it was encoded, which leaves about 0.97. Other models are near 0.
SAME_COSINE = {"captions": 0.99, "images": 0.95}
_NORM_TOLERANCE = 0.01


class Kind(NamedTuple):
    """What a table has vectors of.

    Attributes:
        name: ``captions`` or ``images``.
        value: The column that is encoded.
        vector: The column with its vectors.
        function: The function that encodes it.
        condition: Which rows can be encoded.
    """

    name: str
    value: str
    vector: str
    function: str
    condition: str


KINDS = (
    Kind(
        "captions",
        "caption",
        "text_embedding",
        "try_encode_text",
        # The import stores the image's vector if the source has none for the caption.
        "caption != '' AND text_embedding != image_embedding",
    ),
    Kind("images", "url", "image_embedding", "try_encode_image", "url != '' AND url NOT LIKE 'http%://%'"),
)


@dataclass(frozen=True)
class Comparison:
    """The result of comparing a sample of captions or images.

    Attributes:
        kind: ``captions`` or ``images``.
        compared: Rows that could be encoded; if 0, the other attributes are meaningless.
        stored_dimension: Length of the table's vectors.
        encoded_dimension: Length of the functions' vectors.
        median_cosine: Median cosine of stored and encoded vector.
        least_cosine: The smallest.
        stored_norm: Median L2 norm of the stored vectors.
        encoded_norm: Median L2 norm of the encoded vectors.
    """

    kind: str
    compared: int
    stored_dimension: int
    encoded_dimension: int
    median_cosine: float
    least_cosine: float
    stored_norm: float
    encoded_norm: float

    @property
    def same(self) -> bool:
        """Whether the vectors point in the same direction; their lengths may differ."""
        return self.median_cosine >= SAME_COSINE[self.kind]

    @property
    def same_norm(self) -> bool:
        """Whether the vectors have the same length."""
        return abs(self.stored_norm - self.encoded_norm) <= _NORM_TOLERANCE * self.encoded_norm


@dataclass(frozen=True)
class Verdict:
    """The verdict and its numbers.

    Attributes:
        code: ``same``, ``not_normalised`` or ``different``.
        text: One line for a person.
        comparisons: What it is based on.
        table_comment: What the table's COMMENT says about the model that filled it; '' if nothing.
        table_model: The model that it names; None if it names none.
        checked_model: The model that was checked; None if the server cannot tell.
    """

    code: str
    text: str
    comparisons: tuple[Comparison, ...]
    table_comment: str = ""
    table_model: ModelLabel | None = None
    checked_model: ModelLabel | None = None

    @property
    def origin(self) -> str:
        """A line about the model that the table names and the one that was checked."""
        return _origin(self.table_comment, self.table_model, self.checked_model)


def check_model(database: Database, table: str, suffix: str, sample: int) -> Verdict:
    """Encode ``sample`` captions and images of ``table`` with the model installed under ``suffix``.

    Raises:
        CheckFailed: The functions do not exist, or nothing could be compared.
        SqlError: ClickHouse refused.
    """
    checked = FUNCTIONS["encode_text"].sql_name(suffix)
    if not database.rows(f"SELECT 1 FROM system.functions WHERE name = {literal(checked)}"):
        raise CheckFailed(
            f"the server has no function {checked}: no model is installed there with the suffix {suffix!r}"
        )
    comment = table_comment(database, table)
    labels = label_of_comment(comment), installed_label(database, checked)
    comparisons = []
    for kind in KINDS:
        values = {
            "kind": kind.name,
            "value": kind.value,
            "vector": kind.vector,
            "function": FUNCTIONS[kind.function].sql_name(suffix),
            "condition": kind.condition,
            "table": identifier(table),
            "sample": sample,
        }
        (statement,) = render("check_model/compare", values)
        (row,) = database.rows(statement.sql)
        if row[0]:
            comparisons.append(Comparison(kind.name, *row))
    if not comparisons:
        raise CheckFailed(
            f"nothing in {table} can be compared: no caption, and no image that the functions may read;"
            f" {_origin(comment, *labels)}"
        )
    verdict = judge(tuple(comparisons))
    return replace(verdict, table_comment=comment, table_model=labels[0], checked_model=labels[1])


class Encode(Protocol):
    """A model that encodes values outside the server."""

    def __call__(self, kind: str, values: Sequence[str]) -> list[Sequence[float]]:
        """The vectors of ``values``: captions or, for the kind ``images``, paths; [] if one cannot be encoded."""
        ...


def compare_sample(database: Database, table: str, sample: int, encode: Encode) -> tuple[Comparison, ...]:
    """Compare the vectors of ``sample`` captions and images of ``table`` with those of a model outside the server.

    Raises:
        SqlError: ClickHouse refused.
    """
    comparisons = []
    for kind in KINDS:
        short = " AND length(caption) < 1000" if kind.name == "captions" else ""
        rows = database.rows(
            f"SELECT {kind.value}, {kind.vector} FROM {identifier(table)}"
            f" WHERE {kind.condition}{short} AND notEmpty({kind.vector}) ORDER BY cityHash64(id) LIMIT {sample}"
        )
        encoded = encode(kind.name, [str(row[0]) for row in rows]) if rows else []
        pairs = [(row[1], made) for row, made in zip(rows, encoded, strict=True) if made]
        if pairs:
            comparisons.append(_compared(kind.name, pairs))
    return tuple(comparisons)


def _compared(kind: str, pairs: Sequence[tuple[Sequence[float], Sequence[float]]]) -> Comparison:
    import numpy as np

    stored = np.array([pair[0] for pair in pairs], dtype=np.float64)
    encoded = np.array([pair[1] for pair in pairs], dtype=np.float64)
    lengths = np.linalg.norm(stored, axis=1), np.linalg.norm(encoded, axis=1)
    alike = stored.shape == encoded.shape
    cosines = (stored * encoded).sum(axis=1) / (lengths[0] * lengths[1]) if alike else np.zeros(len(pairs))
    return Comparison(
        kind,
        len(pairs),
        stored.shape[1],
        encoded.shape[1],
        float(np.median(cosines)),
        float(cosines.min()),
        float(np.median(lengths[0])),
        float(np.median(lengths[1])),
    )


def judge(comparisons: tuple[Comparison, ...]) -> Verdict:
    """The verdict on one or more comparisons."""
    for seen in comparisons:
        if seen.stored_dimension != seen.encoded_dimension:
            return Verdict(
                "different",
                f"not the same model ({seen.kind}: the table's vectors have {seen.stored_dimension} numbers, the"
                f" functions' {seen.encoded_dimension})",
                comparisons,
            )
        if not seen.same:
            return Verdict(
                "different", f"not the same model ({seen.kind}: cosine {seen.median_cosine:.2f})", comparisons
            )
    least = min(seen.median_cosine for seen in comparisons)
    for seen in comparisons:
        if not seen.same_norm:
            return Verdict(
                "not_normalised",
                f"same model (cosine {least:.4f}), but not normalised alike: the table's {seen.kind} have vectors of"
                f" length {seen.stored_norm:.3f}, the functions give {seen.encoded_norm:.3f}; search with"
                " cosineDistance only",
                comparisons,
            )
    return Verdict("same", f"same model (cosine {least:.4f})", comparisons)


def _origin(comment: str, filled: ModelLabel | None, checked: ModelLabel | None) -> str:
    said = f"this table says it was filled by {filled}" if filled else f"this table says only: {comment}"
    said = said if comment else "this table does not say which model filled it"
    return f"{said}; the model checked is {checked or 'one that this server does not name'}"
