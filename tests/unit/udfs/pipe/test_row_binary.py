"""RowBinaryWithNamesAndTypes: what each ClickHouse sends, every division of the pipe, and what is no String."""

from __future__ import annotations

import struct
from datetime import datetime

import pytest
from hypothesis import given
from hypothesis import strategies as st

from clip_udfs.errors import ProtocolError
from clip_udfs.images.answers import ImageInfo
from clip_udfs.pipe.row_binary import RowBinaryReader, RowBinaryWriter
from clip_udfs.pipe.wire import Oversized, Sized, Value
from tests import row_binary_blocks
from tests.pipes import source, vectors
from tests.row_binary_blocks import block, leb128, string, texts

LIMIT = 1000
WRITER = RowBinaryWriter("embedding", "Array(Float32)")


def values(data: bytes, step: int = 1 << 20) -> list[list[Value]]:
    """The values of all blocks of ``data``."""
    reader = RowBinaryReader(source(data, step), LIMIT)
    found = []
    for rows in iter(reader.next_block, None):
        reader.read_columns()
        found.append([reader.value() for _ in range(rows)])
    return found


def pairs(data: bytes, step: int = 1 << 20) -> list[Sized]:
    """The rows of a block of two columns."""
    reader = RowBinaryReader(source(data, step), LIMIT, columns=2)
    rows = reader.next_block() or 0
    reader.read_columns()
    return [reader.sized() for _ in range(rows)]


# Recorded from 25.8 and 26.9: one row, '7' or NULL, as different types.
@pytest.mark.parametrize(
    ("sent", "value"),
    [
        (b"\x01\x04text\x06String\x017", b"7"),
        (b"\x01\x04text\x10Nullable(String)\x00\x017", b"7"),
        (b"\x01\x04text\x10Nullable(String)\x01", None),
        (b"\x01\x04text\x11Nullable(Nothing)\x01", None),
        (b"\x01\x04text\x0eFixedString(3)7\x00\x00", b"7"),
    ],
)
def test_what_clickhouse_sends_is_read_by_its_type(sent: bytes, value: bytes | None) -> None:
    """Before 26.7 an argument arrives as it is in the query, whatever type is declared."""
    assert values(b"1\n" + sent) == [[value]]


@given(st.lists(st.lists(st.none() | st.binary(max_size=300), min_size=1), max_size=4), st.integers(1, 7))
def test_blocks_survive_any_division(blocks: list[list[bytes | None]], step: int) -> None:
    assert values(b"".join(texts(*rows) for rows in blocks), step) == blocks


@pytest.mark.parametrize("step", [1, 1 << 20])
def test_a_row_of_two_columns_has_a_value_and_a_number(step: int) -> None:
    """Whatever the value contains, and however long it is."""
    long = b"x" * (LIMIT + 1)
    rows = [
        b"\0" + string(one) + struct.pack("<I", size) for one, size in ((b"a\tb\\c\n\0", 320), (long, 64), (b"z", 7))
    ]
    sent = block(["Nullable(String)", "UInt32"], *rows, b"\1" + struct.pack("<I", 9))
    assert pairs(sent, step) == [
        Sized(b"a\tb\\c\n\0", 320),
        Sized(Oversized(len(long)), 64),
        Sized(b"z", 7),
        Sized(None, 9),
    ]


@pytest.mark.parametrize(
    ("kind", "sent", "size"),
    [
        ("UInt8", b"\x40", 64),
        ("Int8", b"\xff", -1),
        ("Int64", struct.pack("<q", 64), 64),
        ("Nullable(UInt16)", b"\0" + struct.pack("<H", 320), 320),
    ],
)
def test_a_size_is_any_integer(kind: str, sent: bytes, size: int) -> None:
    """A constant 64 is a UInt8 before 26.7."""
    assert pairs(block(["String", kind], b"\1a" + sent)) == [Sized(b"a", size)]


@pytest.mark.parametrize(
    ("kind", "sent", "reason"),
    [
        ("Nullable(UInt8)", b"\1", "size is NULL in row 1: give a number"),
        ("String", b"\x0264", "size is of the type 'String', not an integer: use toUInt32"),
    ],
)
def test_what_is_no_size_is_refused(kind: str, sent: bytes, reason: str) -> None:
    with pytest.raises(ProtocolError, match=reason):
        pairs(block(["String", kind], b"\1a" + sent))


@pytest.mark.parametrize("kind", ["UInt8", "Array(String)", "Variant(String, UInt8)", "Enum8('a\nb' = 1)", "Dynamic"])
def test_a_type_that_is_no_string_is_an_error_and_never_a_guess(kind: str) -> None:
    """For the functions that answer bad rows with [] as well: this is no bad row."""
    with pytest.raises(ProtocolError, match=r"^text is of the type '.*', which .*: use toString$"):
        values(block([kind], b"7" * 20))


@pytest.mark.parametrize("binary", [b"\x15", b"\x23\x15", b"\x16\x03", b"\x00", b"\x15\x46"])
def test_types_in_binary_are_an_error_and_not_waited_for(binary: bytes) -> None:
    """A setting of the query sends them; the bytes after them are the values."""
    with pytest.raises(ProtocolError, match="output_format_binary_encode_types_in_binary_format = 0"):
        values(b"1\n\1" + string(b"text") + binary + b"x" * 70)


def test_a_value_that_is_too_long_is_counted_and_the_next_one_is_right() -> None:
    long = b"x" * 5_000_000
    assert values(texts(b"a", long, b"b"), 65536) == [[b"a", Oversized(len(long)), b"b"]]


@pytest.mark.parametrize(
    ("sent", "reason"),
    [
        (texts(b"cat", b"dog")[:-1], "the input ended in the middle of a block"),
        (block(["String", "UInt8"], b"\3cat\x40"), "a row has 2 columns: this function takes 1"),
        (b"1\n" + b"\xff" * 20, "more than 64 bits"),
        (b"1\n\1" + leb128(1 << 40), "a column's name has 1099511627776 bytes"),
        (b"cat\n", "send_chunk_header"),
    ],
)
def test_what_is_no_block_is_a_protocol_error(sent: bytes, reason: str) -> None:
    with pytest.raises(ProtocolError, match=reason):
        values(sent)


def test_numbers_are_the_same_bytes() -> None:
    wanted = vectors(40)
    found = row_binary_blocks.vectors(WRITER.header + WRITER.vectors(wanted))
    assert [struct.pack("<512f", *one) for one in found] == [row.tobytes() for row in wanted.matrix]


def test_a_missing_vector_is_an_empty_array_in_its_place() -> None:
    found = row_binary_blocks.vectors(WRITER.header + WRITER.vectors(vectors(3, missing=(1,))))
    assert [len(one) for one in found] == [512, 0, 512]
    assert found[2] == tuple(vectors(3).matrix[2].tolist())


def test_thumbnails_are_strings_and_infos_tuples() -> None:
    assert WRITER.images([b"", b"ab"]) == b"\0\2ab"
    assert WRITER.images(
        [ImageInfo(3, 4, "PNG", "RGB", 1, datetime(1970, 1, 2), 5), ImageInfo(reason="é")]
    ) == b"".join(
        (
            struct.pack("<2I", 3, 4) + b"\3PNG\3RGB\1\0" + struct.pack("<qQ", 86400, 5) + b"\0",
            bytes(8) + b"\0\0\0\1" + bytes(8) + b"\2\xc3\xa9",
        )
    )
