"""How pending pictures are divided into statements."""

from __future__ import annotations

from itertools import islice

import pytest

from clip_installer.pictures.indexer import LANES, Pace


def test_the_first_statements_differ_in_length_and_so_end_in_turns() -> None:
    """Statements that end together leave no worker a block while they write their rows."""
    lengths = list(islice(Pace(workers=2).lengths(100_000), LANES + 2))
    assert sorted(set(lengths[:LANES])) == lengths[:LANES]
    assert lengths[LANES:] == [lengths[LANES - 1]] * 2


@pytest.mark.parametrize("total", [0, 1, 5, 1000, 4321])
def test_the_last_statements_are_short_and_all_rows_have_one(total: int) -> None:
    pace = Pace(workers=2)
    lengths = list(pace.lengths(total))
    assert sum(lengths) == total
    assert not lengths or lengths[-1] <= pace.block * pace.workers


@pytest.mark.parametrize("rate", [0.5, 20, 3000])
def test_a_statement_gives_every_worker_several_blocks(rate: float) -> None:
    pace = Pace(workers=2)
    pace.learn(1000, LANES * 1000 / rate)
    assert pace.rows >= 4 * pace.workers * pace.block
