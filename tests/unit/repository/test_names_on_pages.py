"""What the pages name exists: options, functions, views, files, modules, identifiers. Figures have one source."""

from __future__ import annotations

import re
import zipfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from benchmarks.record import rendered
from benchmarks.worker import models
from clip_installer.cli import program
from clip_installer.models.speed import recorded
from clip_installer.planning.sizing import MIB, without_weights
from clip_installer.server.config_files import MOST_BYTES
from clip_installer.tables.monitoring import MONITORING_VIEWS
from clip_installer.tables.schema import SchemaParameters, objects
from clip_udfs.functions import FUNCTIONS
from clip_udfs.images.budget import _RESERVE, _SHARE
from clip_udfs.images.containers import MAX_JPEG_SCANS
from clip_udfs.images.preprocessing import _MAX_PIXELS_IN_PYTHON
from clip_udfs.settings import WorkerSettings
from tests import documents
from tests.documents import REPOSITORY

PAGES = [*documents.pages(), *map(documents.translated, ["README.md", "docs/analyst.md"])]
# Files that a command makes, and files of open_clip's repository.
MADE, FOREIGN = ("demo/", "benchmarks/out", "release/"), ("docs/openclip_", "docs/PRETRAINED.md")
PROGRAMS = {"clip_udfs", "clip_installer"}
VIEWS_MADE = {one.name for one in objects(SchemaParameters()) if one.kind == "VIEW"}
SUFFIXES = re.compile("_(vit_l_14|next)$")
EXAMPLES = {"clip_reader", "search_by_txt"}  # a user that the page creates, and a misspelling
IN_CODE = ("udfs/**/*.py", "installer/**/*.py", "tests/**/*.py", "benchmarks/**/*.py", "pyproject.toml", "Makefile")


def text_of(page: str) -> str:
    return (REPOSITORY / page).read_text(encoding="utf-8")


def spans(page: str) -> Iterator[str]:
    """The inline code of a page; its blocks are run by tests/chdb/test_docs.py."""
    prose = re.sub(r"^```.*?^```$", "", text_of(page), flags=re.DOTALL | re.MULTILINE)
    yield from re.findall(r"(?<!`)`([^`\n]+)`(?!`)", prose)


@pytest.mark.parametrize("page", PAGES)
def test_options_exist(page: str) -> None:
    """Each is an option of a command, or of the benchmarks and test programs that the pages name too."""
    ours = {"--force-reinstall"}  # pip's
    ours |= {name for command in program.commands.values() for one in command.params for name in one.opts}
    ours |= {name for command in program.commands.values() for one in command.params for name in one.secondary_opts}
    for folder in ("benchmarks", "tests"):
        for path in (REPOSITORY / folder).rglob("*.py"):
            ours |= set(re.findall(r"\"(--[a-z][a-z-]*)\"", path.read_text(encoding="utf-8")))
    named = {name for span in spans(page) for name in re.findall(r"(?<![\w-])--[a-z][a-z-]*", span)}
    assert named <= ours, sorted(named - ours)


@pytest.mark.parametrize("page", PAGES)
def test_functions_and_views_exist(page: str) -> None:
    """A name that looks like one of ours is one: a function, a search view, or a monitoring view."""
    ours = {*FUNCTIONS, *VIEWS_MADE, *(view.name for view in MONITORING_VIEWS), *PROGRAMS}
    like_ours = r"(?<![\w./-])(?:try_)?(?:encode|thumbnail|search|label|image_info|clip)_\w+(?![\w/.])"
    ours |= {name.replace("search_", "search_pictures_", 1) for name in VIEWS_MADE}  # those of a table of one's own
    named = {SUFFIXES.sub("", name) for span in spans(page) for name in re.findall(like_ours, span)}
    assert named <= ours | EXAMPLES, sorted(named - ours)


@pytest.mark.parametrize("page", PAGES)
def test_files_and_modules_exist(page: str) -> None:
    folders = "|".join(path.name for path in REPOSITORY.iterdir() if path.is_dir() and path.name[0] != ".")
    for span in spans(page):
        for name in re.findall(rf"(?<![\w./<>-])(?:{folders})/[\w./*-]+", span):
            if not name.startswith((*MADE, *FOREIGN)):
                assert list(REPOSITORY.glob(name.rstrip("/."))), f"{page} names {name}"
        for module in re.findall(r"python -m ((?:benchmarks|tests|clip_\w+)[\w.]*)", span):
            path = REPOSITORY / module.replace(".", "/")
            assert path.is_dir() or path.with_suffix(".py").exists(), f"{page} names {module}"


def test_what_the_contributors_page_names_is_in_the_code() -> None:
    """Identifiers, and paths relative to a package."""
    code = "\n".join(path.read_text(encoding="utf-8") for pattern in IN_CODE for path in REPOSITORY.glob(pattern))
    words = set(re.findall(r"\w+", code))
    folders = (
        "installer/clip_installer",
        "installer/clip_installer/install",
        "udfs/clip_udfs",
        "udfs/clip_udfs/images",
    )
    roots = [REPOSITORY, *(REPOSITORY / folder for folder in folders)]
    for span in spans("CONTRIBUTING.md"):
        if re.fullmatch(r"[\w./-]+(?:/|\.py)", span) and not span.startswith(MADE):
            assert any((root / span).exists() for root in roots), span
        elif re.fullmatch(r"\w+(?:\([\w ,]*\))?", span):
            assert span.partition("(")[0] in words, span


def test_the_figures_of_the_demo_are_counted() -> None:
    """How many images the demo has, on four pages and in its help."""
    with zipfile.ZipFile(REPOSITORY / "installer/clip_installer/demo/pictures.zip") as archive:
        count = sum(name.endswith(".png") for name in archive.namelist())
    said = f"{count:,}".replace(",", " ")
    for page in ("README.md", "README.zh-CN.md", "docs/analyst.md", "docs/analyst.zh-CN.md"):
        assert said in text_of(page), page
    assert said in str(program.commands["demo"].help)


def test_the_dbas_memory_figures_are_the_plans() -> None:
    one, two = without_weights(1), without_weights(2)
    thread = two["text"] - one["text"]
    text, image, each = ((size // MIB) for size in (one["text"] - thread, one["image"] - thread, thread))
    page = " ".join(text_of("docs/dba.md").split())
    assert f"{text} MiB for text, {image} MiB for images, and {each} MiB for each thread" in page


def test_the_security_pages_limits_are_the_workers() -> None:
    settings = WorkerSettings(Path())
    page = " ".join(text_of("SECURITY.md").split())
    pixels = f"{settings.max_image_pixels:,}".replace(",", " ")
    for said in (
        f"beyond {settings.max_image_bytes // MIB} MiB (images) or {settings.max_text_bytes // MIB} MiB (texts)",
        f"after {settings.max_image_seconds} seconds of CPU",
        f"at {settings.max_image_memory / (1 << 30)} GiB of memory",
        f"more than {pixels} pixels",
        f"JPEGs of more than {MAX_JPEG_SCANS} scans",
        f"the vectors of the last {settings.text_cache} texts",
        f"run-length BMPs of more than {_MAX_PIXELS_IN_PYTHON:,} pixels".replace(",", " "),
        f"may take {_RESERVE * settings.max_image_seconds} seconds of CPU and half a second more for each image",
        f"a file of more than {MOST_BYTES >> 20} MiB",
    ):
        assert said in page, said
    assert _SHARE * settings.max_image_seconds == 0.5
    assert "65 409 images that each take a little less can still occupy a worker for nine hours" in page
    assert round(65_409 * _SHARE * settings.max_image_seconds / 3600) == 9


def test_the_models_table_is_generated() -> None:
    """From the licences, qualities and times that ``clip-udfs models --available`` shows."""
    page = text_of("docs/models.md")
    assert rendered(page, models.SECTION, models.table()) == page, "run python -m benchmarks.worker.models --page"


def test_the_time_of_every_recommended_model_was_measured() -> None:
    choices = text_of("docs/models.md").partition("## Choosing a model")[2].partition("Vectors from different")[0]
    assert set(re.findall(r"`([^`]+)`, tag `", choices)) <= recorded()["times"].keys()
