"""The archives for ClickHouse Cloud: unpacked alone, with their requirements alone, beside installed functions."""

from __future__ import annotations

import sys
import zipfile
from collections.abc import Iterator
from dataclasses import dataclass
from importlib.metadata import PackageNotFoundError, distribution
from pathlib import Path
from shlex import quote
from typing import Any
from xml.etree import ElementTree

import pytest

from clip_installer.install.files.render import TERMINATION_SECONDS
from tests.chdb import commands
from tests.chdb.conftest import make_tree
from tests.chdb.driver import Engine
from tests.picture_files import FORMATS, write_picture

TEXTS = "['', 'a red car', 'a dog''s face', '一辆红色的汽车', 'Ünïcödé &amp; more', repeat('many words ', 200)]"


@dataclass(frozen=True)
class Cloud:
    """The directory that the command wrote, what it printed, images, and an engine with both kinds of functions."""

    output: Path
    images: Path
    answer: dict[str, Any]
    engine: Engine


@pytest.fixture(scope="module")
def cloud(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Cloud]:
    """The built-in model, installed, and from its archives under the suffix ``cloud``.

    With one thread each, so that both encode the same rows together on any machine.
    """
    place = tmp_path_factory.mktemp("cloud")
    server, output = make_tree(place), place / "output"
    server.install("--model", "emoji", "--no-ddl", "--threads", "1")
    answer = commands.succeed(
        "cloud-bundle", "--model", "emoji", "--suffix", "cloud", "--threads", 1, "--output", output, "--json"
    )
    for one in answer.answer["functions"]:
        name = one["functionName"]
        home = server.data / "user_scripts" / name
        with zipfile.ZipFile(output / f"{name}.zip") as archive:
            archive.extractall(home)
        start = home / "start"
        start.write_text(_launcher(home, _packages(home / "requirements.txt", place / "packages" / name)))
        start.chmod(0o755)
        (server.config / f"{name}_function.xml").write_bytes(_definition(one, f"{name}/start"))
    for number, kind in enumerate(FORMATS):
        write_picture(server.pictures / f"{number}.{kind.lower()}", kind, number)
    engine = server.engine()
    yield Cloud(output, server.pictures, answer.answer, engine)
    assert engine.close() == 0


def _packages(requirements: Path, place: Path) -> Path:
    """A folder with the packages that the requirements name, and no other: an environment without a download.

    Older releases, as ``make test-lowest`` has, need fewer packages than those that the requirements pin.
    """
    place.mkdir(parents=True)
    for line in requirements.read_text().splitlines():
        try:
            found = distribution(line.partition("==")[0])
        except PackageNotFoundError:
            continue
        for entry in {file.parts[0] for file in found.files or ()} - {"..", "__pycache__"}:
            (place / entry).symlink_to(str(found.locate_file(entry)))
    return place


def _launcher(home: Path, packages: Path) -> str:
    """Starts ``main.py`` with the packages in the folder, and without those of the environment of the tests."""
    program = f"{quote(sys.executable)} -S {quote(str(home / 'main.py'))}"
    return f"#!/bin/sh\nexec env -i PYTHONPATH={quote(str(packages))} {program}\n"


def _definition(request: dict[str, Any], command: str) -> bytes:
    """What Cloud may be expected to make of a request: the function's XML."""
    root = ElementTree.Element("functions")
    function = ElementTree.SubElement(root, "function")
    for key, value in (
        ("name", request["functionName"]),
        ("type", request["type"]),
        ("return_type", request["returnType"]),
        ("return_name", request["returnName"]),
        ("format", request["format"]),
        ("send_chunk_header", int(request["sendChunkHeader"])),
        ("pool_size", request["poolSize"]),
        ("max_command_execution_time", request["maxCommandExecutionTime"]),
        ("command_read_timeout", request["commandReadTimeout"]),
        ("command_write_timeout", request["commandWriteTimeout"]),
        ("command_termination_timeout", TERMINATION_SECONDS),
        ("command", command),
        ("execute_direct", 1),
    ):
        ElementTree.SubElement(function, key).text = str(value)
    for argument in request["arguments"]:
        element = ElementTree.SubElement(function, "argument")
        for key in ("name", "type"):
            ElementTree.SubElement(element, key).text = argument[key]
    return ElementTree.tostring(root)


def test_the_vectors_of_texts_are_those_of_the_installed_functions(cloud: Cloud) -> None:
    """They are equal bit for bit."""
    query = (
        "SELECT count(), countIf(encode_text_cloud(text) = encode_text(text)),"
        " countIf(try_encode_text_cloud(if(text = '', NULL, text)) = try_encode_text(if(text = '', NULL, text)))"
        f" FROM (SELECT arrayJoin({TEXTS}) AS text)"
    )
    assert [list(map(int, row)) for row in cloud.engine.rows(query)] == [[6, 6, 6]]


def test_what_images_become_is_what_the_installed_functions_make_of_them(cloud: Cloud) -> None:
    """Bit for bit: vectors, thumbnails and what is known of an image, for each format.

    As text, in which a float32 keeps every bit, because a tuple with a NULL in it equals nothing.
    """
    same = ", ".join(
        f"countIf(toString({name}_cloud(content{more})) = toString({name}(content{more})))"
        for name, more in (("encode_image_bytes", ""), ("thumbnail_bytes", ", 32"), ("image_info_bytes", ""))
    )
    query = f"SELECT count(), {same} FROM (SELECT raw_blob AS content FROM file('{cloud.images}/*', RawBLOB))"
    assert [list(map(int, row)) for row in cloud.engine.rows(query)] == [[len(FORMATS)] * 4]


def test_an_archive_holds_regular_files_with_main_py_at_the_top(cloud: Cloud) -> None:
    """Cloud refuses links, and looks for main.py and requirements.txt at the top."""
    archives = sorted(cloud.output.glob("*.zip"))
    assert [path.stem for path in archives] == sorted(one["functionName"] for one in cloud.answer["functions"])
    for path in archives:
        with zipfile.ZipFile(path) as archive:
            assert {"main.py", "requirements.txt"} <= set(archive.namelist())
            assert {member.external_attr >> 16 for member in archive.infolist()} == {0o100644}


def test_the_schema_has_what_the_functions_of_the_cloud_can_serve(cloud: Cloud) -> None:
    """Table, views and indexes; nothing that is given a path of the server."""
    for name in ("schema.sql", "indexes.sql"):
        for statement in (cloud.output / name).read_text().split(";\n"):
            if statement.strip():
                cloud.engine.rows(statement)
    cloud.engine.rows(
        "INSERT INTO laion_cloud (id, image_embedding, text_embedding)"
        " SELECT number, encode_text_cloud('picture ' || toString(number)) AS v, v FROM numbers(20)"
    )
    found = cloud.engine.rows("SELECT id FROM search_by_text_cloud(query = 'picture 7', k = 1)")
    assert [int(one) for (one,) in found] == [7]
    helped = {name for (name,) in cloud.engine.rows("SELECT name FROM clip_help_cloud WHERE kind = 'function'")}
    assert helped == {one["functionName"] for one in cloud.answer["functions"]}
    assert not cloud.engine.rows("SELECT name FROM clip_help_cloud WHERE example LIKE '%file(%'")
