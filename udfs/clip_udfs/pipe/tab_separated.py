"""TabSeparated, the format of the LAION guide: one row a line, with escapes.

ClickHouse writes and reads it with the settings of the query that calls the function, and some of them change it.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

import orjson

from clip_udfs.errors import ProtocolError
from clip_udfs.pipe.wire import ENDED, BlockReader, Oversized, Sized, Value

if TYPE_CHECKING:
    from clip_udfs.images.answers import ImageAnswer, ImageInfo
    from clip_udfs.pipe.vectors import Vectors


class TabSeparatedReader(BlockReader):
    r"""Reads one column of TabSeparated rows: escaped bytes, one row a line, ``\N`` for NULL."""

    def value(self) -> Value:
        """See :class:`Reader`.

        Raises:
            ProtocolError: The input ends inside the block, or the row has more than one column.
        """
        line = self._line()
        if not isinstance(line, Oversized) and b"\t" in line:
            raise ProtocolError("a row has more than one column: this function takes one argument")
        return self._unescaped(line)

    def sized(self) -> Sized:
        """See :class:`Reader`.

        Raises:
            ProtocolError: The input ends inside the block, or the row has not two columns, the second a number.
        """
        line = self._line()
        if isinstance(line, Oversized):
            return Sized(line, 0)
        field, _, size = line.rpartition(b"\t")
        if not size.isdigit() or b"\t" in field:
            raise ProtocolError("a row has not two columns, the second a number: this function takes two arguments")
        return Sized(self._unescaped(field), int(size))

    def _line(self) -> bytes | Oversized:
        line = self._source.line(2 * self._max_value)
        if line is None:
            raise ProtocolError(ENDED)
        # ClickHouse escapes a value's own CR, so this one is of output_format_tsv_crlf_end_of_line.
        return line if isinstance(line, Oversized) else line.removesuffix(b"\r")

    def _unescaped(self, field: bytes | Oversized) -> Value:
        if isinstance(field, Oversized) or field == b"\\N":
            return field if isinstance(field, Oversized) else None
        value = unescape(field) if b"\\" in field else field
        return Oversized(len(value)) if len(value) > self._max_value else value


_ESCAPES = (
    (b"\\n", b"\n"),
    (b"\\t", b"\t"),
    (b"\\0", b"\0"),
    (b"\\r", b"\r"),
    (b"\\b", b"\b"),
    (b"\\f", b"\f"),
    (b"\\'", b"'"),
)


def unescape(field: bytes) -> bytes:
    r"""Undo the escapes of a TabSeparated field: ``\t \n \\ \0 \b \f \r \'``.

    Escaped backslashes split the field into parts in which each remaining escape stands alone, so that every kind is
    one pass at C speed; pictures sent as bytes have tens of thousands of them.
    """
    parts = field.split(b"\\\\")
    for index, part in enumerate(parts):
        if b"\\" in part:
            for escape, byte in _ESCAPES:
                part = part.replace(escape, byte)
            parts[index] = part
    return b"\\".join(parts)


def escape(value: bytes) -> bytes:
    """A value as a TabSeparated field, with the escapes that :func:`unescape` undoes."""
    field = value.replace(b"\\", b"\\\\")
    for escaped, byte in _ESCAPES:
        field = field.replace(byte, escaped)
    return field


class TabSeparatedWriter:
    """Makes answers lines; nothing comes before those of a block."""

    header = b""

    def vectors(self, vectors: Vectors) -> bytes:
        """Rows of ``Array(Float32)``: the shortest decimals that give each float32 back exactly.

        Raises:
            EngineError: A vector is not finite.
        """
        matrix = vectors.finite()
        if vectors.present.all():
            if not len(matrix):
                return b""
            text = orjson.dumps(matrix, option=orjson.OPT_SERIALIZE_NUMPY)
            return text[1:-1].replace(b"],[", b"]\n[") + b"\n"
        return b"".join(
            (orjson.dumps(row, option=orjson.OPT_SERIALIZE_NUMPY) if present else b"[]") + b"\n"
            for row, present in zip(matrix, vectors.present, strict=True)
        )

    def images(self, answers: Sequence[ImageAnswer]) -> bytes:
        """Rows of ``String`` for bytes, of a tuple for what is known of images."""
        return b"".join((escape(one) if isinstance(one, bytes) else _info(one)) + b"\n" for one in answers)


def _info(info: ImageInfo) -> bytes:
    time = "NULL" if info.taken is None else f"'{info.taken:%Y-%m-%d %H:%M:%S}'"
    known = f"({info.width},{info.height},'{info.format}','{info.mode}',{info.orientation},{time},{info.hash},"
    return known.encode() + b"'" + escape(info.reason.encode("utf-8", "replace")) + b"')"
