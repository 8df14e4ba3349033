"""What the .deb and the .rpm say of themselves; ``packages/try`` installs, runs and removes them."""

from __future__ import annotations

import subprocess
from importlib.machinery import SourceFileLoader
from importlib.util import module_from_spec, spec_from_loader
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest

from tests.documents import REPOSITORY
from tests.unit.repository.test_locks import PROJECT

PYTHON = Path("/usr/bin/python3.11")


@pytest.fixture(scope="module")
def build() -> ModuleType:
    """``packages/build``, which has no ending because it is a command."""
    loader = SourceFileLoader("packages_build", str(REPOSITORY / "packages/build"))
    spec = spec_from_loader(loader.name, loader)
    assert spec is not None
    module = module_from_spec(spec)
    loader.exec_module(module)
    return module


def fields(text: str) -> dict[str, str]:
    """The fields at the beginning of a control or spec file."""
    return dict(line.split(": ", 1) for line in text.splitlines() if ": " in line and line[0].isupper())


def test_both_say_what_pyproject_says(build: Any, tmp_path: Path) -> None:
    """Name, version, what it is; and the very Python that the environment was made for."""
    deb = fields(build.control(PROJECT, "1.2.3", PYTHON, 4096))
    rpm = fields(build.spec(PROJECT, "1.2.3", PYTHON, tmp_path))
    assert (deb["Package"], rpm["Name"]) == ("clip-udfs", "clip-udfs")
    assert (deb["Version"], rpm["Version"], rpm["Release"]) == ("1.2.3+python3.11", "1.2.3", "1.python3.11")
    assert deb["Description"] == rpm["Summary"] == PROJECT["description"].rstrip(".")
    assert rpm["License"] == PROJECT["license"]
    assert deb["Depends"].startswith("python3.11, ")
    assert rpm["Requires"].startswith("/usr/bin/python3.11, ")


@pytest.mark.parametrize(
    ("ours", "theirs"),
    [("1.0.0", "1.0.0"), ("1.0.0rc1", "1.0.0~rc1"), ("1.0.0a2", "1.0.0~a2"), ("1.0.dev3", "1.0~dev3")],
)
def test_a_release_candidate_comes_before_its_release(build: Any, ours: str, theirs: str) -> None:
    assert build.package_version(ours) == theirs


def test_the_scripts_are_ones_that_a_shell_can_run() -> None:
    subprocess.run(["bash", "-n", str(REPOSITORY / "packages/try")], check=True)
