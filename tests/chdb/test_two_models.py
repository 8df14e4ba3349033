"""Two models of different dimension on one server: side by side, and never mixed."""

from __future__ import annotations

import json
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from clip_installer import resources
from clip_installer.tables.label import ModelLabel, label_of_comment
from clip_installer.tables.schema import SchemaParameters, index_statements
from clip_udfs.bundle import Bundle
from clip_udfs.integrity import sha256
from tests.chdb import commands
from tests.chdb.conftest import ServerTree, make_tree
from tests.chdb.driver import Engine, QueryFailed
from tests.server_trees import snapshot

FILL = """INSERT INTO laion{0} (id, url, caption, image_embedding, text_embedding)
SELECT number, '', 'a picture of ' || toString(number) AS text, encode_text{0}('an image of it'), encode_text{0}(text)
FROM numbers(20)
"""
VIEWS = (
    "search_by_text",
    "search_by_image",
    "search_by_embedding",
    "search_captions_by_text",
    "search_captions_by_embedding",
    "search_filtered_by_text",
    "search_filtered_by_embedding",
)
NO_FILTER = "nsfw = [], licenses = [], min_width = 0, min_height = 0"
TAKES = "takes vectors of {} numbers: the COMMENT of this table names their model"
# A query that brings one model's vectors to the other's table, and what ClickHouse says.
MIXTURES = (
    (
        "INSERT INTO laion (id, image_embedding, text_embedding) SELECT 99, encode_text_small('a'), encode_text('a')",
        f"`image_embedding {TAKES.format(512)}` for table default.laion ",
    ),
    (
        "INSERT INTO laion (id, image_embedding, text_embedding) SELECT 99, encode_text('a'), encode_text_small('a')",
        f"`text_embedding {TAKES.format(512)}` for table default.laion ",
    ),
    (
        "INSERT INTO laion_small (id, image_embedding, text_embedding) SELECT 99, encode_text('a'), encode_text('a')",
        f"`image_embedding {TAKES.format(256)}` for table default.laion_small ",
    ),
    ("INSERT INTO indexed SELECT 99, encode_text_small('a')", "have 256 elements, expects 512 elements"),
    (
        "SELECT id FROM laion ORDER BY cosineDistance(image_embedding, encode_text_small('a')) LIMIT 2",
        "the reference vector in the query (256) does not match the dimension in the index (512)",
    ),
    (
        "SELECT id FROM laion_small ORDER BY cosineDistance(text_embedding, encode_text('a')) LIMIT 2",
        "the reference vector in the query (512) does not match the dimension in the index (256)",
    ),
    (
        "SELECT id FROM search_by_embedding(embedding = encode_text_small('a'), k = 2)",
        "embedding must have 512 numbers: this view searches CLIP vectors of tiny-clip-random, 512 numbers, bundle ",
    ),
    (
        "SELECT id FROM search_captions_by_embedding_small(embedding = encode_text('a'), k = 2)",
        "embedding must have 256 numbers: this view searches CLIP vectors of tiny-clip-256-random, 256 numbers, bundle",
    ),
    (
        f"SELECT id FROM search_filtered_by_embedding(embedding = encode_text_small('a'), k = 2, {NO_FILTER})",
        "embedding must have 512 numbers: this view searches CLIP vectors of tiny-clip-random, 512 numbers, bundle ",
    ),
)


@contextmanager
def running(server: ServerTree) -> Iterator[Engine]:
    engine = server.engine()
    yield engine
    assert engine.close() == 0


def install(server: ServerTree, *arguments: object) -> commands.Finished:
    where = ("--embedded", "--server-config", server.config, "--data", server.data, "--image-root", server.pictures)
    return commands.run("install", *where, *arguments)


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory, tiny_bundle: Path, small_bundle: Path) -> ServerTree:
    """A server with a model of 512 numbers, and one of 256 under the suffix ``small``; 20 rows and indexes of each."""
    server = make_tree(tmp_path_factory.mktemp("two"))
    for arguments in (("--model", tiny_bundle), ("--model", small_bundle, "--suffix", "small")):
        done = install(server, *arguments)
        assert done.status == 0, done.error
    with running(server) as engine:
        for suffix, dimension in (("", 512), ("_small", 256)):
            engine.rows(FILL.format(suffix))
            for statement in index_statements(SchemaParameters(table=f"laion{suffix}", dimension=dimension, m=8)):
                engine.rows(f"{statement.sql} SETTINGS mutations_sync = 2")
        engine.rows(
            "CREATE TABLE indexed (id Int64, v Array(Float32), INDEX i v TYPE"
            " vector_similarity('hnsw', 'cosineDistance', 512)) ENGINE = MergeTree ORDER BY id"
        )
    return server


def test_both_answer_side_by_side_and_name_their_model(
    server: ServerTree, tiny_bundle: Path, small_bundle: Path
) -> None:
    with running(server) as engine:
        assert engine.rows("SELECT length(encode_text('cat')), length(encode_text_small('cat'))") == [(512, 256)]
        for suffix, bundle in (("", tiny_bundle), ("_small", small_bundle)):
            found = engine.rows(f"SELECT id FROM search_captions_by_text{suffix}(query = 'a picture of 7', k = 1)")
            assert [int(one) for (one,) in found] == [7]
            names = [f"laion{suffix}", *(f"{view}{suffix}" for view in VIEWS)]
            query = f"SELECT name, comment FROM system.tables WHERE database = 'default' AND name IN {tuple(names)}"
            label = ModelLabel.of(Bundle.open(bundle).manifest)
            named = {name: label_of_comment(comment) for name, comment in engine.rows(query)}
            assert named == dict.fromkeys(names, label)


def test_each_table_index_and_view_refuses_the_others_vectors(server: ServerTree) -> None:
    with running(server) as engine:
        for query, said in MIXTURES:
            with pytest.raises(QueryFailed) as refused:
                engine.rows(query)
            assert said in str(refused.value), query
        assert engine.rows("SELECT (SELECT count() FROM laion), (SELECT count() FROM laion_small)") == [(20, 20)]


def test_check_model_names_the_tables_model_and_the_checked_one(server: ServerTree) -> None:
    where = ("check-model", "--embedded", "--server-config", server.config)
    own = commands.succeed(*where, "--table", "laion_small", "--suffix", "small", "--json").answer
    assert own["code"] == "same"
    assert own["table_model"] == own["checked_model"]
    assert (own["checked_model"]["name"], own["checked_model"]["dimension"]) == ("tiny-clip-256-random", 256)
    others = commands.run(*where, "--table", "laion", "--suffix", "small")
    assert others.status == 1
    assert "not the same model (captions: the table's vectors have 512 numbers, the functions' 256)" in others.output
    assert "this table says it was filled by tiny-clip-random (512 numbers, bundle " in others.output
    assert "; the model checked is tiny-clip-256-random (256 numbers, bundle " in others.output
    unknown = commands.run(*where, "--suffix", "smal")
    assert (unknown.status, "no model is installed there with the suffix 'smal'" in unknown.error) == (1, True)


def test_a_model_is_refused_on_a_table_that_another_filled(server: ServerTree) -> None:
    before = snapshot(server.config)
    instead = install(server, "--model", "emoji")
    assert instead.status == 1
    for said in (
        "the table laion has other vectors: not the same model (captions: cosine ",
        "its COMMENT says 'CLIP vectors of tiny-clip-random, 512 numbers, bundle ",
        "the model is emoji (512 numbers, bundle ",
        "give this model a table of its own with --table NAME, or, to fill this one again, empty it first: TRUNCATE",
        "nothing was changed",
    ):
        assert said in instead.error
    assert len(instead.error.splitlines()) == 1
    assert snapshot(server.config) == before


def test_a_change_and_a_removal_of_one_leave_the_other_alone(server: ServerTree) -> None:
    def small() -> dict[str, object]:
        """Everything that belongs to the other model: files with their times, and its schema on the server."""
        scripts = server.data / "user_scripts/clip_udfs/tiny-clip-256-random"
        files = [*server.config.glob("*_small_function.xml"), *scripts.rglob("*")]
        assert len(files) > 12
        with running(server) as engine:
            schema = engine.rows(
                "SELECT name, metadata_modification_time, comment FROM system.tables WHERE name LIKE '%_small'"
            )
            (found,) = engine.rows("SELECT id FROM search_captions_by_text_small(query = 'a picture of 3', k = 1)")
        return {"found": found, "schema": schema, "files": {path: path.stat().st_mtime_ns for path in files}}

    before = small()
    commands.succeed("sql", "--embedded", "--server-config", server.config, "-q", "TRUNCATE TABLE laion")
    changed = install(server, "--model", "emoji")
    assert changed.status == 0, changed.error
    assert "replaces     tiny-clip-random, whose vectors are not comparable with this model's" in changed.output
    assert small() == before
    emoji = ModelLabel.of(Bundle.open(resources.builtin_models() / "emoji").manifest)
    with running(server) as engine:
        # The table was empty: it is the new model's now.
        assert engine.value("SELECT comment FROM system.tables WHERE name = 'laion'") == emoji.comment
    removed = install(server, "--uninstall", "--suffix", "")
    assert removed.status == 0, removed.error
    assert small() == before
    assert not list(server.config.glob("encode_text_function.xml"))


def test_one_wrong_golden_vector_stops_the_install_and_is_named(tmp_path: Path, small_bundle: Path) -> None:
    bundle = Path(shutil.copytree(small_bundle, tmp_path / "bundle"))
    golden = bundle / "golden.json"
    values = json.loads(golden.read_text())
    values["texts"][2]["vector"] = values["texts"][0]["vector"]
    golden.write_text(json.dumps(values))
    manifest = json.loads((bundle / "manifest.json").read_text())
    manifest["files"]["golden.json"] = {"bytes": golden.stat().st_size, "sha256": sha256(golden)}
    (bundle / "manifest.json").write_text(json.dumps(manifest))
    server = make_tree(tmp_path / "server")
    before = snapshot(tmp_path / "server")
    refused = commands.run("install", "--server-config", server.config, "--model", bundle)
    assert refused.status == 1
    text = values["texts"][2]["text"]
    assert "encode_text: its worker returns a vector whose cosine with the model's own is" in refused.error
    assert f"for the text '{text}' (1 of {len(values['texts'])} golden values differ)" in refused.error
    assert snapshot(tmp_path / "server") == before
