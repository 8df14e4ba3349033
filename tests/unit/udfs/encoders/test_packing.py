"""Packing: every row can be read back from its nodes, and nothing is stored twice."""

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from clip_udfs.encoders.packing import ENDS, ORIGINS, PLACES, POSITIONS, TOKENS, pack

START, END = 90, 91
texts = st.lists(st.lists(st.integers(1, 3), max_size=6).map(tuple), min_size=1, max_size=12)


@given(texts)
def test_the_nodes_are_the_distinct_beginnings_of_the_rows(found: list[tuple[int, ...]]) -> None:
    rows = [(START, *text, END) for text in found]
    batch = np.zeros((len(rows), max(map(len, rows)) + 1), np.int64)
    for line, row in zip(batch, rows, strict=True):
        line[: len(row)] = row
    packed = pack(batch, END)
    assert len(packed[TOKENS]) == len({row[:stop] for row in rows for stop in range(1, len(row) + 1)})
    for row, places, end in zip(rows, packed[PLACES], packed[ENDS], strict=True):
        path = places[: len(row)]
        assert tuple(packed[TOKENS][path]) == row
        assert packed[POSITIONS][path].tolist() == list(range(len(row)))
        assert path[-1] == end
    assert packed[PLACES].reshape(-1)[packed[ORIGINS]].tolist() == list(range(len(packed[TOKENS])))


def test_one_row_has_a_node_for_each_of_its_tokens_and_none_for_padding() -> None:
    packed = pack(np.array([[START, 7, 7, END, 0, 0]]), END)
    assert packed[TOKENS].tolist() == [START, 7, 7, END]
    assert packed[ENDS].tolist() == [3]
