"""Installed files have the least privileges: modes, an isolated interpreter, no pickle, no network."""

from __future__ import annotations

import ast
import os
import pickle
import platform
import resource
import shutil
import signal
import stat
import subprocess
import sys
from io import BytesIO
from pathlib import Path

import pytest
from PIL import Image

from clip_installer.errors import ModelError
from clip_installer.install.files import render
from clip_installer.install.transaction.apply import applied
from clip_installer.models.build import build_model
from clip_udfs.functions import FUNCTIONS
from clip_udfs.pipe.tab_separated import escape
from clip_udfs.settings import TAB_SEPARATED, WorkerSettings
from tests import no_network
from tests.conftest import TINY_CLIP
from tests.messages import SOURCES
from tests.server_trees import make_bundle, make_config, make_plan

WRAPPER = [sys.executable, no_network.__file__]


@pytest.mark.parametrize("umask", [0o000, 0o077])
def test_what_is_installed_is_written_by_its_owner_alone_and_read_by_the_server(tmp_path: Path, umask: int) -> None:
    directory, bundle = make_config(tmp_path), make_bundle(tmp_path / "bundle")
    before = set(tmp_path.rglob("*"))
    previous = os.umask(umask)
    try:
        plan = make_plan(directory, bundle)
        with applied(plan):
            pass
    finally:
        os.umask(previous)
    modes = {
        path.relative_to(tmp_path): (path.is_dir(), stat.S_IMODE(path.lstat().st_mode))
        for path in tmp_path.rglob("*")
        if path not in before
    }
    programs = [path for path, (is_directory, mode) in modes.items() if not is_directory and mode == 0o755]
    assert [path.name for path in programs] == ["launch"]
    others = {mode for path, (is_directory, mode) in modes.items() if not is_directory and path not in programs}
    assert others == {0o644}
    assert {mode for is_directory, mode in modes.values() if is_directory} == {0o755}
    assert len(modes) > len(FUNCTIONS)


@pytest.fixture(scope="module")
def launcher(tmp_path_factory: pytest.TempPathFactory, tiny_bundle: Path) -> Path:
    """The launcher that the installer would write for the small model, and its settings."""
    place = tmp_path_factory.mktemp("launch")
    (place / "pictures").mkdir()
    settings = place / "worker.json"
    settings.write_text(WorkerSettings(tiny_bundle, image_roots=(place / "pictures",), format=TAB_SEPARATED).to_json())
    file = place / "launch"
    file.write_text(render.launcher("tiny", Path(sys.executable), settings, wire_format=TAB_SEPARATED))
    file.chmod(0o755)
    return file


def ask(command: list[str], value: bytes, **options: object) -> subprocess.CompletedProcess[bytes]:
    return subprocess.run(command, input=b"1\n" + escape(value) + b"\n", capture_output=True, check=False, **options)  # type: ignore[call-overload,no-any-return]


def test_the_interpreter_takes_nothing_from_the_environment_or_the_working_directory(
    launcher: Path, tmp_path: Path
) -> None:
    trap = "raise SystemExit('taken from a place that others may write')"
    for name in ("numpy", "json", "clip_udfs", "sitecustomize", "usercustomize"):
        (tmp_path / f"{name}.py").write_text(trap)
    environment = {
        "PYTHONPATH": str(tmp_path),
        "PYTHONHOME": "",
        "PYTHONUSERBASE": str(tmp_path),
        "HOME": str(tmp_path),
    }
    sound = ask([str(launcher), "encode_text"], b"cat", env={}, cwd="/")
    assert (sound.returncode, sound.stderr) == (0, b"")
    hostile = ask([str(launcher), "encode_text"], b"cat", env=environment, cwd=tmp_path)
    assert (hostile.returncode, hostile.stderr, hostile.stdout) == (0, b"", sound.stdout)


@pytest.fixture(scope="module")
def filtering() -> None:
    """Skip where the kernel, or what confines this process, lets nobody filter system calls."""
    if platform.machine() not in no_network._SOCKET:
        pytest.skip(f"the filter of sockets is not written for {platform.machine()}")
    if subprocess.run([*WRAPPER, shutil.which("true") or "/bin/true"], capture_output=True, check=False).returncode:
        pytest.skip("this process may not filter system calls (seccomp)")


def write_no_file() -> None:
    """Have the kernel refuse every byte that this process writes to a file; a pipe is none."""
    resource.setrlimit(resource.RLIMIT_FSIZE, (0, 0))


@pytest.mark.parametrize("function", ["encode_text", "encode_image", "try_encode_image_bytes"])
def test_a_worker_works_without_writing_a_file_or_any_network_and_tries_none(
    filtering: None, launcher: Path, function: str
) -> None:
    content = BytesIO()
    Image.new("RGB", (9, 9), "red").save(content, "PNG")
    (launcher.parent / "pictures/red.png").write_bytes(content.getvalue())
    value = {"text": b"caf\xc3\xa9 &amp; cat", "path": b"red.png", "bytes": content.getvalue()}[
        FUNCTIONS[function].source
    ]
    free = ask([str(launcher), function], value)
    confined = ask([*WRAPPER, str(launcher), function], value, preexec_fn=write_no_file)
    assert (free.returncode, confined.returncode, confined.stderr) == (0, 0, b"")
    assert confined.stdout == free.stdout != b""


def test_opening_a_socket_is_noticed(filtering: None) -> None:
    """Otherwise the test above would prove nothing: in Python, and in child processes."""
    for command in (
        [sys.executable, "-c", "import socket; socket.socket()"],
        [sys.executable, "-c", "import urllib.request; urllib.request.urlopen('http://127.0.0.1:9')"],
    ):
        assert ask([*WRAPPER, *command], b"").returncode == -signal.SIGSYS


FORBIDDEN_IN_WORKERS = {
    "pickle",
    "marshal",
    "shelve",
    "dill",
    "joblib",
    "socket",
    "subprocess",
    "multiprocessing",
    "urllib",
    "requests",
}


def test_the_code_unpickles_nothing_and_a_worker_s_starts_and_reaches_nothing() -> None:
    for folder in SOURCES:
        forbidden = (
            FORBIDDEN_IN_WORKERS if folder.name == "clip_udfs" else {"pickle", "marshal", "shelve", "dill", "joblib"}
        )
        for path in folder.rglob("*.py"):
            for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
                names = [one.name for one in node.names] if isinstance(node, ast.Import) else []
                names += [node.module or ""] if isinstance(node, ast.ImportFrom) else []
                assert not {name.split(".")[0] for name in names} & forbidden, path
                if not isinstance(node, ast.Call):
                    continue
                called = ast.unparse(node.func)
                said = {keyword.arg: ast.unparse(keyword.value) for keyword in node.keywords}
                assert called not in ("eval", "exec", "os.system", "yaml.load", "compile"), path
                assert called != "torch.load" or said.get("weights_only") == "True", path
                assert not called.endswith("np.load") or said.get("allow_pickle", "False") == "False", path


class Payload:
    """Runs a command when it is unpickled."""

    def __init__(self, marker: Path) -> None:
        self.marker = marker

    def __reduce__(self) -> object:
        return Path.touch, (self.marker,)


def test_a_checkpoint_that_would_run_code_is_refused_and_runs_none(tmp_path: Path) -> None:
    import torch

    for name in ("archive.pt", "plain.bin"):
        content = {"state_dict": {"weight": Payload(tmp_path / "ran")}}
        if name == "archive.pt":
            torch.save(content, tmp_path / name)
        else:
            (tmp_path / name).write_bytes(pickle.dumps(content))
        with pytest.raises(ModelError):
            build_model(str(TINY_CLIP), str(tmp_path / name), tmp_path / "bundle")
        assert not (tmp_path / "ran").exists()
