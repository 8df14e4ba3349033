"""The small form of tests/own_pictures.py: 300 pictures, killed twice, resumed, changed."""

from __future__ import annotations

from tests.own_pictures import demonstrate
from tests.server.running import RunningServer


def test_a_killed_run_loses_and_duplicates_no_picture(server: RunningServer) -> None:
    """And the command needs little memory, however it is called."""
    runs = demonstrate(server, server.place.pictures / "own", 300)
    assert max(one.peak for one in runs) < 300e6
