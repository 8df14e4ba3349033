"""Starting a launcher as ClickHouse does, and the messages if that fails."""

from __future__ import annotations

import os
import re
import sys
from pathlib import Path

import pytest

from clip_installer.errors import CheckFailed
from clip_installer.install.checks.golden import Golden, Sample, deviation, difference
from clip_installer.install.checks.host import LEAST_PILLOW, check_interpreter
from clip_installer.install.checks.launch import answers, closed_directory
from clip_installer.install.records.records import InstalledModel
from clip_installer.server.user import ServerUser
from clip_udfs import __version__
from clip_udfs.errors import BundleError
from clip_udfs.settings import FORMATS, WorkerSettings
from tests.server_trees import make_bundle

ME = ServerUser.current("test")
# A worker that answers with the number of bytes that it got, in either format, and shows where it runs.
WORKER = """#!{python} -I
import os, struct, sys
count, row = sys.stdin.buffer.read().split(b"\\n", 1)
# Python itself sets LC_CTYPE where there is no locale.
vector = [len(row), len(set(os.environ) - {{"LC_CTYPE"}}), len(os.getcwd())]
head = b"\\1\\11embedding\\16Array(Float32)"
if sys.argv[1] == "rowbinary":
    sys.stdout.buffer.write(head + (bytes([3]) + struct.pack("<3f", *vector)) * int(count))
elif sys.argv[1] == "fails":
    sys.exit("first line\\nthe reason")
elif sys.argv[1] == "chatters":
    print("hello")
elif sys.argv[1] == "half":
    sys.stdout.buffer.write(head + bytes([3]) + struct.pack("<2f", 1, 2))
else:
    print(*[vector] * int(count), sep="\\n")
"""


@pytest.fixture
def worker(tmp_path: Path) -> Path:
    path = tmp_path / "worker"
    path.write_text(WORKER.format(python=sys.executable))
    path.chmod(0o755)
    return path


@pytest.mark.parametrize(
    ("value", "sent"),
    [(b"cat", 4), (b"", 1), (b"a\tb\nc\\d\re\0f\bg\fh", 23), (b"x" * 300, 301)],
)
def test_tab_separated(worker: Path, value: bytes, sent: int) -> None:
    settings = WorkerSettings(bundle=Path("/none"), format="TabSeparated")
    assert answers(worker, "tsv", [value], settings, ME) == [[sent, 0, 1]]
    assert answers(worker, "tsv", [value, value], settings, ME) == [[2 * sent, 0, 1]] * 2


@pytest.mark.parametrize(("value", "sent"), [(b"cat", 4), (b"x" * 300, 302), (b"\n\\\0", 4)])
def test_row_binary(worker: Path, value: bytes, sent: int) -> None:
    """15 bytes are the number of columns, the name and the type."""
    settings = WorkerSettings(bundle=Path("/none"), format=FORMATS[0])
    assert answers(worker, "rowbinary", [value], settings, ME) == [[15 + sent, 0, 1]]
    assert answers(worker, "rowbinary", [value] * 100, settings, ME) == [[15 + 100 * sent, 0, 1]] * 100


@pytest.mark.parametrize(("function", "said"), [("fails", "^the reason$"), ("chatters", "not a vector")])
def test_failures(worker: Path, function: str, said: str) -> None:
    with pytest.raises(CheckFailed, match=said):
        answers(worker, function, [b""], WorkerSettings(bundle=Path("/none"), format="TabSeparated"), ME)


def test_half_a_vector_is_refused(worker: Path) -> None:
    with pytest.raises(CheckFailed, match="not a vector"):
        answers(worker, "half", [b""], WorkerSettings(bundle=Path("/none"), format=FORMATS[0]), ME)


def test_a_launcher_that_cannot_start(tmp_path: Path) -> None:
    (tmp_path / "launch").write_text("#!/bin/sh\n")
    with pytest.raises(CheckFailed, match=r"cannot start .*/launch: Permission denied"):
        answers(tmp_path / "launch", "x", [b""], WorkerSettings(bundle=Path("/none"), format="TabSeparated"), ME)


def test_a_closed_directory_is_named(tmp_path: Path) -> None:
    stranger = ServerUser("stranger", 4242, 4242, "test")
    (tmp_path / "venv" / "bin").mkdir(parents=True)
    for directory in (tmp_path, *tmp_path.parents):
        if directory.stat().st_uid == os.geteuid() and not directory.stat().st_mode & 0o001:
            directory.chmod(0o711)
    python = tmp_path / "venv" / "bin" / "python"
    python.symlink_to(sys.executable)
    (tmp_path / "venv").chmod(0o700)
    assert closed_directory(python, stranger) == tmp_path / "venv"
    assert closed_directory(python, ME) is None or os.geteuid() != 0
    model = InstalledModel("", "m", "1", str(python), (), ())
    finding = check_interpreter(model, stranger)
    assert finding.level == "problem"
    assert f"stranger may not enter {tmp_path / 'venv'}" in finding.message
    assert "python3 -m venv" in finding.remedy


def test_an_interpreter_without_the_package(tmp_path: Path) -> None:
    python = tmp_path / "python"
    python.write_text("#!/bin/sh\necho \"ModuleNotFoundError: No module named 'clip_udfs'\" >&2; exit 1\n")
    python.chmod(0o755)
    finding = check_interpreter(InstalledModel("", "m", "1", str(python), (), ()), ME)
    assert finding.level == "problem"
    assert "No module named 'clip_udfs'" in finding.message
    assert f"{python} -m pip install" in finding.remedy


@pytest.mark.parametrize(
    ("pillow", "level"), [("11.3.0", "problem"), ("12.1.1", "problem"), ("12.2.0", "ok"), ("13.0.0", "ok")]
)
def test_an_old_pillow_is_named(tmp_path: Path, pillow: str, level: str) -> None:
    python = tmp_path / "python"
    python.write_text(f"#!/bin/sh\necho 1; echo {pillow}\n")
    python.chmod(0o755)
    finding = check_interpreter(InstalledModel("", "m", "1", str(python), (), ()), ME)
    assert finding.level == level
    if level == "problem":
        assert f"{python} has Pillow {pillow}" in finding.message
        assert "pip install --upgrade 'pillow>=12.2'" in finding.remedy


def test_packages_without_bytecode_are_named(tmp_path: Path) -> None:
    """The server's user cannot write what uv did not: compiling would take half of each worker's start."""
    python = tmp_path / "python"
    model = InstalledModel("", "m", __version__, str(python), (), ())
    found = []
    for options in ("", f"-B -X pycache_prefix={tmp_path}/none"):
        python.write_text(f'#!/bin/sh\nexec {sys.executable} {options} "$@"\n')
        python.chmod(0o755)
        found.append(check_interpreter(model, ME))
    assert [finding.level for finding in found] == ["ok", "note"]
    assert f"{python} -m compileall -q " in found[1].message


def test_the_least_pillow_is_that_of_the_package() -> None:
    asked = Path(__file__).parents[5].joinpath("pyproject.toml").read_text()
    assert f'"pillow>={".".join(map(str, LEAST_PILLOW))}"' in asked


@pytest.mark.parametrize(
    ("vector", "normalized", "wrong"),
    [
        ([0.6, 0.8], True, None),
        ([0.6, 0.8, 0.0], True, "3 numbers instead of 2"),
        ([3.0, 4.0], True, "length 5.0000"),
        ([3.0, 4.0], False, None),
        ([0.0, 0.0], False, "length 0.0000"),
        ([float("nan"), 0.0], False, "length nan"),
        ([0.8, 0.6], True, "cosine .* 0.96000"),
    ],
)
def test_difference_from_the_golden_vector(vector: list[float], normalized: bool, wrong: str | None) -> None:
    said = difference(vector, [0.6, 0.8], normalized=normalized)
    assert said is None if wrong is None else said is not None and re.search(wrong, said)


def test_every_golden_value_counts() -> None:
    samples = [Sample(f"the text {text!r}", text.encode(), (0.6, 0.8)) for text in ("cat", "猫", "dog")]
    right = [[0.6, 0.8]] * 3
    assert deviation(right, samples, normalized=True) is None
    assert deviation(right[:2], samples, normalized=True) == "2 answers for 3 values"
    said = deviation([[0.6, 0.8], [0.8, 0.6], [0.6, 0.8]], samples, normalized=True)
    assert said == (
        "a vector whose cosine with the model's own is 0.96000, below 0.9999, for the text '猫'"
        " (1 of 3 golden values differ)"
    )


@pytest.mark.parametrize(
    ("golden", "said"),
    [
        ("{}", "has no golden vectors: 'texts'"),
        ('{"texts": [], "images": []}', "has no golden vectors of a text and an image"),
        ('{"texts": [{"text": "a", "vector": [0, 0]}], "images": []}', "has the length 0.0000 instead of 1"),
        (
            '{"texts": [{"text": "a", "vector": [0, 1]}], "images": [{"png_base64": "", "vector": [1, 0, 0, 0]}]}',
            "its golden vector of the text 'a' has 2 numbers, its manifest says 4",
        ),
    ],
)
def test_golden_values_that_prove_nothing_are_refused(tmp_path: Path, golden: str, said: str) -> None:
    bundle = make_bundle(tmp_path / "bundle").directory
    (bundle / "golden.json").write_text(golden)
    with pytest.raises(BundleError, match=re.escape(said)):
        Golden.of(bundle)


def test_the_engine_is_silent_without_a_home_directory() -> None:
    # ClickHouse takes a worker's last line on standard error for the reason of its failure.
    import subprocess

    imported = subprocess.run(
        [sys.executable, "-I", "-c", "import clip_udfs, onnxruntime"],
        env={"HOME": "/proc/none"},
        capture_output=True,
        text=True,
        check=True,
    )
    assert imported.stderr == ""
