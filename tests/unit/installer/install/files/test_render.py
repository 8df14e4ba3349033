"""Rendered files: keys that ClickHouse knows, values escaped, nothing undefined."""

from __future__ import annotations

import shlex
import subprocess
from pathlib import Path

import pytest
from lxml import etree

from clip_installer import resources
from clip_installer.errors import ConfigurationError
from clip_installer.install.files import render
from clip_installer.tables.label import ModelLabel, label_of_command, label_of_comment
from clip_udfs.functions import FUNCTIONS, Function
from clip_udfs.pipe.row_binary import RowBinaryWriter
from clip_udfs.settings import FORMATS, ROW_BINARY
from tests import row_binary_blocks


def definition(**changes: object) -> render.FunctionDefinition:
    values = {
        "function": FUNCTIONS["try_encode_image"],
        "suffix": "",
        "directory": "clip_udfs/model-1.0",
        "model": ModelLabel("model-1.0", 512, "fedcba987654"),
        "format": "TabSeparated",
        "pool_size": 3,
        "silence_seconds": 60,
    }
    return render.FunctionDefinition(**{**values, **changes})


def test_function_xml() -> None:
    function = etree.fromstring(render.function_xml(definition(suffix="l_14")).encode()).find("function")
    values = {element.tag: element.text for element in function if isinstance(element.tag, str)}
    assert values["name"] == "try_encode_image_l_14"
    assert values["command"] == "clip_udfs/model-1.0/launch try_encode_image 512 fedcba987654"
    assert values["pool_size"] == "3"
    assert (values["stderr_reaction"], values["check_exit_code"], values["send_chunk_header"]) == ("throw", "1", "1")
    assert [element.text for element in function.find("argument")] == ["Nullable(String)", "path"]


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"directory": "clip udfs/x"}, "<command>"),
        ({"directory": "/clip_udfs/x"}, "<command>"),
        ({"directory": "clip_udfs/../x"}, "<command>"),
        ({"suffix": "a-b"}, "<name>"),
        ({"pool_size": 0}, "<pool_size>"),
        ({"format": "CSV"}, "<format>"),
        ({"format": "<x>"}, "<format> cannot be '<x>'"),
    ],
)
def test_values_that_clickhouse_would_misread(changes: dict[str, object], said: str) -> None:
    with pytest.raises(ConfigurationError, match=said):
        render.function_xml(definition(**changes))


@pytest.fixture
def templates(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A copy of the templates that can be spoilt."""
    for path in resources.templates().glob("*.*"):
        (tmp_path / path.name).write_text(path.read_text())
    monkeypatch.setattr(resources, "templates", lambda: tmp_path)
    render._environment.cache_clear()
    yield tmp_path
    render._environment.cache_clear()


@pytest.mark.parametrize(
    ("old", "new", "said"),
    [
        ("<pool_size>{{ pool_size }}", "<pool_size>{{ poolsize }}", "function.xml.j2: 'poolsize' is undefined"),
        ("<lifetime>0</lifetime>", "<lifetimes>0</lifetimes>", "<lifetime> is there 0 times"),
        ("<lifetime>0</lifetime>", "<lifetime>0</lifetime><pool>1</pool>", "knows no <pool>"),
        ("<lifetime>0</lifetime>", "<lifetime>0</lifetime><lifetime>0</lifetime>", "<lifetime> is there 2 times"),
        ("{{ argument }}</name>", "{{ argument }}</name><nick>x</nick>", "knows no <nick>"),
        ("<lifetime>0</lifetime>", "<lifetime>0", "function.xml.j2"),
    ],
)
def test_a_spoilt_template_is_refused(templates: Path, old: str, new: str, said: str) -> None:
    template = templates / "function.xml.j2"
    assert old in template.read_text()
    template.write_text(template.read_text().replace(old, new))
    with pytest.raises(ConfigurationError) as refused:
        render.function_xml(definition())
    assert said in str(refused.value)


def test_drop_in_is_added_not_substituted_and_escaped() -> None:
    root = etree.fromstring(render.drop_in_xml("a&b/<*>.xml").encode())
    assert root.tag == "clickhouse"
    (element,) = [child for child in root if isinstance(child.tag, str)]
    assert element.tag == "user_defined_executable_functions_config"
    assert dict(element.attrib) == {"id": "clip_udfs"}
    assert element.text == "a&b/<*>.xml"


@pytest.mark.parametrize("wire_format", FORMATS)
@pytest.mark.parametrize("name", ["plain", "with space", "quo'te", 'dou"ble', "dollar$HOME", "back`tick`", "ünï 中"])
def test_the_launcher_passes_any_path(tmp_path: Path, name: str, wire_format: str) -> None:
    """And with the format that has one, it writes the header of the first answer, whatever fails after that."""
    folder = tmp_path / name
    folder.mkdir()
    python, launch, settings = folder / "python", folder / "launch", folder / "worker.json"
    python.write_text('#!/bin/sh\nprintf "%s\\n" "$@"\n')
    launch.write_text(render.launcher("model", python, settings, wire_format=wire_format))
    for path in (python, launch):
        path.chmod(0o755)
    header, written = (row_binary_blocks.ANSWER, [b"--header-written"]) if wire_format == ROW_BINARY else (b"", [])
    done = subprocess.run([launch, "encode_text"], env={}, cwd="/", capture_output=True, check=True)
    arguments = [b"-I", b"-m", b"clip_udfs", b"encode_text", b"--settings", str(settings).encode(), *written]
    assert done.stdout == header + b"".join(argument + b"\n" for argument in arguments)
    assert shlex.split(launch.read_text().splitlines()[-1])[0] == "exec"
    python.unlink()
    failed = subprocess.run([launch, "encode_text"], env={}, input=b"1\ncat\n", capture_output=True, check=False)
    assert (failed.returncode, failed.stdout) == (127, header)
    reason = f"encode_text: the interpreter {python} is not there: install the package again, then run install-udfs\n"
    assert failed.stderr.decode() == reason


@pytest.mark.parametrize("function", FUNCTIONS.values(), ids=FUNCTIONS)
def test_the_launcher_writes_the_header_that_the_worker_would_write(tmp_path: Path, function: Function) -> None:
    """In the words of the function's own definition."""
    launch = tmp_path / "launch"
    launch.write_text(render.launcher("model", Path("/bin/true"), tmp_path, wire_format=ROW_BINARY))
    launch.chmod(0o755)
    done = subprocess.run([launch, function.name], env={}, capture_output=True, check=True)
    assert done.stdout == RowBinaryWriter(function.return_name, function.return_type).header


def test_the_command_says_that_images_are_turned_and_the_label_reads_it() -> None:
    """So index-pictures and check-model can tell the two kinds of vectors apart."""
    turned = ModelLabel("model-1.0", 512, "0123456789ab", turned=True)
    command = etree.fromstring(render.function_xml(definition(model=turned)).encode()).findtext("function/command")
    assert label_of_command(str(command)) == turned
    assert label_of_comment(f"{turned.comment}, definition 000000000000") == turned
