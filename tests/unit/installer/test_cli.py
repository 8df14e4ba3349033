"""The command line's conventions: help, exit codes, errors as text and as JSON, consistency of README and help."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import click
import pytest

from clip_installer import cli, crash
from clip_installer.cli import program
from clip_installer.commands.installation.install import install
from clip_installer.errors import SqlError
from clip_udfs import __version__

REPOSITORY = Path(__file__).parents[3]


def run(*arguments: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "clip_installer", *arguments], capture_output=True, text=True, check=False
    )


def test_version_and_help() -> None:
    assert run("--version").stdout.split()[-1] == __version__
    assert all(name in run("--help").stdout for name in program.commands)


@pytest.mark.parametrize("name", sorted(program.commands))
def test_every_command_and_option_explains_itself(name: str) -> None:
    command = program.commands[name]
    assert command.help or command.short_help
    for parameter in command.params:
        if parameter.param_type_name == "option":
            assert parameter.help, parameter.name
    done = run(name, "--help")
    assert done.returncode == 0
    assert "\\b" not in done.stdout


@pytest.mark.parametrize(
    "arguments", [["nonsense"], ["sql", "--nonsense"], ["models", "--server-config", "/nowhere/x"]]
)
def test_wrong_usage_has_status_2(arguments: list[str]) -> None:
    done = run(*arguments)
    assert (done.returncode, done.stdout) == (2, "")
    assert done.stderr


def test_an_error_is_one_line_or_one_object(tmp_path: Path) -> None:
    arguments = ["install", "--server-config", str(tmp_path), "--dry-run"]
    plain = run(*arguments)
    assert (plain.returncode, plain.stdout, len(plain.stderr.splitlines())) == (1, "", 1)
    as_json = run(*arguments, "--json")
    assert (as_json.returncode, as_json.stdout) == (1, "")
    error = json.loads(as_json.stderr)["error"]
    assert set(error) == {"code", "message", "command"}
    assert error["message"] in plain.stderr
    usage = run("install", "--nonsense", "--json")
    assert usage.returncode == 2
    assert json.loads(usage.stderr)["error"]["code"] == "usage"


def test_models_lists_the_built_in_one_with_its_notice() -> None:
    listed = run("models")
    assert "emoji  built in, vectors of 512 numbers" in listed.stdout
    assert "demo model" in listed.stdout
    (model,) = json.loads(run("models", "--json").stdout)["models"]
    assert (model["name"], model["dimension"]) == ("emoji", 512)
    assert model["bytes"] < 20e6


def test_starting_up_imports_nothing_heavy() -> None:
    code = (
        "import sys, clip_installer.cli; "
        "print(sorted({n.split('.')[0] for n in sys.modules} & {'torch', 'numpy', 'pyarrow', 'onnxruntime', 'chdb', "
        "'clickhouse_connect', 'jinja2', 'rich', 'PIL'}))"
    )
    assert subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout == "[]\n"


def test_the_options_that_the_readme_names_exist() -> None:
    known = {option for parameter in install.params for option in parameter.opts}
    text = (REPOSITORY / "README.md").read_text()
    lines = [line.split("#")[0] for line in text.splitlines() if line.startswith("install-udfs ")]
    used = {word for line in lines for word in line.split() if word.startswith("--")}
    assert len(lines) >= 4
    assert used <= known


@pytest.mark.parametrize("name", sorted(cli.program.commands))
def test_every_command_takes_json(name: str) -> None:
    assert "--json" in {option for parameter in cli.program.commands[name].params for option in parameter.opts}


def test_untrusted_text_reaches_the_terminal_escaped(capsys: pytest.CaptureFixture[str]) -> None:
    """A server's message could hold escape sequences, or lines that look like ours."""

    @click.command()
    def refused() -> None:
        raise SqlError("\x1b[2Jno\nclip-udfs: all is well")

    with pytest.raises(SystemExit):
        cli.run(refused, "refused", [])
    assert capsys.readouterr().err == "refused: \\x1b[2Jno\\nclip-udfs: all is well\n"


@pytest.mark.parametrize("as_json", [False, True])
def test_an_unexpected_error_is_one_line_a_file_and_status_3(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch, as_json: bool
) -> None:
    """The traceback is in a file without passwords that only this user can read."""

    @click.command()
    @click.option("--url")
    @click.option("--json", "as_json", is_flag=True)
    def broken(url: str, as_json: bool) -> None:
        raise KeyError(url)

    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path))
    arguments = ["--url", "http://u:hid/den@h", *(["--json"] if as_json else [])]
    with pytest.raises(SystemExit) as ended:
        cli.run(broken, "broken", arguments)
    said = capsys.readouterr()
    assert (ended.value.code, said.out, len(said.err.splitlines())) == (3, "", 1)
    (log,) = (tmp_path / "clickhouse-clip-udfs").iterdir()
    assert str(log) in said.err
    assert "Traceback" in log.read_text() and "Traceback" not in said.err
    assert "den" not in log.read_text() + said.err
    assert log.stat().st_mode & 0o077 == 0
    if as_json:
        assert json.loads(said.err)["error"]["code"] == "unexpected"


def test_an_interrupt_is_status_130(capsys: pytest.CaptureFixture[str]) -> None:
    @click.command()
    def stopped() -> None:
        raise KeyboardInterrupt

    with pytest.raises(SystemExit) as ended:
        cli.run(stopped, "stopped", [])
    assert (ended.value.code, capsys.readouterr().err) == (130, "stopped: interrupted\n")


@pytest.mark.parametrize("shell", ["bash", "zsh", "fish"])
def test_shells_can_complete_commands_and_options(shell: str) -> None:
    done = subprocess.run(
        [str(Path(sys.executable).with_name("clip-udfs"))],
        capture_output=True,
        text=True,
        check=False,
        env={**os.environ, "_CLIP_UDFS_COMPLETE": f"{shell}_source"},
    )
    assert (done.returncode, done.stderr) == (0, "")
    assert "clip-udfs" in done.stdout


def test_the_keys_of_a_bucket_are_in_no_report(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Neither in the command nor in what an error quotes."""
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path))
    given = "s3('https://h/b/*', 'KEY', 'SECRET')"
    said = crash.report(ValueError(f"in {given}"), "clip-udfs", ["index-pictures", given])
    (log,) = tmp_path.rglob("*.log")
    assert "KEY" not in said + log.read_text() and "s3(" in log.read_text()
