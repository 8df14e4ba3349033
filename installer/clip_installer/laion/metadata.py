"""The metadata of a part: a Parquet file's columns under the table's names and types, a batch at a time."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from clip_installer.errors import ImportRefused, first_line

# The table's columns, with the names used by LAION's releases, img2dataset and clip-retrieval, best first.
_TEXTS = {
    "url": ("url", "image_path"),
    "caption": ("caption", "text"),
    "NSFW": ("NSFW",),
    "LICENSE": ("LICENSE",),
}
_NUMBERS = {"similarity": ("similarity",), "width": ("width",), "height": ("height",)}
_LARGEST_SIZE = 2**32 - 1


@dataclass(frozen=True)
class MetadataFile:
    """One Parquet file with a row for each image.

    Attributes:
        path: The file.
        rows: Number of rows, from its footer.
        columns: The table's column names with the file's names for them; a caption that the file lacks is NULL.
    """

    path: Path
    rows: int
    columns: dict[str, str]

    @classmethod
    def open(cls, path: Path) -> MetadataFile:
        """Read and check the footer of ``path``.

        Raises:
            ImportRefused: It is not Parquet, has neither url nor image_path, or has a column twice or of the wrong
                type.
        """
        with _refusing(path), _parquet(path) as file:
            schema = file.schema_arrow
            rows = file.metadata.num_rows
        columns = {}
        for column, names in {**_TEXTS, **_NUMBERS}.items():
            found = next((name for one in names if (name := _spelled(path, one, schema.names))), None)
            if found is None:
                if column == "url":
                    there = ", ".join(schema.names)
                    raise ImportRefused(f"{path}: there is no column url, nor image_path; it has {there}")
                continue
            kind = schema.field(found).type
            if not (_is_text(kind) if column in _TEXTS else _is_number(kind)):
                expected = "text" if column in _TEXTS else "a number"
                raise ImportRefused(f"{path}: column {found} is {kind}, expected {expected}")
            columns[column] = found
        return cls(path, rows, columns)

    def read(self, batch_rows: int, start: int = 0) -> Iterator[pa.Table]:
        """Rows from ``start`` on, as tables of exactly ``batch_rows`` rows; the last one has the rest.

        Row groups before ``start`` are not decoded; of the others, one batch is in memory at a time. Text
        arrives as the file's own bytes; NULL stays NULL in the caption and becomes '' or 0 elsewhere.

        Raises:
            ImportRefused: A page of the file is damaged.
        """
        with _refusing(self.path), _parquet(self.path) as file:
            groups, skip = _groups_from(file, start)
            held: list[pa.Table] = []
            wanted = list(self.columns.values())
            for record in file.iter_batches(batch_rows, row_groups=groups, columns=wanted, use_threads=False):
                dropped = min(skip, record.num_rows)
                skip -= dropped
                held.append(self._in_table_types(record.slice(dropped)))
                while sum(table.num_rows for table in held) >= batch_rows:
                    joined = pa.concat_tables(held)
                    yield joined.slice(0, batch_rows)
                    held = [joined.slice(batch_rows)]
            rest = pa.concat_tables(held) if held else None
            if rest is not None and rest.num_rows:
                yield rest

    def check(self, batch_rows: int) -> None:
        """Decode every page once, keeping nothing.

        Raises:
            ImportRefused: A page is damaged, or there are fewer rows than the footer says.
        """
        decoded = sum(table.num_rows for table in self.read(batch_rows))
        if decoded != self.rows:
            raise ImportRefused(f"{self.path}: {decoded} rows but its footer promises {self.rows}")

    def _in_table_types(self, record: pa.RecordBatch) -> pa.Table:
        arrays = {}
        for column, source in self.columns.items():
            values = record.column(source)
            if pa.types.is_dictionary(values.type):
                values = values.dictionary_decode()
            if pa.types.is_string_view(values.type):
                values = values.cast(pa.string())
            elif pa.types.is_binary_view(values.type):
                values = values.cast(pa.binary())
            if column == "caption":
                arrays[column] = values.cast(pa.binary())
            elif column in _TEXTS:
                arrays[column] = pc.fill_null(values.cast(pa.binary()), b"")
            elif column == "similarity":
                arrays[column] = pc.fill_null(values.cast(pa.float32(), safe=False), 0.0)
            else:
                arrays[column] = _sizes(values)
        arrays.setdefault("caption", pa.nulls(record.num_rows, pa.binary()))
        return pa.table(arrays)


def _spelled(path: Path, column: str, names: list[str]) -> str | None:
    """How a file spells ``column``: exactly if possible, otherwise in its only other case.

    Raises:
        ImportRefused: There are several spellings and none is exact, or the exact one exists twice.
    """
    exact = [name for name in names if name == column]
    found = exact or [name for name in names if name.lower() == column.lower()]
    if len(found) > 1:
        raise ImportRefused(f"{path}: {' and '.join(found)} could both be the column {column}; rename one of them")
    return found[0] if found else None


def _sizes(values: pa.Array) -> pa.Array:
    """Pixels as UInt32; impossible sizes (NULL, NaN, negative) become 0."""
    numbers = values.cast(pa.float64(), safe=False)
    possible = pc.and_(pc.greater_equal(numbers, 0.0), pc.less_equal(numbers, float(_LARGEST_SIZE)))
    return pc.if_else(pc.fill_null(possible, False), numbers, 0.0).cast(pa.uint32(), safe=False)


def _is_text(kind: pa.DataType) -> bool:
    if pa.types.is_dictionary(kind):
        kind = kind.value_type
    return bool(
        pa.types.is_string(kind)
        or pa.types.is_string_view(kind)
        or pa.types.is_binary_view(kind)
        or pa.types.is_fixed_size_binary(kind)
        or pa.types.is_large_string(kind)
        or pa.types.is_binary(kind)
        or pa.types.is_large_binary(kind)
        or pa.types.is_null(kind)
    )


def _is_number(kind: pa.DataType) -> bool:
    if pa.types.is_dictionary(kind):
        kind = kind.value_type
    return bool(
        pa.types.is_integer(kind) or pa.types.is_floating(kind) or pa.types.is_decimal(kind) or pa.types.is_null(kind)
    )


def _groups_from(file: pq.ParquetFile, start: int) -> tuple[list[int], int]:
    """Row groups with rows from ``start`` on, and how many rows of the first one come before it."""
    first = 0
    while first < file.num_row_groups and start >= (rows := file.metadata.row_group(first).num_rows):
        start -= rows
        first += 1
    return list(range(first, file.num_row_groups)), start


def _parquet(path: Path) -> pq.ParquetFile:
    # A buffer instead of pre_buffer, so that a column of a large row group is read page by page.
    return pq.ParquetFile(path, pre_buffer=False, buffer_size=1 << 20)


@contextmanager
def _refusing(path: Path) -> Iterator[None]:
    try:
        yield
    except (pa.ArrowException, OSError) as error:
        raise ImportRefused(f"{path}: cannot be read as Parquet: {first_line(error)}") from error
