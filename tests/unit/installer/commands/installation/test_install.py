"""The command's conventions: exit codes, one JSON object, one line for an error, and an unchanged tree."""

from __future__ import annotations

import json
import os
import stat
import sys
from pathlib import Path

import pytest

from clip_installer.cli import run
from clip_installer.clickhouse.connection import ConnectionOptions
from clip_installer.clickhouse.database import Database
from clip_installer.commands.installation.install import install
from clip_installer.errors import SqlError
from clip_installer.install import session
from clip_installer.install.disk.disk import STATE_VARIABLE
from clip_udfs.bundle import Bundle
from clip_udfs.functions import FUNCTIONS
from clip_udfs.integrity import sha256
from clip_udfs.settings import WorkerSettings
from tests.server_trees import GLOB, make_bundle, make_config, open_the_way, snapshot
from tests.users import as_user

NOBODY = 65534


def call(capsys: pytest.CaptureFixture[str], *arguments: object) -> tuple[int, str, str]:
    """Exit status, standard output and standard error of ``install-udfs``."""
    with pytest.raises(SystemExit) as left:
        run(install, "install-udfs", [str(argument) for argument in arguments])
    output = capsys.readouterr()
    return left.value.code, output.out, output.err


@pytest.mark.parametrize(
    "arguments",
    [
        ["--no-such-option"],
        ["--pool-size", "0"],
        ["--verify", "--uninstall"],
        ["--all"],
        ["--uninstall", "--all", "--suffix", "x"],
        ["--suffix", "a-b"],
        ["--suffix", "ä"],
        ["--url", "http://localhost", "--embedded"],
        ["--destdir", "/tmp/x", "--url", "http://localhost"],
        ["--engine", "jax"],
        ["--max-image-pixels", "200000000"],
    ],
)
def test_wrong_usage_is_2(capsys: pytest.CaptureFixture[str], arguments: list[str]) -> None:
    status, out, _ = call(capsys, *arguments)
    assert (status, out) == (2, "")
    status, out, err = call(capsys, *arguments, "--json")
    assert (status, out) == (2, "")
    assert json.loads(err)["error"]["code"] == "usage"


def broken(root: Path, kind: str) -> list[object]:
    """A tree that cannot be installed into, and the arguments that try it."""
    main, others, more = None, {}, []
    if kind == "malformed XML":
        main = "<clickhouse>\n<oops"
    elif kind == "malformed drop-in":
        others = {"config.d__x.xml": "<clickhouse><a></clickhouse>"}
    elif kind == "relative path":
        main = f"<clickhouse><path>./data</path>{GLOB}</clickhouse>"
    elif kind == "foreign function":
        others = {"x_function.xml": "<functions><function><name>encode_text</name></function></functions>"}
    elif kind == "foreign file":
        others = {"encode_text_function.xml": "<functions/>"}
    elif kind == "no such picture directory":
        more = ["--image-root", root / "none"]
    elif kind == "no such user":
        more = ["--user", "no-such-user"]
    elif kind == "unprintable path":
        main = f"<clickhouse><path>@/a&#10;b</path>{GLOB}</clickhouse>"
    elif kind == "a file where the scripts go":
        others = {"..__var__user_scripts": "a file"}
    elif kind == "worker that cannot start":
        more = ["--python", "/no/python"]
    directory = make_config(root / "server", main, **others)
    if kind == "missing configuration":
        (directory / "config.xml").unlink()
    model = make_bundle(root / "bundle").directory
    if kind == "no bundle":
        model = root / "none"
    elif kind == "incomplete bundle":
        (model / "text.weights").unlink()
    elif kind == "bundle with a name for a shell":
        manifest = (model / "manifest.json").read_text()
        (model / "manifest.json").write_text(manifest.replace('"paper"', '"a b"'))
    return ["--server-config", directory, "--model", model, *more]


@pytest.mark.parametrize("option", [("--table", "a."), ("--quantization", "f8")])
def test_a_name_or_value_that_cannot_work_is_2(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], option: tuple[str, str]
) -> None:
    """Wrong usage includes violations of the schema's own rules, and the message names the value."""
    status, _, err = call(capsys, *broken(tmp_path, "nothing"), *option)
    assert status == 2
    assert option[1] in err


@pytest.mark.parametrize("as_json", [False, True])
@pytest.mark.parametrize(
    ("kind", "said"),
    [
        ("malformed XML", "config.xml, line 2"),
        ("malformed drop-in", "config.d/x.xml, line 1"),
        ("missing configuration", "holds none of config.xml"),
        ("relative path", "'./data'"),
        ("foreign function", "x_function.xml"),
        ("foreign file", "encode_text_function.xml"),
        ("no such picture directory", "--image-root"),
        ("no such user", "no-such-user"),
        ("unprintable path", "a\\nb"),
        ("a file where the scripts go", "user_scripts"),
        ("worker that cannot start", "/no/python"),
        ("no bundle", "no such bundle directory"),
        ("incomplete bundle", "text.weights"),
        ("bundle with a name for a shell", "'a b'"),
    ],
)
def test_what_cannot_be_done_is_1_and_leaves_the_tree(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], kind: str, said: str, as_json: bool
) -> None:
    arguments = broken(tmp_path, kind)
    before = snapshot(tmp_path)
    status, out, err = call(capsys, *arguments, *(["--json"] if as_json else []))
    # What a person sees on standard output is the plan that was begun.
    assert (status, bool(out) and as_json) == (1, False)
    message = json.loads(err)["error"]["message"] if as_json else err
    assert said in message
    assert len(err.splitlines()) == 1
    assert snapshot(tmp_path) == before


@pytest.mark.parametrize(
    ("read_only", "said"),
    [(["etc"], "no place for the function definitions"), (["var"], "this user may not write to")],
)
def test_a_target_that_cannot_be_written(
    tmp_path: Path,
    capfd: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
    read_only: list[str],
    said: str,
) -> None:
    monkeypatch.delenv(STATE_VARIABLE)
    directory = make_config(tmp_path / "server")
    bundle = make_bundle(tmp_path / "bundle")
    open_the_way(tmp_path)
    for name in ("etc", "var"):
        folder = tmp_path / "server" / name
        folder.chmod(0o555 if name in read_only else 0o755)
        if os.geteuid() == 0 and name not in read_only:
            os.chown(folder, NOBODY, NOBODY)
    before = snapshot(tmp_path / "server")

    def act() -> None:
        with pytest.raises(SystemExit) as left:
            run(install, "install-udfs", ["--server-config", str(directory), "--model", str(bundle.directory)])
        assert left.value.code == 1

    as_user(NOBODY, act)
    assert snapshot(tmp_path / "server") == before
    error = capfd.readouterr().err
    assert said in error
    assert len(error.splitlines()) == 1


def test_a_bundles_notice_cannot_move_the_terminal(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    directory, bundle = make_config(tmp_path / "server"), make_bundle(tmp_path / "bundle").directory
    manifest = json.loads((bundle / "manifest.json").read_text())
    (bundle / "manifest.json").write_text(json.dumps(manifest | {"notice": "free\x1b[2J\x9b31m"}))
    status, out, err = call(capsys, "--server-config", directory, "--model", bundle, "--dry-run")
    assert "\x1b" not in out + err
    assert "\x9b" not in out + err
    assert ("free" in out) == (status == 0)


def test_dry_run_prints_the_whole_plan_and_writes_nothing(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    directory, bundle = make_config(tmp_path / "server"), make_bundle(tmp_path / "bundle")
    arguments = ["--server-config", directory, "--model", bundle.directory, "--dry-run"]
    before = snapshot(tmp_path)
    status, out, _ = call(capsys, *arguments, "--rows", "1M")
    assert status == 0
    for part in (
        "CREATE TABLE IF NOT EXISTS laion",
        "Memory",
        "1,000,000 rows",
        "3.0 GiB  at most for the images that one worker decodes at once, each of up to 1.5 GiB",
        "CREATE OR REPLACE VIEW clip_failures AS",
        f"{directory}/encode_text_function.xml",
        "Nothing was changed",
    ):
        assert part in out
    assert "<name>" not in out, "the plan can be read in one go"
    status, out, _ = call(capsys, *arguments, "--json", "--diff")
    plan = json.loads(out)
    assert plan["changed"] is True
    assert plan["dry_run"] is True
    assert plan["functions"][0] == "encode_text"
    assert {file["action"] for file in plan["files"]} == {"create"}
    assert "+        <name>encode_text</name>" in plan["diff"]
    assert any("CREATE TABLE" in statement["sql"] for statement in plan["sql"])
    assert snapshot(tmp_path) == before


def test_a_cluster_and_a_second_model_in_one_plan(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    directory, bundle = make_config(tmp_path / "server"), make_bundle(tmp_path / "bundle")
    second = ("--server-config", directory, "--model", bundle.directory, "--suffix", "vit_l_14", "--cluster", "main")
    status, out, _ = call(capsys, *second, "--dry-run", "--no-ddl")
    assert (status, "ON CLUSTER" in out) == (0, False)
    status, out, _ = call(capsys, *second, "--dry-run")
    assert status == 0
    assert "CREATE TABLE IF NOT EXISTS laion_vit_l_14_local ON CLUSTER main" in out
    assert "encode_text_vit_l_14_function.xml" in out
    assert "on every other host" in out


def test_a_staged_tree(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    image = tmp_path / "image"
    (image / "etc/clickhouse-server").mkdir(parents=True)
    (image / "etc/clickhouse-server/config.xml").write_text(
        f"<clickhouse><path>/var/lib/clickhouse/</path>{GLOB}</clickhouse>"
    )
    before = snapshot(image)
    bundle = make_bundle(tmp_path / "bundle")
    staged = ["--destdir", image, "--json"]
    status, out, _ = call(capsys, *staged, "--model", bundle.directory, "--python", "/opt/clip/bin/python")
    assert status == 0
    assert json.loads(out)["changed"] is True
    (launcher,) = image.glob("var/lib/clickhouse/user_scripts/clip_udfs/paper/*/launch")
    assert "exec /opt/clip/bin/python -I" in launcher.read_text()
    on_server = f"/var/lib/clickhouse/user_scripts/clip_udfs/paper/{launcher.parent.name}"
    assert f"settings={on_server}/worker.json" in launcher.read_text()
    assert str(image) not in (launcher.parent / "worker.json").read_text()
    (records,) = image.rglob("installed.json")
    assert str(image) not in records.read_text()
    assert stat.S_IMODE(records.parent.stat().st_mode) == 0o700
    assert (image / "etc/clickhouse-server/encode_text_function.xml").is_file()
    status, out, _ = call(capsys, *staged, "--model", bundle.directory, "--python", "/opt/clip/bin/python")
    assert json.loads(out)["changed"] is False
    status, out, _ = call(capsys, *staged, "--verify")
    assert (status, json.loads(out)["ok"]) == (0, True)
    (image / "etc/clickhouse-server/encode_text_function.xml").unlink()
    status, out, err = call(capsys, *staged, "--verify")
    assert (status, json.loads(out)["ok"], json.loads(err)["error"]["code"]) == (1, False, "verify")
    status, out, _ = call(capsys, *staged, "--uninstall")
    assert status == 0
    assert snapshot(image) == before
    status, out, _ = call(capsys, *staged, "--uninstall")
    assert (status, json.loads(out)["changed"]) == (0, False)


def test_limits_reach_the_workers_and_the_others_keep_their_default(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    image = tmp_path / "image"
    (image / "etc/clickhouse-server").mkdir(parents=True)
    main = f"<clickhouse><path>/var/lib/clickhouse/</path>{GLOB}</clickhouse>"
    (image / "etc/clickhouse-server/config.xml").write_text(main)
    limits = ["--max-image-pixels", "1000", "--max-text-bytes", "77"]
    bundle = make_bundle(tmp_path / "bundle").directory
    status, _, err = call(capsys, "--model", bundle, "--destdir", image, *limits)
    assert status == 0, err
    (written,) = image.rglob("worker.json")
    settings = WorkerSettings.load(written)
    assert (settings.max_image_pixels, settings.max_text_bytes) == (1000, 77)
    assert settings.max_image_bytes == WorkerSettings(tmp_path).max_image_bytes


def test_uninstall_asks_which_of_several(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    image = tmp_path / "image"
    make_config(image, f"<clickhouse><path>/var/</path>{GLOB}</clickhouse>")
    before = snapshot(image)
    common = ["--destdir", image, "--server-config", "/etc"]
    for name in ("one", "two"):
        suffix = "" if name == "one" else name
        bundle = make_bundle(tmp_path / name, name)
        assert call(capsys, *common, "--model", bundle.directory, "--suffix", suffix)[0] == 0
    status, _, err = call(capsys, *common, "--uninstall")
    assert status == 1
    assert "--suffix ''" in err
    assert "--suffix 'two'" in err
    status, out, _ = call(capsys, *common, "--uninstall", "--all")
    assert status == 0
    assert "DROP VIEW IF EXISTS search_by_text_two" in out
    assert snapshot(image) == before


def test_verify_where_nothing_is_installed(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    status, _, err = call(capsys, "--server-config", make_config(tmp_path), "--verify")
    assert status == 1
    assert "nothing is installed" in err


def test_an_unexpected_file_error_is_one_line(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(*_: object, **__: object) -> None:
        raise OSError(28, "No space left on device", "/some/file")

    monkeypatch.setattr(session, "install", full)
    status, _, err = call(capsys, "--server-config", make_config(tmp_path))
    assert (status, err) == (1, "install-udfs: /some/file: No space left on device\n")


class ScriptedServer(Database):
    """Stands for a server that does not load the functions, and remembers what it was told."""

    def __init__(self) -> None:
        self.told: list[str] = []

    def command(self, statement: str, **_: object) -> None:
        self.told.append(statement)

    def rows(self, statement: str, *_: object, **__: object) -> list[tuple[object, ...]]:
        self.told.append(statement)
        if "system.tables" in statement:
            return []
        for part, answer in (
            ("version()", "26.9.1"),
            ("currentUser", "dba"),
            ("currentDatabase()", "default"),
            ("readonly", "0"),
            ("GRANT", 1),
        ):
            if part in statement:
                return [(answer,)]
        if any(name in statement for name in FUNCTIONS) and "system." not in statement:
            raise SqlError("there is no such function")
        return []

    def exists(self, table: str) -> bool:
        return False

    def close(self) -> None:
        pass


def golden_bundle(directory: Path) -> Bundle:
    """A bundle with golden vectors, so that a server can be asked for them."""
    bundle = make_bundle(directory)
    golden = bundle.directory / "golden.json"
    texts, images = [{"text": "", "vector": [1, 0, 0, 0]}], [{"png_base64": "", "vector": [0, 1, 0, 0]}]
    golden.write_text(json.dumps({"texts": texts, "images": images}))
    manifest = json.loads((bundle.directory / "manifest.json").read_text())
    manifest["files"]["golden.json"] = {"bytes": golden.stat().st_size, "sha256": sha256(golden)}
    (bundle.directory / "manifest.json").write_text(json.dumps(manifest))
    return Bundle.open(bundle.directory)


def test_a_server_that_does_not_take_the_functions_gets_its_old_ones_back(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    server = ScriptedServer()
    monkeypatch.setattr(ConnectionOptions, "connect", lambda self, **_: server)
    monkeypatch.setattr("clip_installer.install.flow.verify_host", lambda *_, **__: [])
    directory, bundle = make_config(tmp_path / "server"), golden_bundle(tmp_path / "bundle")
    before = snapshot(tmp_path / "server")
    status, _, err = call(
        capsys, "--server-config", directory, "--model", bundle.directory, "--url", "http://localhost:8123"
    )
    assert status == 1
    assert err.startswith("install-udfs: encode_text: the server does not know it")
    assert err.endswith("everything is as it was before\n")
    assert snapshot(tmp_path / "server") == before
    assert [told for told in server.told if told.startswith("SYSTEM RELOAD")] == ["SYSTEM RELOAD FUNCTIONS"] * 2
    assert server.told[-1] == "SYSTEM RELOAD FUNCTIONS"
    assert not any("CREATE" in told for told in server.told if "GRANT" not in told)


def test_after_a_kill_a_dry_run_says_so_and_the_next_run_undoes_it_first(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    image = tmp_path / "image"
    directory = make_config(image, f"<clickhouse><path>/var/</path>{GLOB}</clickhouse>")
    arguments = ["--destdir", image, "--server-config", "/etc", "--model", make_bundle(tmp_path / "bundle").directory]
    child = os.fork()
    if child == 0:
        # The second definition is the last thing that this process does.
        def kill(event: str, names: tuple[object, ...]) -> None:
            if event == "os.rename" and str(names[1]).endswith("encode_image_function.xml"):
                os._exit(9)

        sys.addaudithook(kill)
        run(install, "install-udfs", [str(argument) for argument in arguments])
    assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 9
    assert (directory / "encode_text_function.xml").exists()
    status, _, err = call(capsys, *arguments, "--dry-run")
    assert (status, "was interrupted" in err) == (1, True)
    status, _, err = call(capsys, *arguments, "--verify")
    assert status == 1
    status, out, _ = call(capsys, *arguments, "--json")
    assert (status, json.loads(out)["recovered"]) == (0, "rolled back an install that was interrupted")
    assert call(capsys, *arguments, "--verify")[0] == 0
