"""The search page on a version's real server, from a configuration file or by ``CREATE HANDLER``."""

from __future__ import annotations

import base64
import urllib.request
from pathlib import Path
from urllib.error import HTTPError
from urllib.parse import urlencode

import pytest

from clip_installer import resources
from clip_installer.install.files.render import search_page_xml
from clip_installer.tables.schema import SchemaParameters
from clip_installer.tables.search_page.page import SearchPage
from tests.chdb.conftest import ServerTree
from tests.server.running import RunningServer, ServerPlace, start_server
from tests.versions.probe import PICTURE

SEARCH = {"k": 5, "n": 5, "skip": 0, "nsfw": 1}
FILTER = {"min_width": 0, "min_height": 0, "licenses": "['']"}
WORDS = {"q": "it\\'s\\ta\\\\b"}


def search_page() -> SearchPage:
    """The page of the default table."""
    return SearchPage.render(SchemaParameters(), "default", "emoji")


def try_page_in_configuration(wheel: Path, tree: ServerTree, statements: list[str]) -> str:
    """Serve the page from ``http_handlers`` with the ClickHouse in ``wheel``: "yes", or the first fault."""
    drop_in = tree.config / "config.d" / "clip_page.xml"
    drop_in.parent.mkdir(exist_ok=True)
    drop_in.write_text(search_page_xml(search_page()))
    try:
        return _try_page(wheel, tree, statements)
    finally:
        drop_in.unlink()


def try_created_page(wheel: Path, tree: ServerTree, statements: list[str]) -> str:
    """The same for the page that ``CREATE HANDLER`` makes."""
    return _try_page(wheel, tree, [*statements, *(handler.statement for handler in search_page().handlers)])


def _try_page(wheel: Path, tree: ServerTree, statements: list[str]) -> str:
    try:
        with pytest.MonkeyPatch.context() as environment:
            environment.setenv("PYTHONPATH", str(wheel))
            server = start_server(ServerPlace(tree.config, tree.data))
    except AssertionError as error:
        return " ".join(str(error).split())
    try:
        for statement in statements:
            _ask(server, "/", statement.encode())
        _look(server)
    except (HTTPError, AssertionError) as error:
        said = error.read().decode() if isinstance(error, HTTPError) else str(error)
        return " ".join(said.split(" (version")[0].split())
    finally:
        server.stop()
    return "yes"


def _look(server: RunningServer) -> None:
    html = (resources.templates() / "search_page.html").read_bytes()
    assert _ask(server, "/clip") == html, "the page is another one"
    assert b'"images": "200"' in _ask(server, "/clip/about")
    for address, values in {
        "text": SEARCH | WORDS,
        "text_filtered": SEARCH | FILTER | WORDS,
        "captions": SEARCH | WORDS,
        "like": SEARCH | {"id": 7},
        "like_filtered": SEARCH | FILTER | {"id": 7},
        "captions_like": SEARCH | {"id": 7},
    }.items():
        assert b'"rows": 5' in _ask(server, f"/clip/{address}?{urlencode(values)}"), address
    for address, values in {"image": SEARCH, "image_filtered": SEARCH | FILTER}.items():
        found = _ask(server, f"/clip/{address}?{urlencode(values)}", base64.b64decode(PICTURE))
        assert b'"rows": 5' in found, address
    assert b'"caption": "7"' in _ask(server, "/clip/row?id=7")
    assert _ask(server, "/clip/thumbnail?id=7&size=320") == b"", "its image does not exist"


def _ask(server: RunningServer, path: str, body: bytes | None = None) -> bytes:
    address = f"http://{server.host}:{server.http_port}{path}"
    request = urllib.request.Request(address, body, {"Content-Type": "application/octet-stream"})
    with urllib.request.urlopen(request, timeout=300) as answer:
        content: bytes = answer.read()
    return content
