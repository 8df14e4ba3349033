"""``clip-udfs sql``: where the SQL comes from, what comes out, what a mistake looks like."""

from __future__ import annotations

import json
import subprocess
import sys

import pytest

from clip_installer.commands.trial.sql import split_statements
from tests.chdb.conftest import ServerTree


def run(tree: ServerTree, *arguments: str, stdin: str | None = None) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "clip_installer", "sql", "--embedded", "--server-config", str(tree.config), *arguments],
        input=stdin,
        capture_output=True,
        text=True,
        check=False,
    )


def test_the_acceptance_query_prints_512_and_1(tree: ServerTree) -> None:
    query = "SELECT length(encode_text('cat')), round(arraySum(x -> x*x, encode_text('cat')), 3)"
    done = run(tree, "-q", query)
    assert (done.returncode, done.stdout, done.stderr) == (0, "512\t1\n", "")


def test_from_a_file_and_from_standard_input_in_any_format(
    tree: ServerTree, tmp_path_factory: pytest.TempPathFactory
) -> None:
    file = tmp_path_factory.mktemp("sql") / "a.sql"
    file.write_text("-- a comment; with a semicolon\nSELECT 'a;b' AS x;\nSELECT 2 AS y FORMAT JSONEachRow;\n")
    assert run(tree, str(file)).stdout == 'a;b\n{"y":2}\n'
    assert json.loads(run(tree, "-f", "JSON", stdin="SELECT 3 AS z").stdout)["data"] == [{"z": 3}]
    echoed = run(tree, "--echo", "-f", "CSV", stdin="SELECT 1 -- one\n; SELECT 2").stdout
    assert echoed == "\nSELECT 1\n1\n\nSELECT 2\n2\n"


def test_json_is_one_object_with_columns_and_rows_of_each_statement(tree: ServerTree) -> None:
    done = run(tree, "--json", "-q", "SELECT 1 AS x, 'é' AS y; SET max_threads = 1; SELECT 2 FORMAT CSV")
    first, second, third = json.loads(done.stdout)["answers"]
    assert [column["name"] for column in first["columns"]] == ["x", "y"]
    assert (first["rows"], "rows" in second, third["text"]) == ([[1, "é"]], False, "2\n")
    assert run(tree, "--json", "--echo", "-q", "SELECT 1").returncode == 2
    wrong = run(tree, "--json", "-q", "SELECT 1; SELECT nothing")
    assert (wrong.returncode, wrong.stdout, json.loads(wrong.stderr)["error"]["code"]) == (1, "", "sql")


def test_statements_without_an_answer_print_nothing(tree: ServerTree) -> None:
    statements = (
        "CREATE TABLE t (a UInt8) ENGINE = Memory; INSERT INTO t VALUES (1), (2); INSERT INTO t SELECT 3; "
        "SELECT sum(a) FROM t; DROP TABLE t"
    )
    assert run(tree, "-q", statements).stdout == "6\n"


def test_a_mistake_is_one_line_with_status_1_and_wrong_usage_has_status_2(tree: ServerTree) -> None:
    wrong = run(tree, "-q", "SELECT encode_txt('cat')")
    assert (wrong.returncode, wrong.stdout, len(wrong.stderr.splitlines())) == (1, "", 1)
    assert "encode_txt" in wrong.stderr
    picture = run(tree, "-q", "SELECT encode_image('missing.png')")
    assert "encode_image: row 1: 'missing.png': no such file" in picture.stderr
    assert (picture.returncode, len(picture.stderr.splitlines())) == (1, 1)
    assert run(tree, "-q", " ; -- nothing").returncode == 2
    nowhere = subprocess.run(
        [sys.executable, "-m", "clip_installer", "sql", "-q", "SELECT 1"], capture_output=True, text=True, check=False
    )
    assert nowhere.returncode == 2
    assert "--url" in nowhere.stderr


def test_a_server_that_does_not_answer_is_named_without_its_password() -> None:
    done = subprocess.run(
        [sys.executable, "-m", "clip_installer", "sql", "--url", "http://me:secret@127.0.0.1:1/", "-q", "SELECT 1"],
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 1
    assert "127.0.0.1:1" in done.stderr
    assert "secret" not in done.stderr
    assert "Traceback" not in done.stderr


@pytest.mark.parametrize(
    ("text", "statements"),
    [
        ("SELECT 1; SELECT 2", ["SELECT 1", "SELECT 2"]),
        ("SELECT ';' , \"a;b\", `c;d`;;", ["SELECT ';' , \"a;b\", `c;d`"]),
        (r"SELECT 'it\'s; fine'; SELECT 2", [r"SELECT 'it\'s; fine'", "SELECT 2"]),
        ("/* a; b */ SELECT 1 -- c; d\n;", ["SELECT 1"]),
        ("SELECT '-- no comment'", ["SELECT '-- no comment'"]),
        ("", []),
        ("-- nothing\n;", []),
    ],
)
def test_statements_are_split_outside_literals_and_comments(text: str, statements: list[str]) -> None:
    assert split_statements(text) == statements
