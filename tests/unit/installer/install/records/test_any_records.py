"""Records and journals with any value replaced by any other: accepted, or refused in one line, never used blindly."""

from __future__ import annotations

import json
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from clip_installer.install.disk.disk import Disk
from clip_installer.server.config import ServerConfig
from tests.fuzz import documents
from tests.fuzz.__main__ import DOCUMENTS, starting_points
from tests.fuzz.target import TRIED
from tests.server_trees import make_config

JSON = st.recursive(
    st.none()
    | st.booleans()
    | st.integers()
    | st.floats()
    | st.text(max_size=20)
    | st.sampled_from(["/etc/shadow", "/", "..", "/var/lib/../../etc/x_function.xml", "\x1b[2J", "~", "//"]),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=8), inner, max_size=4),
    max_leaves=8,
)


@pytest.fixture(scope="module")
def disk(tmp_path_factory: pytest.TempPathFactory) -> Disk:
    """A server with nothing installed."""
    return Disk(ServerConfig.read(make_config(tmp_path_factory.mktemp("server"))))


def exchanged(data: st.DataObject, values: Any) -> bytes:
    """``values`` with one value, somewhere, replaced by any other."""
    place, key = values, data.draw(st.sampled_from(sorted(values)))
    while place[key] and isinstance(place[key], (dict, list)) and data.draw(st.integers(0, 3)):
        place = place[key]
        key = data.draw(st.sampled_from(sorted(place) if isinstance(place, dict) else range(len(place))))
    place[key] = data.draw(JSON)
    return json.dumps(values).encode()


@settings(max_examples=300, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(data=st.data())
def test_any_records(disk: Disk, data: st.DataObject) -> None:
    """Accepted records name no path outside this installation's places."""
    content = exchanged(data, json.loads(documents.sound_records(disk)[0].to_json()))
    assert documents.records(content, disk)[0] == ""


@settings(max_examples=300, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(data=st.data())
def test_any_journal(disk: Disk, data: st.DataObject) -> None:
    """An accepted journal changes no file outside this installation's places."""
    content = exchanged(data, json.loads(documents.sound_records(disk)[1].to_json()))
    assert documents.journal(content, disk)[0] == ""


@pytest.mark.parametrize("what", DOCUMENTS)
def test_what_the_fuzzer_starts_from_is_accepted(what: str) -> None:
    assert {TRIED[what](content).kind for content in starting_points()[what]} == {"answered"}
