"""How pending pictures are divided into statements."""

from __future__ import annotations

from itertools import islice

import pytest

from clip_installer.pictures.indexer import LANES, Pace


def test_the_first_statements_differ_in_length_and_so_end_in_turns() -> None:
    """Statements that end together leave no worker a block while they write their rows."""
    lengths = list(islice(Pace(workers=2).lengths(), LANES + 2))
    assert sorted(set(lengths[:LANES])) == lengths[:LANES]
    assert lengths[LANES:] == [lengths[LANES - 1]] * 2


@pytest.mark.parametrize("rate", [0.5, 20, 3000])
def test_a_statement_gives_every_worker_several_blocks(rate: float) -> None:
    pace = Pace(workers=2)
    pace.learn(1000, LANES * 1000 / rate)
    assert pace.rows >= 4 * pace.workers * pace.block
