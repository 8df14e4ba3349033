"""TabSeparated: every escape, every division of the pipe, exact numbers."""

from __future__ import annotations

import numpy as np
import orjson
import pytest
from hypothesis import given
from hypothesis import strategies as st

from clip_udfs.errors import ProtocolError
from clip_udfs.pipe.tab_separated import TabSeparatedReader, TabSeparatedWriter, unescape
from clip_udfs.pipe.wire import Oversized, Sized
from tests.pipes import source, vectors

LIMIT = 1000
WRITER = TabSeparatedWriter()


def escape(value: bytes) -> bytes:
    """What ClickHouse writes for a string in TabSeparated (WriteHelpers, writeAnyEscapedString)."""
    for byte, written in (
        (b"\\", b"\\\\"),
        (b"\n", b"\\n"),
        (b"\t", b"\\t"),
        (b"\0", b"\\0"),
        (b"\r", b"\\r"),
        (b"\b", b"\\b"),
        (b"\f", b"\\f"),
        (b"'", b"\\'"),
    ):
        value = value.replace(byte, written)
    return value


@given(st.binary())
def test_unescape_undoes_what_clickhouse_escapes(value: bytes) -> None:
    assert unescape(escape(value)) == value


@given(st.lists(st.lists(st.none() | st.binary(max_size=60), max_size=5), max_size=4), st.integers(1, 7))
def test_tab_separated_blocks_survive_any_division(blocks: list[list[bytes | None]], step: int) -> None:
    data = b"".join(
        b"%d\n" % len(rows) + b"".join(b"\\N\n" if row is None else escape(row) + b"\n" for row in rows)
        for rows in blocks
    )
    reader = TabSeparatedReader(source(data, step), LIMIT)
    assert [[reader.value() for _ in range(count)] for count in iter(reader.next_block, None)] == blocks


def test_a_value_that_is_too_long_is_counted_and_the_next_one_is_right() -> None:
    long = b"x" * 5_000_000
    reader = TabSeparatedReader(source(b"3\na\n" + long + b"\nb\n", 65536), LIMIT)
    assert reader.next_block() == 3
    assert [reader.value() for _ in range(3)] == [b"a", Oversized(len(long)), b"b"]


def test_a_long_value_does_not_stay_in_memory() -> None:
    import tracemalloc

    reader = TabSeparatedReader(source(b"1\n" + b"x" * 50_000_000 + b"\n", 65536), LIMIT)
    assert reader.next_block() == 1
    tracemalloc.start()
    assert reader.value() == Oversized(50_000_000)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < 1_000_000


@pytest.mark.parametrize("data", [b"cat\n", b"-1\n", b"1x\n", b"\n", b"5", b"9" * 40 + b"\n"])
def test_without_a_block_header_the_message_says_what_the_xml_needs(data: bytes) -> None:
    with pytest.raises(ProtocolError, match="send_chunk_header"):
        TabSeparatedReader(source(data), LIMIT).next_block()


def test_an_end_in_the_middle_of_a_block_and_a_second_column_are_errors() -> None:
    reader = TabSeparatedReader(source(b"2\na\n"), LIMIT)
    assert (reader.next_block(), reader.value()) == (2, b"a")
    with pytest.raises(ProtocolError, match="middle of a block"):
        reader.value()
    columns = TabSeparatedReader(source(b"1\na\tb\n"), LIMIT)
    assert columns.next_block() == 1
    with pytest.raises(ProtocolError, match="one argument"):
        columns.value()


def test_numbers_come_back_bit_for_bit() -> None:
    wanted = vectors(40)
    lines = WRITER.vectors(wanted).split(b"\n")
    assert lines.pop() == b""
    back = np.array([orjson.loads(line) for line in lines], np.float32)
    assert back.tobytes() == wanted.matrix.tobytes()


def test_a_missing_vector_is_an_empty_array_in_its_place() -> None:
    wanted = vectors(3, missing=(1,))
    lines = WRITER.vectors(wanted).splitlines()
    assert (len(lines), lines[1]) == (3, b"[]")
    assert orjson.loads(lines[2]) == [float(str(x)) for x in wanted.matrix[2]]
    assert WRITER.vectors(vectors(2, missing=(0, 1))) == b"[]\n[]\n"


@pytest.mark.parametrize("step", [1, 1 << 20])
def test_a_row_of_two_columns_has_a_value_and_a_number(step: int) -> None:
    """Whatever the value contains."""
    value = b"a\tb\\c\n\0"
    text = b"2\n" + escape(value) + b"\t320\n\\N\t7\n"
    reader = TabSeparatedReader(source(text, step), LIMIT)
    assert (reader.next_block(), reader.sized(), reader.sized()) == (2, Sized(value, 320), Sized(None, 7))


def test_a_value_over_the_limit_keeps_the_rows_after_it_in_step() -> None:
    """Its size column is skipped with it."""
    long = b"x" * (2 * LIMIT + 1)
    reader = TabSeparatedReader(source(b"2\n" + long + b"\t320\nshort\t7\n"), LIMIT)
    assert reader.next_block() == 2
    assert isinstance(reader.sized().value, Oversized)
    assert reader.sized() == Sized(b"short", 7)


@pytest.mark.parametrize("line", [b"value", b"value\t", b"value\tx", b"a\tb\t3", b"value\t-1"])
def test_a_row_without_its_number_is_a_protocol_error(line: bytes) -> None:
    """Nothing is guessed."""
    reader = TabSeparatedReader(source(b"1\n" + line + b"\n"), LIMIT)
    reader.next_block()
    with pytest.raises(ProtocolError, match="two columns"):
        reader.sized()
