"""The six functions in SQL, as the installer deployed them, on the real engine."""

from __future__ import annotations

import os
import shutil
import subprocess
from pathlib import Path

import numpy as np
import psutil
import pytest
from PIL import Image

from tests import row_binary_blocks
from tests.chdb.conftest import ServerTree, make_tree
from tests.chdb.driver import Engine, QueryFailed
from tests.models.pictures import corpus
from tests.processes import children, command_line

AWKWARD = {
    "tab": r"'a\tb'",
    "newline": r"'a\nb'",
    "backslash": r"'a\\b'",
    "quote": r"'a\'b'",
    "nul": r"'a\0b'",
    "backspace": r"'a\bb'",
    "form feed": r"'a\fb'",
    "return": r"'a\rb'",
    "escaped N": r"'\\N'",
    "empty": "''",
    "emoji": "'\N{CAT FACE} and \N{DOG FACE}'",
    "chinese": "'一只黑猫'",
    "10 000 characters": "repeat('wörd ', 2000)",
    "not utf-8": "unhex('61FF62')",
}


def workers(engine: Engine, function: str) -> list[psutil.Process]:
    return [
        child
        for child in children(engine.process.pid)
        if command_line(child)[1:5] == ["-I", "-m", "clip_udfs", function]
    ]


def test_unit_vectors_of_the_models_dimension(engine: Engine) -> None:
    assert engine.rows(
        "SELECT length(encode_text('cat')), round(arraySum(x -> x * x, encode_text('cat')), 3), "
        "toTypeName(encode_text('cat')), toTypeName(try_encode_text(NULL))"
    ) == [(512, 1, "Array(Float32)", "Array(Float32)")]


def test_awkward_texts_arrive_as_they_are(engine: Engine, tiny_bundle: Path) -> None:
    """Each vector equals that of tokenizer and engine without ClickHouse in between."""
    from clip_udfs.bundle import Bundle
    from clip_udfs.encoders import open_encoder
    from clip_udfs.settings import WorkerSettings
    from clip_udfs.text.tokenizer import Tokenizer

    bundle = Bundle.open(tiny_bundle)
    tokenizer = Tokenizer(bundle.file("tokenizer.json"), bundle.manifest.text)
    encoder = open_encoder(WorkerSettings(tiny_bundle), bundle, "text")
    literal = {
        "\\t": "\t",
        "\\n": "\n",
        "\\\\": "\\",
        "\\'": "'",
        "\\0": "\0",
        "\\b": "\b",
        "\\f": "\f",
        "\\r": "\r",
    }
    for name, sql in AWKWARD.items():
        text = "wörd " * 2000 if "repeat" in sql else "a\ufffdb" if "unhex" in sql else sql[1:-1]
        for escape, character in literal.items():
            if escape in text and name != "escaped N":
                text = text.replace(escape, character)
                break
        text = "\\N" if name == "escaped N" else text
        (wanted,) = encoder.encode(tokenizer.pad(tokenizer([text])))
        wanted = wanted / np.linalg.norm(wanted)
        for function in ("encode_text", "try_encode_text"):
            got = np.array(engine.value(f"SELECT {function}({sql})"))
            assert got @ wanted > 0.99999, (name, function)


def test_many_rows_equal_each_row_alone_in_order_and_memory_stays_flat(engine: Engine) -> None:
    engine.rows(
        "CREATE TABLE bulk ENGINE = MergeTree ORDER BY n AS SELECT number AS n, "
        "concat('text ', toString(number * 7919 % 100000), if(n % 3 = 0, ' of a certain length', '')) AS s "
        "FROM numbers(100000)"
    )
    engine.rows("SELECT sum(length(encode_text(s))) FROM bulk WHERE n < 20000")
    before = max(worker.memory_info().rss for worker in workers(engine, "encode_text"))
    engine.rows("CREATE TABLE encoded ENGINE = MergeTree ORDER BY n AS SELECT n, s, encode_text(s) AS v FROM bulk")
    after = max(worker.memory_info().rss for worker in workers(engine, "encode_text"))
    assert after - before < 30e6
    assert engine.rows("SELECT count(), uniqExact(v), min(length(v)) FROM encoded")[0][0] == 100000
    picked = engine.rows("SELECT n, s, v FROM encoded WHERE n % 4999 = 0 ORDER BY n")
    assert len(picked) == 21
    for _, text, vector in picked:
        alone = engine.value(f"SELECT encode_text('{text}')")
        assert np.array(alone) @ np.array(vector) > 0.99999
    small_blocks = (
        "SELECT min(arraySum((a, b) -> a * b, v, w)) FROM encoded JOIN (SELECT n, encode_text(s) AS w FROM "
        "bulk WHERE n < 5000) AS again USING n SETTINGS max_block_size = 7"
    )
    assert engine.value(small_blocks) > 0.99999


def test_one_process_answers_query_after_query_and_a_failure_harms_only_its_own(engine: Engine) -> None:
    first = engine.value("SELECT encode_text('one query')")
    serving = {worker.pid for worker in workers(engine, "encode_text")}
    assert engine.value("SELECT encode_text('one query')") == first
    assert {worker.pid for worker in workers(engine, "encode_text")} == serving
    for _ in range(3):
        with pytest.raises(QueryFailed, match="no such file"):
            engine.value("SELECT encode_image('missing.png')")
        assert engine.value("SELECT encode_text('one query')") == first
    assert {worker.pid for worker in workers(engine, "encode_text")} == serving


def refusal(engine: Engine, sql: str) -> str:
    with pytest.raises(QueryFailed) as failed:
        engine.rows(sql)
    text = str(failed.value)
    assert "Executable generates stderr: " in text
    return text.split("Executable generates stderr: ", 1)[1]


@pytest.fixture(scope="module")
def pictures(tree: ServerTree) -> Path:
    for name, content in corpus().items():
        if (name.endswith((".png", ".jpg")) and "64x64" in name) or "96x72" in name:
            (tree.pictures / name).write_bytes(content)
    bad = tree.pictures / "bad"
    bad.mkdir()
    (bad / "text.jpg").write_text("no picture")
    (bad / "empty.jpg").touch()
    (bad / "folder.jpg").mkdir()
    whole = corpus()["rgb-300x200.jpg"]
    (bad / "cut.jpg").write_bytes(whole[: len(whole) // 2])
    return tree.pictures


@pytest.mark.parametrize(
    ("path", "reason"),
    {
        "missing.png": "no such file",
        "bad/text.jpg": "not an image",
        "bad/empty.jpg": "is empty",
        "bad/folder.jpg": "is a directory",
        "bad/cut.jpg": "damaged image",
        "/etc/passwd": "outside",
    }.items(),
)
def test_a_bad_picture_is_one_line_for_the_analyst_and_empty_for_the_try_function(
    engine: Engine, pictures: Path, path: str, reason: str
) -> None:
    line = refusal(engine, f"SELECT encode_image('{path}')").splitlines()[0]
    assert line.startswith(f"encode_image: row 1: '{path}': ")
    assert reason in line
    assert engine.value(f"SELECT try_encode_image('{path}')") == []
    query = f"SELECT length(try_encode_image(arrayJoin(['rgb-96x72.png', '{path}', 'rgb-96x72.jpg'])))"
    assert engine.rows(query) == [(512,), (0,), (512,)]
    assert "row 2" in refusal(engine, f"SELECT encode_image(arrayJoin(['rgb-96x72.png', '{path}']))")


def test_null_goes_to_the_try_functions_only(engine: Engine) -> None:
    assert engine.rows("SELECT try_encode_text(NULL), try_encode_image(NULL), try_encode_image_bytes(NULL)") == [
        ([], [], [])
    ]
    with pytest.raises(QueryFailed, match="349"):
        engine.rows("SELECT encode_text(CAST(NULL AS Nullable(String)))")


def test_bytes_from_clickhouse_equal_the_file_bit_for_bit(engine: Engine, tree: ServerTree, pictures: Path) -> None:
    files = tree.data / "user_files" / "same"
    shutil.copytree(pictures, files, ignore=shutil.ignore_patterns("bad"))
    rows = engine.rows(
        "SELECT _file, encode_image_bytes(raw) = encode_image(_file), length(encode_image_bytes(raw)) "
        f"FROM file('{files}/*', RawBLOB, 'raw String')"
    )
    assert len(rows) == len(list(files.iterdir())) > 15
    assert {row[1:] for row in rows} == {(1, 512)}


def test_a_constant_uses_the_vector_index(engine: Engine) -> None:
    engine.rows(
        "CREATE TABLE searched (id UInt32, v Array(Float32), INDEX i v TYPE "
        "vector_similarity('hnsw', 'cosineDistance', 512) GRANULARITY 100000000) ENGINE = MergeTree ORDER BY id"
    )
    engine.rows("INSERT INTO searched SELECT number, encode_text(concat('text ', toString(number))) FROM numbers(2000)")
    search = (
        "WITH encode_text('text 791') AS q SELECT id, cosineDistance(v, q) FROM searched ORDER BY "
        "cosineDistance(v, q) LIMIT 10"
    )
    plan = "\n".join(row[0] for row in engine.rows(f"EXPLAIN indexes = 1 {search}"))
    assert "vector_similarity" in plan
    best = engine.rows(search)
    assert best[0][0] == 791
    assert best[0][1] < 1e-4


# The right to pass through directories, because a test's interpreter often lives in root's home.
AS_NOBODY = (
    shutil.which("setpriv") or "setpriv",
    "--reuid=nobody",
    "--regid=nogroup",
    "--clear-groups",
    "--inh-caps=+dac_read_search",
    "--ambient-caps=+dac_read_search",
)


def test_workers_need_no_environment_no_home_and_no_root(tmp_path: Path, tiny_bundle: Path) -> None:
    """As on a hardened host: an empty environment, a read-only working directory, an unprivileged user."""
    server = make_tree(tmp_path / "host")
    server.install("--model", str(tiny_bundle), "--image-root", str(server.pictures))
    Image.new("RGB", (70, 70), "red").save(server.pictures / "red.png")
    as_root = os.getuid() == 0
    if as_root:
        subprocess.run(["chown", "-R", "nobody", str(server.data)], check=True)
    engine = server.engine(prefix=AS_NOBODY if as_root else (), env={}, cwd="/proc")
    query = "SELECT length(encode_text('cat')), length(encode_image('red.png'))"
    assert engine.rows(query) == [(512, 512)]
    (worker,) = workers(engine, "encode_text")
    assert worker.uids().effective != 0
    of_launcher = {"OPENBLAS_NUM_THREADS", "MALLOC_ARENA_MAX"}
    assert worker.environ().keys() - {"PWD", "LC_CTYPE"} == of_launcher, "sh and Python set some for themselves"
    assert worker.cwd() == "/proc"
    assert engine.close() == 0


def test_a_constant_in_with_reaches_the_worker_once(tmp_path: Path, tiny_bundle: Path) -> None:
    """Counted on the pipe, with a launcher that copies ClickHouse's output to a file."""
    server = make_tree(tmp_path / "host")
    server.install("--model", str(tiny_bundle))
    (launcher,) = server.data.glob("user_scripts/clip_udfs/*/*/launch")
    real = launcher.rename(launcher.with_name("launch.real"))
    log = tmp_path / "sent"
    launcher.write_text(f"#!/bin/sh\ntee -a '{log}' | '{real}' \"$@\"\n")
    launcher.chmod(0o755)
    engine = server.engine()
    engine.rows("CREATE TABLE t (v Array(Float32)) ENGINE = MergeTree ORDER BY tuple()")
    engine.rows("INSERT INTO t SELECT arrayMap(x -> sin(x + number), range(512)) FROM numbers(100)")
    inner = "SELECT * FROM t ORDER BY cosineDistance(v, q), L2Distance(v, q)"
    query = f"WITH encode_text('cat') AS q SELECT count() FROM ({inner})"
    assert engine.rows(query) == [(100,)]
    assert engine.close() == 0
    assert log.read_bytes() == row_binary_blocks.texts(b"cat")


def test_the_torch_engine_answers_in_tab_separated_what_the_default_answers(
    engine: Engine, tmp_path: Path, tiny_bundle: Path
) -> None:
    server = make_tree(tmp_path / "host")
    server.install("--model", str(tiny_bundle), "--engine", "torch", "--device", "cpu", "--wire-format", "TabSeparated")
    other = server.engine()
    query = "SELECT encode_text(arrayJoin(['cat', '', '猫']))"
    ours, theirs = (np.array([row[0] for row in one.rows(query)]) for one in (engine, other))
    assert np.abs(ours - theirs).max() < 1e-5
    assert other.close() == 0
