"""What a DBA looks at: the views of sql/monitoring on an engine that has answered, waited and failed."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from clip_installer import resources
from clip_installer.commands.sql import split_statements
from clip_udfs.functions import FUNCTIONS
from tests.chdb.conftest import make_tree
from tests.chdb.driver import Engine, QueryFailed

LOG = "<query_log><database>system</database><table>query_log</table></query_log></clickhouse>"


@pytest.fixture(scope="module")
def watched(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Engine]:
    """An engine with the small model, the views, and some queries behind it."""
    tree = make_tree(tmp_path_factory.mktemp("watched"))
    tree.main_file.write_text(tree.main_file.read_text().replace("</clickhouse>", LOG))
    tree.install("--image-root", str(tree.pictures), "--no-ddl")
    engine = tree.engine()
    for statement in split_statements((resources.sql() / "monitoring" / "views.sql").read_text(encoding="utf-8")):
        engine.rows(statement)
    engine.rows("SELECT length(encode_text(toString(number))) FROM numbers(20)")
    for picture in ("none-1.png", "none-2.png"):
        with pytest.raises(QueryFailed):
            engine.rows(f"SELECT encode_image('{picture}')")
    with pytest.raises(QueryFailed):
        engine.rows("SELECT encode_image_bytes(concat('<html>', toString(number))) FROM numbers(2)")
    engine.rows("SYSTEM FLUSH LOGS")
    yield engine
    assert engine.close() == 0


def test_the_views_are_one_file_that_any_client_can_run() -> None:
    text = Path(resources.sql() / "monitoring" / "views.sql").read_text(encoding="utf-8")
    assert not {"{{", "{%"} & {text[place : place + 2] for place in range(len(text))}


def test_what_is_loaded(watched: Engine) -> None:
    rows = watched.rows(
        "SELECT name, load_status, model, pool_size, silence_milliseconds FROM clip_functions ORDER BY 1"
    )
    assert rows == [(name, "Success", "emoji", 2, 60_000) for name in sorted(FUNCTIONS)]


def test_what_was_done_since_the_start(watched: Engine) -> None:
    ((calls, seconds, sent, received, started),) = watched.rows(
        "SELECT calls, seconds, bytes_sent, bytes_received, workers_started FROM clip_counters"
    )
    assert int(calls) >= 4
    assert seconds > 0
    assert int(received) > int(sent) > 0
    assert int(started) >= 3


def test_which_queries_encoded(watched: Engine) -> None:
    ((functions, encoding, reason),) = watched.rows(
        "SELECT functions, encoding_milliseconds, reason FROM clip_queries"
        " WHERE query LIKE '%numbers(20)%' AND exception_code = 0"
    )
    assert functions == ["encode_text"]
    assert encoding > 0
    assert reason == ""
    others = "WHERE query LIKE '%CREATE OR REPLACE VIEW%'"
    assert watched.value(f"SELECT count() FROM system.query_log {others}") > 0
    assert watched.value(f"SELECT count() FROM clip_queries {others}") == 0


def test_which_reasons_failed_calls_had(watched: Engine) -> None:
    failures = {
        message: int(queries) for message, queries in watched.rows("SELECT message, queries FROM clip_failures")
    }
    assert failures == {
        "encode_image: row …: …: no such file in the directories that encode_image may read": 2,
        "encode_image_bytes: row …: … bytes: not an image in a format that is read"
        " (JPEG, PNG, WebP, GIF, BMP, TIFF, PPM, AVIF, JPEG …)": 1,
    }
