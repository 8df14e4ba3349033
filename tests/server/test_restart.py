"""A server that is stopped and started while functions are installed, and one that a table keeps from starting."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from tests.server.running import ServerPlace, start_server

QUESTION = "SELECT encode_text('cat')"
NOTES = """
CREATE TABLE notes (note String, INDEX i length(encode_text(note)) TYPE minmax) ENGINE = MergeTree ORDER BY tuple()
"""


def test_a_server_is_stopped_and_started_and_recovered(tmp_path: Path) -> None:
    """Functions survive a restart; a table whose index has one does not, and docs/dba.md says how to recover it."""
    place = ServerPlace.make(tmp_path)
    server = start_server(place)
    server.install("--no-ddl")
    vector = server.rows(QUESTION)
    (definition,) = place.config.glob("encode_text_function.xml")  # as a version before this one installed it
    definition.write_text(definition.read_text().replace("<deterministic>0", "<deterministic>1"))
    assert server.stop() == 0

    server = start_server(place)
    assert server.rows(QUESTION) == vector
    server.rows(NOTES)
    server.rows("INSERT INTO notes VALUES ('kept')")
    assert server.stop() == 0
    with pytest.raises(AssertionError, match=r"encode_text.*UNKNOWN_FUNCTION"):
        start_server(place)

    metadata = place.data / "metadata/default/notes.sql"
    metadata.write_text(re.sub(r",?\n[^\n]*INDEX i [^\n]*", "", metadata.read_text()))
    server = start_server(place)
    assert server.rows("SELECT note FROM notes") == [("kept",)]
    assert server.rows(QUESTION) == vector
    assert server.stop() == 0
