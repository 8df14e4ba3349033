"""The small form of tests/own_pictures.py: 300 pictures, killed twice, resumed, changed."""

from __future__ import annotations

from tests.own_pictures import demonstrate
from tests.server.running import RunningServer


def test_no_picture_is_lost_or_double_when_a_run_is_killed(server: RunningServer) -> None:
    """And the command holds little memory, however it is asked."""
    runs = demonstrate(server, server.place.pictures / "own", 300)
    assert max(one.peak for one in runs) < 300e6
