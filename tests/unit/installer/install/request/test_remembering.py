"""An installation is remembered: what stays, what changes, and what a configuration file may say."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from clip_installer.commands.installation.install import install
from clip_installer.commands.installation.status import status
from clip_installer.install.request.options import Options, changes
from clip_udfs.settings import ROW_BINARY, WorkerSettings
from tests.server_trees import GLOB, make_bundle
from tests.unit.installer.commands.installation.test_install import call


@pytest.fixture
def tree(tmp_path: Path) -> list[object]:
    """A tree to stage into, as the first arguments of every run."""
    directory = tmp_path / "image/etc/clickhouse-server"
    directory.mkdir(parents=True)
    (directory / "config.xml").write_text(f"<clickhouse><path>/var/lib/clickhouse/</path>{GLOB}</clickhouse>")
    return ["--destdir", tmp_path / "image"]


def run(capsys: pytest.CaptureFixture[str], *arguments: object) -> dict[str, Any]:
    """The object that a run prints; it must succeed."""
    code, out, err = call(capsys, *arguments, "--json")
    assert code == 0, err
    return dict(json.loads(out))


def workers(tree: list[object]) -> dict[str, WorkerSettings]:
    """The settings that are installed, by file name."""
    return {path.name: WorkerSettings.load(path) for path in Path(str(tree[1])).glob("**/clip_udfs/*/*/*.json")}


def test_a_run_without_options_changes_nothing(
    tree: list[object], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Model, image roots, pool size and limits stay, even if the original bundle is gone."""
    bundle = make_bundle(tmp_path / "bundle", "photos")
    options = ["--image-root", "/srv/pictures", "--pool-size", 4, "--max-text-bytes", 77, "--python", "/opt/python"]
    run(capsys, *tree, "--model", bundle.directory, *options)
    (bundle.directory).rename(tmp_path / "elsewhere")
    again = run(capsys, *tree)
    assert (again["changed"], again["model"]["name"], again["options"]) == (False, "photos", {})


def test_only_what_is_given_changes_and_the_plan_says_from_what(
    tree: list[object], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Options of later runs are added to those of earlier ones."""
    run(capsys, *tree, "--model", make_bundle(tmp_path / "bundle").directory, "--max-text-bytes", 77)
    changed = run(capsys, *tree, "--pool-size", 5, "--max-image-bytes", 1000)
    assert changed["options"] == {
        "pool-size": {"old": "2", "new": "5"},
        "max-image-bytes": {"old": "67108864", "new": "1000"},
    } | {name: change for name, change in changed["options"].items() if name == "threads"}
    (settings,) = workers(tree).values()
    assert (settings.max_text_bytes, settings.max_image_bytes) == (77, 1000)
    code, out, _ = call(capsys, *tree, "--pool-size", 6, "--dry-run")
    assert code == 0
    assert "~ pool-size" in out
    assert "5 -> 6" in out


def test_a_format_that_there_is_no_more_becomes_the_default(
    tree: list[object], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """As the plan says; RowBinary was misread before ClickHouse 26.7."""
    run(capsys, *tree, "--model", make_bundle(tmp_path / "bundle").directory, "--wire-format", "TabSeparated")
    (record,) = Path(str(tree[1])).glob("**/installed.json")
    record.write_text(record.read_text().replace('"TabSeparated"', '"RowBinary"'))
    changed = run(capsys, *tree)
    assert changed["options"] == {"wire-format": {"old": "RowBinary", "new": ROW_BINARY}}
    (settings,) = workers(tree).values()
    assert settings.format == ROW_BINARY


def test_reset_gives_an_option_its_default_again(
    tree: list[object], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """One option, or all but the model."""
    run(capsys, *tree, "--model", make_bundle(tmp_path / "b", "photos").directory, "--pool-size", 5, "--table", "t")
    assert run(capsys, *tree, "--reset", "pool-size")["options"]["pool-size"] == {"old": "5", "new": "2"}
    everything = run(capsys, *tree, "--reset", "all")
    assert everything["options"] == {"table": {"old": "t", "new": "laion"}}
    assert everything["model"]["name"] == "photos"
    code, _, err = call(capsys, *tree, "--reset", "pool-sise")
    assert (code, "did you mean pool-size?" in err) == (1, True)


def test_the_demo_model_replaces_another_only_by_its_name(
    tree: list[object], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """And the plan says what is replaced."""
    run(capsys, *tree, "--model", make_bundle(tmp_path / "bundle", "photos").directory)
    assert run(capsys, *tree, "--raw")["model"]["name"] == "photos"
    named = run(capsys, *tree, "--model", "emoji", "--dry-run")
    assert (named["model"]["name"], named["replaces"]) == ("emoji", "photos")


def test_a_configuration_file_gives_options_and_those_of_single_functions(
    tree: list[object], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """The command line overrides the file; paths in the file are relative to it."""
    make_bundle(tmp_path / "bundle", "photos")
    file = tmp_path / "clip-udfs.toml"
    file.write_text(
        'model = "./bundle"\npool-size = 3\nmax-text-bytes = 50\n'
        "[functions.encode_image]\npool-size = 1\nmax-image-pixels = 1000\n"
    )
    installed = run(capsys, *tree, "--config", file, "--max-text-bytes", 60)
    assert installed["model"]["name"] == "photos"
    assert (installed["pool_sizes"]["encode_text"], installed["pool_sizes"]["encode_image"]) == (3, 1)
    settings = workers(tree)
    assert settings["worker.json"].max_text_bytes == 60
    assert settings["encode_image.json"].max_image_pixels == 1000
    assert run(capsys, *tree)["changed"] is False


@pytest.mark.parametrize(
    ("content", "said"),
    [
        ("pool-sise = 3", "there is no option pool-sise; did you mean pool-size?"),
        ("dry-run = true", "there is no option dry-run"),
        ("[functions.encode_imag]\npool-size = 1", "did you mean encode_image?"),
        ("[functions.encode_image]\nthreads = 1", "no option of one function"),
        ("[functions.encode_image]\npool-size = 0", "must be a whole number, at least 1"),
        ("pool-size = ", "is not TOML"),
    ],
)
def test_a_configuration_file_is_refused_with_the_name_and_the_way_out(
    tree: list[object], tmp_path: Path, capsys: pytest.CaptureFixture[str], content: str, said: str
) -> None:
    """One line, and nothing is done."""
    (tmp_path / "c.toml").write_text(content)
    code, out, err = call(capsys, *tree, "--config", tmp_path / "c.toml")
    assert (code, out, len(err.splitlines())) == (1, "", 1)
    assert said in err


def test_diff_is_a_dry_run(tree: list[object], tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Looking at differences installs nothing; a new file's are its content."""
    code, out, _ = call(capsys, *tree, "--model", make_bundle(tmp_path / "bundle").directory, "--diff")
    assert code == 0
    assert "Nothing was changed" in out
    for line in ("+        <name>encode_text</name>", '+  "bundle": ', "+exec "):
        assert line in out
    assert not list(Path(str(tree[1])).rglob("launch"))


def test_a_changed_setting_is_a_difference_of_one_line(
    tree: list[object], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Though the workers' settings are written into a new directory, beside those that are in use."""
    run(capsys, *tree, "--model", make_bundle(tmp_path / "bundle").directory)
    _, out, _ = call(capsys, *tree, "--max-text-bytes", 5000, "--diff")
    changes = [line for line in out.splitlines() if "max_text_bytes" in line or line.startswith(("--- ", "+++ "))]
    assert [one for one in changes if "max" in one] == ['-  "max_text_bytes": 1048576,', '+  "max_text_bytes": 5000,']
    assert "/dev/null" not in "".join(changes)


def test_status_says_what_is_installed(tree: list[object], tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """From the records, before and after an install."""
    status.main([str(one) for one in tree], standalone_mode=False)
    assert "Nothing is installed" in capsys.readouterr().out
    run(capsys, *tree, "--model", make_bundle(tmp_path / "bundle", "photos").directory, "--pool-size", 3)
    status.main([*(str(one) for one in tree), "--json"], standalone_mode=False)
    (model,) = json.loads(capsys.readouterr().out)["models"]
    assert (model["model"], model["options"]["pool-size"]) == ("photos", "3")


def test_options_merge_by_function() -> None:
    """One option of one function leaves its others."""
    before = Options({"pool-size": 4}, {"encode_text": {"pool-size": 1, "max-text-bytes": 9}})
    after = before.merged(Options({}, {"encode_text": {"pool-size": 2}}), ["encode_text.max-text-bytes"])
    assert after.functions == {"encode_text": {"pool-size": 2}}
    assert Options.from_record(after.to_record()) == after
    assert [one.name for one in changes({"a": "1", "b": "2"}, {"a": "1", "c": "3"})] == ["c", "b"]
    assert install.name == "install"
