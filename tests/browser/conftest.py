"""A real browser in front of a real server: Debian's Chromium, driven by Playwright."""

from __future__ import annotations

import csv
import shutil
import subprocess
import sys
import zipfile
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

import clip_installer.demo
from tests.browser.visitor import Visitor, launch
from tests.server.running import RunningServer, ServerPlace, running_server

IMAGES = 40
# Captions and addresses as the world has them, and as it should not.
HOSTILE = {
    9001: ("javascript:alert(1)", "<script>window.stolen = 1</script><img src=x onerror='window.stolen = 1'>"),
    9002: (
        "data:text/html,<script>window.stolen = 1</script>",
        "\u202eright to left\u2066 and \u05e9\u05dc\u05d5\u05dd",
    ),
    9003: ("../../../../etc/passwd", "x" * 1_000_000),
    9004: ("https://127.0.0.1:1/none.jpg", "nul \0 byte, quote ' and backslash \\"),
    9005: ("pictures/absent.png", ""),
}


@pytest.fixture(scope="session")
def browser() -> Iterator[object]:
    """One browser for all tests; each opens contexts of its own."""
    playwright = pytest.importorskip("playwright.sync_api", reason="needs Playwright: pip install playwright")
    if shutil.which("chromium") is None:
        pytest.skip("needs Chromium: apt-get install chromium")
    with playwright.sync_playwright() as driver:
        running = launch(driver)
        yield running
        running.close()


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> ServerPlace:
    """The directories of the module's server, with pictures below user_files."""
    made = ServerPlace.make(tmp_path_factory.mktemp("page"))
    with zipfile.ZipFile(Path(clip_installer.demo.__file__).parent / "pictures.zip") as archive:
        archive.extractall(made.pictures)
    return made


@pytest.fixture(scope="module")
def site(browser: object, place: ServerPlace) -> Iterator[RunningServer]:
    """A server with the built-in model, its search page, demo pictures and hostile rows."""
    with running_server(place) as server:
        server.install()
        search_page(server)
        fill(server)
        yield server


def fill(server: RunningServer, table: str = "laion") -> None:
    """Insert the first demo pictures and the hostile rows."""
    columns = "id, url, caption, NSFW, similarity, width, height, LICENSE, image_embedding, text_embedding"
    with (server.place.pictures / "pictures.tsv").open(encoding="utf-8") as lines:
        listed = [line for line in csv.DictReader(lines, delimiter="\t") if line["style"] == "openmoji"][:IMAGES]
    rows = ", ".join(
        "({}, {}, {}, {})".format(
            number, *map(_literal, (f"pictures/{line['path']}", line["caption_en"], line["licence"]))
        )
        for number, line in enumerate(listed)
    )
    server.rows(
        f"INSERT INTO {table} ({columns}) SELECT id, url, caption, if(id = 7, 'NSFW', 'UNLIKELY'), 0.3,"
        " if(id % 2, 112, 512), if(id % 2, 112, 512), licence, encode_image(url), encode_text(caption)"
        f" FROM (SELECT c1 AS id, c2 AS url, c3 AS caption, c4 AS licence FROM values({rows}))"
    )
    for number, (url, caption) in HOSTILE.items():
        text = f"unhex('{caption.encode().hex()}')" if len(caption) < 1000 else f"repeat('x', {len(caption)})"
        server.rows(
            f"INSERT INTO {table} ({columns}) SELECT {number}, {url!r}, {text}, 'UNLIKELY', 0, 0, 0, '?',"
            f" encode_text('hostile {number}'), encode_text('hostile {number}')"
        )


def _literal(text: str) -> str:
    return f"unhex('{text.encode().hex()}')"


@pytest.fixture
def visit(browser: object, site: RunningServer) -> Iterator[Callable[..., Visitor]]:
    """Open the page as a visitor; errors of the page's own script fail the test."""
    visitors: list[Visitor] = []

    def open_page(hash_: str = "", **options: object) -> Visitor:
        visitors.append(Visitor.come(browser, site, hash_, **options))
        return visitors[-1]

    yield open_page
    for visitor in visitors:
        visitor.leave()


def search_page(server: RunningServer, *options: str) -> str:
    """Run ``clip-udfs search-page`` as the administrator; it must succeed. Return its output."""
    command = [sys.executable, "-m", "clip_installer", "search-page", "--url", server.url(), *options]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    return done.stdout
