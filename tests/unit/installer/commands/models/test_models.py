"""What clip-udfs models lists: built in, installed, and open_clip's."""

from __future__ import annotations

import json
import sys
from pathlib import Path

import pytest

from clip_installer.cli import program, run
from clip_installer.commands.installation.install import install
from clip_installer.install.records.records import load_records
from clip_installer.server.config import ServerConfig
from tests.server_trees import make_bundle, make_config


def listed(capsys: pytest.CaptureFixture[str], *arguments: object) -> tuple[int, str, str]:
    """Exit status, standard output and standard error of ``clip-udfs models``."""
    with pytest.raises(SystemExit) as left:
        run(program, "clip-udfs", ["models", *(str(argument) for argument in arguments)])
    output = capsys.readouterr()
    return left.value.code, output.out, output.err


@pytest.fixture
def server(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Path:
    """A server with the model ``paper`` under the suffix ``second``; no worker was started."""
    monkeypatch.setattr("clip_installer.install.flow.verify_host", lambda *_, **__: [])
    directory = make_config(tmp_path / "server")
    bundle = make_bundle(tmp_path / "bundle", weights=b"x" * 5000).directory
    arguments = ["--server-config", directory, "--model", bundle, "--suffix", "second", "--engine", "torch"]
    with pytest.raises(SystemExit) as left:
        run(install, "install-udfs", [str(argument) for argument in arguments])
    assert left.value.code == 0, capsys.readouterr().err
    capsys.readouterr()
    return directory


def test_installed_models_are_named_with_their_function_and_size(
    server: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    status, out, _ = listed(capsys, "--server-config", server, "pap")
    assert status == 0
    assert "paper  installed as encode_text_second, vectors of 4 numbers, " in out
    assert "emoji" not in out
    _, out, _ = listed(capsys, "--server-config", server, "--json")
    found = {model["name"]: model for model in json.loads(out)["models"]}
    assert set(found) == {"emoji", "paper"}
    (model,) = load_records(ServerConfig.read(server)).models
    assert found["paper"]["bytes"] == sum(file.path.stat().st_size for file in model.files)


def test_a_damaged_model_is_listed_with_what_is_wrong(server: Path, capsys: pytest.CaptureFixture[str]) -> None:
    next(server.parent.glob("var/user_scripts/clip_udfs/paper/*/bundle/text.weights")).unlink()
    status, out, _ = listed(capsys, "--server-config", server)
    assert status == 0
    assert "paper  installed as encode_text_second, but not in order: bundle file " in out
    assert "emoji  built in, vectors of 512 numbers" in out


def test_open_clips_models_need_open_clip(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "open_clip", None)
    status, _, err = listed(capsys, "--available", "ViT")
    assert status == 1
    assert "the list of open_clip's models needs the Python package open_clip: pip install" in err
