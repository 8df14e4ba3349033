"""Every snippet of docs/clients.md, run against a server by a user with readonly = 1."""

from __future__ import annotations

import io
import os
import shutil
import subprocess
from contextlib import redirect_stdout
from pathlib import Path

import pytest

from tests import documents
from tests.server.running import PASSWORDS, RunningServer, ServerPlace

SNIPPETS = [block for block in documents.blocks("docs/clients.md") if block.language != "sql"]
# A folder with @clickhouse/client, which npm has made.
NODE_MODULES = os.environ.get("NODE_MODULES", "")


@pytest.fixture(scope="module")
def filled(server: RunningServer, pictures: list[str]) -> RunningServer:
    """The server with three pictures in its table."""
    for position, path in enumerate(pictures):
        server.rows(
            "INSERT INTO laion (id, url, caption, image_embedding, text_embedding)"
            f" SELECT {position}, '{path}', 'a caption', encode_image('{path}'), encode_text('a caption')"
        )
    return server


@pytest.mark.parametrize("snippet", SNIPPETS, ids=lambda block: f"{block.language}-{block.line}")
def test_a_snippet_finds_pictures(
    snippet: documents.Block,
    filled: RunningServer,
    place: ServerPlace,
    pictures: list[str],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    shutil.copy(place.pictures / Path(pictures[0]).name, tmp_path / "photo.jpg")
    monkeypatch.chdir(tmp_path)
    code = snippet.code
    for written, run in (
        ("localhost:8123", f"{filled.host}:{filled.http_port}"),
        ('host="localhost", port=8123', f'host="{filled.host}", port={filled.http_port}'),
        ('Client("localhost", port=9000', f'Client("{filled.host}", port={filled.tcp_port}'),
        ("analyst", "readonly"),
        ("PASSWORD", PASSWORDS["readonly"]),
    ):
        code = code.replace(written, run)
    printed = {"python": _python, "javascript": _javascript, "bash": _bash}[snippet.language](code, tmp_path)
    assert "pictures/" in printed.replace("\\/", "/")  # as JSON has it


def _python(code: str, place: Path) -> str:
    with redirect_stdout(io.StringIO()) as printed:
        exec(compile(code, "docs/clients.md", "exec"), {"__name__": "snippet"})
    return printed.getvalue()


def _javascript(code: str, place: Path) -> str:
    if shutil.which("node") is None:
        pytest.skip("there is no node")
    if "@clickhouse/client" in code:
        if not NODE_MODULES:
            pytest.skip("NODE_MODULES names no folder with @clickhouse/client")
        (place / "node_modules").symlink_to(NODE_MODULES)
    (place / "snippet.mjs").write_text(code, encoding="utf-8")
    return _run("node", "snippet.mjs")


def _bash(code: str, place: Path) -> str:
    if shutil.which("curl") is None:
        pytest.skip("there is no curl")
    return _run("bash", "-euo", "pipefail", "-c", code)


def _run(*command: str) -> str:
    done = subprocess.run(command, capture_output=True, text=True, check=False, timeout=120)
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout
