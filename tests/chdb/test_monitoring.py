"""What a DBA looks at: the monitoring views on an engine that has answered, waited and failed."""

from __future__ import annotations

import re
from collections.abc import Iterator

import pytest
import yaml

from clip_installer.tables.monitoring import monitoring_objects
from clip_installer.tables.schema import SchemaParameters
from clip_udfs.functions import FUNCTIONS
from tests import documents
from tests.chdb.conftest import make_tree
from tests.chdb.driver import Engine, QueryFailed

LOG = "<query_log><database>system</database><table>query_log</table></query_log></clickhouse>"
# What an analyst can make a failed query say, code and all.
IMITATION = "'Child process was exited with return code 1: Stderr: encode_text: the disk is full'"
ANY_CODE = "allow_custom_error_code_in_throwif = 1"


@pytest.fixture(scope="module")
def watched(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Engine]:
    """An engine with the small model, the views, and some queries behind it."""
    tree = make_tree(tmp_path_factory.mktemp("watched"))
    tree.main_file.write_text(tree.main_file.read_text().replace("</clickhouse>", LOG))
    tree.install("--image-root", str(tree.pictures), "--no-ddl")
    engine = tree.engine()
    engine.rows("SYSTEM FLUSH LOGS")
    for view in monitoring_objects(SchemaParameters()):
        engine.rows(view.statement.sql)
    engine.rows("SELECT length(encode_text(toString(number))) FROM numbers(20)")
    for picture in ("none-1.png", "none-2.png"):
        with pytest.raises(QueryFailed):
            engine.rows(f"SELECT encode_image('{picture}')")
    with pytest.raises(QueryFailed):
        engine.rows("SELECT encode_image_bytes(concat('<html>', toString(number))) FROM numbers(2)")
    with pytest.raises(QueryFailed):
        engine.rows(f"SELECT throwIf(length(encode_text('a')) > 0, {IMITATION}, 302::Int16) SETTINGS {ANY_CODE}")
    engine.rows("SYSTEM FLUSH LOGS")
    yield engine
    assert engine.close() == 0


def test_what_is_loaded(watched: Engine) -> None:
    rows = watched.rows(
        "SELECT name, load_status, model, pool_size, silence_milliseconds FROM clip_functions ORDER BY 1"
    )
    assert rows == [(name, "Success", "emoji", 2, 60_000) for name in sorted(FUNCTIONS)]


def test_counters_since_the_start(watched: Engine) -> None:
    ((calls, seconds, sent, received, started),) = watched.rows(
        "SELECT calls, seconds, bytes_sent, bytes_received, workers_started FROM clip_counters"
    )
    assert int(calls) >= 4
    assert seconds > 0
    assert int(received) > int(sent) > 0
    assert int(started) >= 3


def test_which_queries_encoded(watched: Engine) -> None:
    ((functions, encoding, cause),) = watched.rows(
        "SELECT functions, encoding_milliseconds, cause FROM clip_queries"
        " WHERE query LIKE '%numbers(20)%' AND exception_code = 0"
    )
    assert functions == ["encode_text"]
    assert encoding > 0
    assert cause == ""
    others = "WHERE query LIKE '%CREATE OR REPLACE VIEW%'"
    assert watched.value(f"SELECT count() FROM system.query_log {others}") > 0
    assert watched.value(f"SELECT count() FROM clip_queries {others}") == 0


def test_each_cause_is_one_row_and_an_imitation_is_none(watched: Engine) -> None:
    assert watched.value("SELECT count() FROM clip_queries WHERE exception LIKE '%the disk is full%'") == 1
    failures = {
        message: int(queries) for message, queries in watched.rows("SELECT message, queries FROM clip_failures")
    }
    assert failures == {
        "encode_image: row …: …: no such file in the directories that encode_image may read": 2,
        "encode_image_bytes: row …: … bytes: not an image in a format that is read"
        " (JPEG, PNG, WEBP, GIF, BMP, TIFF, AVIF)": 1,
    }


def test_a_signal_is_a_cause_and_keeps_its_number(watched: Engine) -> None:
    """The view's own expressions, applied to exceptions as ClickHouse writes them."""
    (view,) = [one.statement.sql for one in monitoring_objects(SchemaParameters()) if one.name == "clip_queries"]
    given = {
        "Code: 302. DB::Exception: Child process was terminated by signal 9: while executing": (
            "Child process was terminated by signal 9"
        ),
        "Code: 1. DB::Exception: Executable file clip_udfs/emoji/launch does not exist inside user scripts folder": (
            "Executable file clip_udfs/emoji/launch does not exist"
        ),
        "Code: 302. DB::Exception: Received from host:9000. DB::Exception: Child process was exited with return code 1:"
        " Stderr: encode_text: row 1: NULL cannot be encoded: While executing FunctionToAggregate": (
            "encode_text: row 1: NULL cannot be encoded"
        ),
        "Code: 754. DB::Exception: User defined function 'encode_text' failed. Command: 'a/launch', Arguments: [\"b\"]."
        " Original error: Code: 32. DB::Exception: Attempt to read after eof: (while reading header): While": (
            "Attempt to read after eof: (while reading header)"
        ),
        "Code: 32. DB::Exception: Attempt to read after eof: (at row 3): While executing BinaryRowInputFormat": "",
        "Code: 62. DB::Exception: Syntax error": "",
    }
    rows = ", ".join("('" + said.replace("'", "\\'") + "')" for said in given)
    definitions = view.partition("WITH\n")[2].partition("SELECT")[0].rstrip()
    cause = view.partition("exception_code,")[2].partition(" AS cause")[0].strip()
    found = watched.rows(f"WITH\n{definitions}\nSELECT {cause} FROM values('exception String', {rows})")
    assert [cause for (cause,) in found] == list(given.values())


def test_the_alert_rules_name_counters_that_the_server_has(watched: Engine) -> None:
    page = (documents.REPOSITORY / "docs/monitoring.md").read_text(encoding="utf-8")
    (block,) = [one.code for one in documents.blocks("docs/monitoring.md") if one.language == "yaml"]
    rules = yaml.safe_load(block)["groups"][0]["rules"]
    assert all({"alert", "expr", "for", "labels", "annotations"} == set(rule) for rule in rules)
    counters = set(re.findall(r"ClickHouse(ProfileEvents|Metrics)_(\w+)", page))
    assert len(counters) == 4
    for kind, name in counters:
        table, column = ("system.metrics", "metric") if kind == "Metrics" else ("system.events", "event")
        assert watched.value(f"SELECT count() FROM {table} WHERE {column} = '{name}'") == 1, name
