"""install-udfs against ClickHouse itself: the functions work, verify says so, and removal leaves the tree as it was."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from clip_udfs.functions import ENCODERS
from tests.server_trees import GLOB, make_config, snapshot

THEIRS = """<functions><function>
    <type>executable</type><name>their_function</name><return_type>String</return_type>
    <format>TabSeparated</format><command>their_script.sh</command>
</function></functions>
"""
STOCK = f"""<clickhouse>
    <logger><level>trace</level></logger>
    <path>@/var/</path>
    <tmp_path>@/var/tmp/</tmp_path>
    <user_files_path>@/var/user_files/</user_files_path>
    {GLOB}
</clickhouse>
"""
CUSTOM = {
    "config.d__paths.xml": "<clickhouse><user_scripts_path>@/own scripts/it's ä/</user_scripts_path>"
    "<user_defined_executable_functions_config>own/*.xml</user_defined_executable_functions_config></clickhouse>",
    "own__theirs.xml": THEIRS,
}
YAML = """path: @/var/
user_scripts_path: @/scripts/
user_defined_executable_functions_config: '*_function.*ml'
"""


def run(*arguments: object, module: str = "clip_installer", status: int = 0) -> str:
    """What a command of the package prints; it must end with ``status``."""
    done = subprocess.run(
        [sys.executable, "-m", module, *(str(argument) for argument in arguments)],
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == status, done.stderr
    return done.stdout if status == 0 else done.stderr


def query(directory: Path, data: Path, sql: str) -> str:
    return run("sql", "--server-config", directory, "--embedded", "--data", data, "-q", sql).strip()


def make_tree(root: Path, kind: str) -> Path:
    """A server's tree with somebody else's function in it."""
    scripts = root / "var" / "user_scripts"
    if kind == "stock":
        directory = make_config(root, STOCK, their_function__xml="", **{"their_function.xml": THEIRS})
        (directory / "their_function" / "xml").unlink()
        (directory / "their_function").rmdir()
    elif kind == "custom":
        directory = make_config(root, STOCK, **CUSTOM)
        scripts = root / "own scripts" / "it's ä"
    elif kind == "yaml":
        directory = make_config(root, **{"config.yaml": YAML, "their_function.xml": THEIRS})
        (directory / "config.xml").unlink()
        scripts = root / "scripts"
    else:
        # No pattern finds anything that could be added: a drop-in is needed, and must not hide the other function.
        directory = make_config(root, STOCK.replace("*_function.*ml", "theirs.xml"), **{"theirs.xml": THEIRS})
    scripts.mkdir(parents=True)
    script = scripts / "their_script.sh"
    script.write_text("#!/bin/sh\necho theirs\n")
    script.chmod(0o755)
    return directory


@pytest.mark.parametrize("kind", ["stock", "custom", "yaml", "drop-in"])
def test_install_use_verify_remove(tmp_path: Path, tiny_bundle: Path, kind: str) -> None:
    directory = make_tree(tmp_path / "server", kind)
    data, before = tmp_path / "data", snapshot(tmp_path / "server")
    place = ["install", "--server-config", directory, "--embedded", "--data", data]
    installed = json.loads(run(*place, "--model", tiny_bundle, "--json"))
    assert installed["changed"]
    assert installed["schema_changed"]
    assert query(directory, data, "SELECT their_function(), length(encode_text('cat'))") == "theirs\t512"
    if kind == "stock":
        assert json.loads(run(*place, "--verify", "--json"))["ok"]
    run(*place, "--uninstall")
    assert snapshot(tmp_path / "server") == before
    assert query(directory, data, "SELECT their_function()") == "theirs"


def times_of_files(tree: Path) -> dict[Path, int]:
    """When each file changed; a directory changes with the image that a check puts there and takes away."""
    return {path: path.stat().st_mtime_ns if path.is_file() else 0 for path in tree.rglob("*")}


def test_the_second_run_changes_nothing(tmp_path: Path, tiny_bundle: Path) -> None:
    directory = make_tree(tmp_path / "server", "stock")
    arguments = [
        "install",
        "--server-config",
        directory,
        "--embedded",
        "--data",
        tmp_path / "data",
        "--model",
        tiny_bundle,
    ]
    run(*arguments)
    times = times_of_files(tmp_path / "server")
    schema = query(directory, tmp_path / "data", "SELECT max(metadata_modification_time) FROM system.tables")
    answer = json.loads(run(*arguments, "--json"))
    assert (answer["changed"], answer["schema_changed"]) == (False, False)
    assert times_of_files(tmp_path / "server") == times
    assert query(directory, tmp_path / "data", "SELECT max(metadata_modification_time) FROM system.tables") == schema


def test_a_schema_that_somebody_else_made_is_refused_before_anything_changes(tmp_path: Path, tiny_bundle: Path) -> None:
    directory, data = make_tree(tmp_path / "server", "stock"), tmp_path / "data"
    query(directory, data, "CREATE VIEW search_by_text AS SELECT {x:UInt8} AS mine")
    query(directory, data, "CREATE TABLE search_by_image (a Int8) ENGINE = MergeTree ORDER BY a")
    before = snapshot(tmp_path / "server")
    state = (
        "SELECT name FROM system.tables WHERE database = 'default' ORDER BY name; SELECT * FROM search_by_text(x = 7)"
    )
    # First their view is in the way; once --force replaces that, their table is, which nothing may replace.
    for more, said in (
        ([], "search_by_text: is there with a definition that install-udfs did not make"),
        (["--force"], "search_by_image: a table of this name is there; rename it"),
    ):
        install = [
            "install",
            "--server-config",
            directory,
            "--embedded",
            "--data",
            data,
            "--model",
            tiny_bundle,
            *more,
            "--json",
        ]
        message = json.loads(run(*install, status=1))["error"]["message"]
        assert said in message
        assert message.endswith("nothing was changed")
        assert snapshot(tmp_path / "server") == before
        assert query(directory, data, state).split() == ["search_by_image", "search_by_text", "7"]


def test_a_table_of_another_dimension_is_refused(tmp_path: Path, tiny_bundle: Path) -> None:
    directory, data = make_tree(tmp_path / "server", "stock"), tmp_path / "data"
    install = ["install", "--server-config", directory, "--embedded", "--data", data, "--model", tiny_bundle]
    query(
        directory,
        data,
        "CREATE TABLE laion (id Int64, image_embedding Array(Float32), text_embedding Array(Float32),"
        " CONSTRAINT c CHECK length(image_embedding) = 768) ENGINE = MergeTree ORDER BY id",
    )
    assert "768" in run(*install, status=1)
    run(*install, "--table", "laion_tiny")
    assert query(directory, data, "SELECT count() FROM search_by_text(query = 'cat', k = 3)") == "0"


def test_an_altered_bundle_and_a_broken_worker_are_detected(tmp_path: Path, tiny_bundle: Path) -> None:
    directory, data = make_tree(tmp_path / "server", "stock"), tmp_path / "data"
    run("install", "--server-config", directory, "--no-ddl", "--model", tiny_bundle)
    home = next((tmp_path / "server/var/user_scripts/clip_udfs").glob("*/*/worker.json")).parent
    (home / "bundle" / "text.onnx").write_bytes(b"no graph")
    verify = ["install", "--server-config", directory, "--verify", "--deep"]
    done = subprocess.run(
        [sys.executable, "-m", "clip_installer", *verify, "--embedded", "--data", data, "--json"],
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 1
    findings = json.loads(done.stdout)["findings"]
    wrong = {finding["subject"]: finding["message"] for finding in findings if finding["level"] == "problem"}
    assert "text.onnx was edited" in wrong["file"]
    assert "text.onnx has 8 bytes" in wrong["encode_text"]
    assert {"file", *ENCODERS} == set(wrong)
    assert any("not started" in finding["message"] for finding in findings)
    assert json.loads(done.stderr)["error"]["code"] == "verify"


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can start a worker as somebody else")
def test_an_interpreter_that_the_servers_user_cannot_reach(open_path: Path, tiny_bundle: Path) -> None:
    directory = make_tree(open_path / "server", "stock")
    (open_path / "server/var/user_files").mkdir()
    (open_path / "venv").mkdir(mode=0o700)
    (open_path / "venv" / "python").symlink_to(sys.executable)
    before = snapshot(open_path / "server")
    error = run(
        "install",
        "--server-config",
        directory,
        "--model",
        tiny_bundle,
        "--user",
        "nobody",
        "--python",
        open_path / "venv" / "python",
        status=1,
    )
    assert "nobody may not enter" in error
    assert "python3 -m venv /opt/clip-udfs" in error
    assert len(error.splitlines()) == 1
    assert snapshot(open_path / "server") == before
