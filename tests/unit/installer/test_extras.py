"""Packages outside the default installation are requested by name, and nothing else needs them."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

# A module that sys.modules maps to None cannot be imported, as if it were not installed.
WITHOUT = """
import sys
for name in ("chdb", "matplotlib", "open_clip", "pyarrow", "torch", "transformers"):
    sys.modules[name] = None
from clip_installer.cli import main
main()
"""


def run(*arguments: object) -> subprocess.CompletedProcess[str]:
    """Run ``clip-udfs`` with the packages of the default installation only."""
    return subprocess.run(
        [sys.executable, "-c", WITHOUT, *map(str, arguments)], capture_output=True, text=True, check=False
    )


def test_an_import_names_the_extra_that_it_needs(tmp_path: Path) -> None:
    done = run("import-laion", tmp_path, "--parts", "0", "--url", "http://127.0.0.1:1")
    assert (done.returncode, done.stderr) == (
        1,
        "clip-udfs: clip-udfs import-laion needs the Python package pyarrow: "
        "pip install 'clickhouse-clip-udfs[import]'\n",
    )


@pytest.mark.parametrize("command", [("--help",), ("import-laion", "--help"), ("models",)])
def test_commands_run_without_any_extra(command: tuple[str, ...]) -> None:
    done = run(*command)
    assert done.returncode == 0, done.stderr


def test_an_install_needs_no_extra(tmp_path: Path) -> None:
    config = tmp_path / "etc"
    config.mkdir()
    (tmp_path / "data").mkdir()
    (config / "config.xml").write_text(f"<clickhouse><path>{tmp_path}/data/</path></clickhouse>")
    done = run("install", "--server-config", config, "--no-ddl")
    assert done.returncode == 0, done.stderr
    done = run("install", "--server-config", config, "--uninstall", "--no-ddl")
    assert done.returncode == 0, done.stderr


def test_an_environment_without_a_package_that_everything_needs(tmp_path: Path) -> None:
    """As after an aborted upgrade: one line names the package and how to restore it."""
    without = WITHOUT.replace('("chdb"', '("numpy", "chdb"')
    (tmp_path / "config.xml").write_text(f"<clickhouse><path>{tmp_path}/data/</path></clickhouse>")
    command = [sys.executable, "-c", without, "install", "--server-config", str(tmp_path), "--dry-run"]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert (done.returncode, len(done.stderr.splitlines())) == (1, 1), done.stderr
    assert f"the Python package numpy is missing from {sys.prefix}; install this one again" in done.stderr
    assert "-m pip install --force-reinstall clickhouse-clip-udfs" in done.stderr
