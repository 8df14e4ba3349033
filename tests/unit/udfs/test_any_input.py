"""Any bytes on the pipe, and any bytes as a text: an answer or a protocol error, the same however they arrive."""

from __future__ import annotations

from hypothesis import given, settings
from hypothesis import strategies as st

from clip_udfs.pipe.tab_separated import unescape
from tests.fuzz.__main__ import STREAMS, TEXTS
from tests.fuzz.target import TRIED

ESCAPED = {b"t": b"\t", b"n": b"\n", b"0": b"\0", b"b": b"\b", b"f": b"\f", b"r": b"\r", b"'": b"'", b"\\": b"\\"}
# Bytes that mean something to a reader, so that most cases get beyond the header.
PIECES = st.sampled_from(
    [b"0\n", b"1\n", b"2\n", b"\n", b"\\N", b"\\", b"\t", b"\x01", b"\x00", b"\x80", b"\xff", b"a"]
)


def unescaped(field: bytes) -> bytes:
    """What the format's description says, a byte at a time."""
    value, place = b"", 0
    while place < len(field):
        pair = field[place : place + 2]
        if pair[:1] == b"\\" and pair[1:] in ESCAPED:
            value, place = value + ESCAPED[pair[1:]], place + 2
        else:
            value, place = value + pair[:1], place + 1
    return value


@given(st.lists(st.sampled_from([b"\\", *ESCAPED, b"N", b"x", b"\xff", b"\xc3\xa9"])).map(b"".join) | st.binary())
def test_any_escape_means_what_the_format_says(field: bytes) -> None:
    assert unescape(field) == unescaped(field)


@settings(deadline=None, max_examples=300)
@given(st.lists(PIECES, max_size=60).map(b"".join) | st.binary(max_size=300))
def test_any_stream_is_read_alike_in_one_piece_and_in_many(content: bytes) -> None:
    outcome = TRIED["wire"](content)
    assert outcome.kind != "broken", outcome.text


def test_the_streams_that_the_fuzzer_starts_from_reach_the_rows() -> None:
    assert {TRIED["wire"](content).kind for content in STREAMS} == {"answered", "refused"}


@settings(deadline=None, max_examples=200)
@given(st.binary(max_size=200) | st.text(max_size=100).map(lambda text: text.encode("utf-8", "surrogatepass")))
def test_any_bytes_as_a_text_have_tokens_that_fit(content: bytes) -> None:
    """Each byte that is no UTF-8 counts as U+FFFD, as Python's ``errors='replace'`` decodes."""
    outcome = TRIED["tokenizer"](content)
    assert outcome.kind == "answered", outcome.text


def test_so_do_the_texts_that_the_fuzzer_starts_from() -> None:
    assert {TRIED["tokenizer"](content).kind for content in TEXTS} == {"answered"}
