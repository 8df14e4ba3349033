"""The files that cloud-bundle writes beside the archives."""

from __future__ import annotations

import os
import re
from dataclasses import replace
from pathlib import Path

import pytest

from clip_installer import resources
from clip_installer.cloud.function import cloud_functions
from clip_installer.cloud.output import write_directory
from clip_installer.errors import ApplyError
from clip_installer.tables.schema import SchemaParameters
from clip_udfs.bundle import Bundle
from clip_udfs.functions import FUNCTIONS
from clip_udfs.settings import WorkerSettings

SETTINGS = WorkerSettings(Path())
SCHEMA = SchemaParameters(cloud=True)


@pytest.fixture
def bundle() -> Bundle:
    """The built-in model."""
    return Bundle.open(resources.builtin_models() / "emoji")


@pytest.fixture
def without_weights(bundle: Bundle, tmp_path: Path) -> Bundle:
    """A bundle whose graph is an empty file, so that it is packed at once."""
    directory = tmp_path / "bundle"
    directory.mkdir()
    (directory / "text.onnx").touch()
    record = replace(bundle.manifest.files["text.onnx"], bytes=0)
    return Bundle(directory, replace(bundle.manifest, files={"text.onnx": record}))


def test_console_and_terraform_are_given_the_same_settings(without_weights: Bundle, tmp_path: Path) -> None:
    """Every function with its archive, types, format and timeouts."""
    write_directory(tmp_path / "cloud", without_weights, SETTINGS, SCHEMA, 3)
    terraform = (tmp_path / "cloud/functions.tf").read_text()
    console = (tmp_path / "cloud/console.md").read_text()
    blocks = re.findall(r'^resource "clickhouse_udf" .*?^}', terraform, re.MULTILINE | re.DOTALL)
    rows = [line for line in console.splitlines() if line.startswith("| `")]
    functions = list(cloud_functions(without_weights, SETTINGS, 3))
    for one, block, row in zip(functions, blocks, rows, strict=True):
        for said in (one.name, one.archive, one.return_type, one.return_name, str(one.silence_milliseconds)):
            assert said in block
            assert said in row
        assert f'"{one.format}"' in block
        assert re.search(r"pool_size +=\s3$", block, re.MULTILINE)
    assert f"| format | {SETTINGS.format} |" in console


def test_the_same_content_makes_the_same_archives(without_weights: Bundle, tmp_path: Path) -> None:
    """Otherwise Terraform would publish a new version of each function after every run."""
    arguments = (without_weights, SETTINGS, SCHEMA)
    assert all(one.changed for one in write_directory(tmp_path / "cloud", *arguments, 2))
    os.utime(without_weights.directory / "text.onnx", (0, 0))
    assert not any(one.changed for one in write_directory(tmp_path / "cloud", *arguments, 2))
    changed = {one.path.name for one in write_directory(tmp_path / "cloud", *arguments, 3) if one.changed}
    assert changed == {"console.md", "functions.tf"}


def test_functions_that_are_given_a_path_are_left_out(bundle: Bundle) -> None:
    names = {one.name for one in cloud_functions(bundle, SETTINGS, 2)}
    assert names == {function.name for function in FUNCTIONS.values() if function.source != "path"}


def test_a_place_that_cannot_be_written_is_named(without_weights: Bundle, tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(ApplyError, match=r"cannot write .*file/cloud: Not a directory"):
        write_directory(tmp_path / "file/cloud", without_weights, SETTINGS, SCHEMA, 2)
