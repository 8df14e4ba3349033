"""What a DBA does with a server: monitor it, back it up, restore it, remove functions that are still used."""

from __future__ import annotations

import json
import os
import pwd
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
import yaml

from tests import documents
from tests.server.running import RunningServer, ServerPlace

MONITORING = ("clip_counters", "clip_failures", "clip_functions", "clip_queries")
NEAREST = "SELECT id FROM laion ORDER BY cosineDistance(image_embedding, (SELECT image_embedding FROM target)) LIMIT 5"


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> ServerPlace:
    """A server's directories, with one for backups."""
    root = tmp_path_factory.mktemp("server")
    made = ServerPlace.make(root, f"<backups><allowed_path>{root}/backups/</allowed_path></backups>")
    (root / "backups").mkdir()
    return made


def install(server: RunningServer, *arguments: object) -> subprocess.CompletedProcess[str]:
    """``install-udfs`` on ``server``, whether it works or not."""
    program = (sys.executable, "-m", "clip_installer", "install", "--server-config", str(server.place.config))
    return subprocess.run(
        [*program, "--url", server.url(), *map(str, arguments)], capture_output=True, text=True, check=False
    )


def test_the_monitoring_views_are_installed_verified_and_removed_with_the_functions(server: RunningServer) -> None:
    found = f"SELECT name FROM system.tables WHERE name IN {MONITORING} AND database = 'default' ORDER BY name"
    assert server.rows(found) == [(name,) for name in MONITORING]
    assert server.rows("SELECT name, load_status FROM clip_functions WHERE name = 'encode_text'")
    server.rows("DROP VIEW clip_failures")
    verified = install(server, "--verify")
    assert verified.returncode == 1
    assert "the view clip_failures is missing" in verified.stdout
    planned = install(server, "--dry-run").stdout
    assert "+ view clip_failures" in planned
    assert "Plan: 1 to add, 0 to change, 0 to remove." in planned
    server.install()
    assert server.rows(found) == [(name,) for name in MONITORING]
    removed = install(server, "--uninstall", "--dry-run").stdout
    assert all(f"DROP VIEW IF EXISTS {name};" in removed for name in MONITORING)


def test_a_restored_table_has_its_indexes(server: RunningServer, place: ServerPlace) -> None:
    random = "arrayMap(i -> toFloat32(cityHash64(number, i, {}) % 1000 / 1000. - 0.5), range(dim))"
    server.rows(
        "INSERT INTO laion (id, url, caption, image_embedding, text_embedding)"
        " WITH length(encode_text('x')) AS dim"
        f" SELECT number, 'x', 'a picture', {random.format(1)}, {random.format(2)} FROM numbers(500)"
    )
    build = [sys.executable, "-m", "clip_installer", "build-index", "--url", server.url()]
    subprocess.run(build, check=True, capture_output=True)
    server.rows("CREATE TABLE target ENGINE = Memory AS SELECT image_embedding FROM laion WHERE id = 7")
    before = server.rows(NEAREST)
    backup = f"File('{place.config.parents[1] / 'backups' / 'laion'}')"
    tables = "TABLE laion, TABLE laion_relevance_sample"
    server.rows(f"BACKUP {tables} TO {backup}")
    for name in ("laion", "laion_relevance_sample"):
        server.rows(f"DROP TABLE {name} SYNC")
    server.rows(f"RESTORE {tables} FROM {backup}")
    assert server.rows(NEAREST) == before
    indexes = (
        "SELECT count() FROM system.data_skipping_indices"
        " WHERE type = 'vector_similarity' AND table = 'laion' AND data_compressed_bytes > 0"
    )
    assert server.rows(indexes) == [(2,)]
    again = subprocess.run(build, check=True, capture_output=True, text=True).stdout
    assert "unchanged: the indexes of laion are built" in again


def test_an_uninstall_names_the_column_that_still_calls_a_function(server: RunningServer, place: ServerPlace) -> None:
    server.rows(
        "CREATE TABLE notes (note String, embedding Array(Float32) MATERIALIZED encode_text(note))"
        " ENGINE = MergeTree ORDER BY tuple()"
    )
    refused = install(server, "--uninstall")
    assert refused.returncode == 1
    assert len(refused.stderr.splitlines()) == 1
    assert "the MATERIALIZED column embedding of default.notes calls encode_text" in refused.stderr
    assert "remove the functions anyway with --force" in refused.stderr
    server.rows("INSERT INTO notes (note) VALUES ('still works')")
    server.rows("DROP TABLE notes SYNC")
    assert Path(place.config / "encode_text_function.xml").exists()


def test_the_ansible_task_leaves_another_model_and_its_options_as_they_are(
    server: RunningServer, place: ServerPlace, tiny_bundle: Path, tmp_path: Path
) -> None:
    """The page's own task, with a model other than the built-in one and options other than the defaults."""
    bundle = shutil.copytree(tiny_bundle, tmp_path / "ViT-B-32-openai")
    manifest = json.loads((bundle / "manifest.json").read_bytes())
    (bundle / "manifest.json").write_text(json.dumps(manifest | {"name": "ViT-B-32-openai"}))
    me = pwd.getpwuid(os.geteuid()).pw_name
    options = ("--pool-size", 3, "--image-root", place.pictures, "--user", me)
    server.install("--model", bundle, "--table", "photographs", *options)
    before = {path: path.stat().st_mtime_ns for path in place.data.joinpath("user_scripts").rglob("*")}
    (task,) = yaml.safe_load(
        next(one.code for one in documents.blocks("docs/dba.md") if "ansible.builtin.command" in one.code)
    )
    _, *arguments = task["ansible.builtin.command"]["argv"]
    given = {"/etc/clickhouse-server": str(place.config), "clickhouse": me}
    command = [sys.executable, "-m", "clip_installer", "install", *(given.get(one, one) for one in arguments)]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    assert json.loads(done.stdout)["changed"] is False
    assert {path: path.stat().st_mtime_ns for path in place.data.joinpath("user_scripts").rglob("*")} == before
    status = [sys.executable, "-m", "clip_installer", "status", "--server-config", str(place.config), "--json"]
    said = subprocess.run(status, capture_output=True, text=True, check=True).stdout
    assert "ViT-B-32-openai" in said
    assert server.rows("SELECT DISTINCT pool_size FROM clip_functions") == [(3,)]
