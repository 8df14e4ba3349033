"""The pages by themselves: what their blocks are, where their links lead, and that both languages say the same."""

from __future__ import annotations

import ast
import configparser
import json
import re
import shlex
import zipfile
from collections.abc import Iterator
from pathlib import Path

import click
import pytest
import yaml
from lxml import etree

from clip_installer.cli import program
from clip_installer.commands.installation.install import install
from clip_installer.install.request.config_file import tomllib
from clip_installer.tables.schema import SchemaParameters, objects
from clip_udfs import __version__
from clip_udfs.functions import FUNCTIONS
from clip_udfs.settings import WorkerSettings
from tests import documents
from tests.documents import COMMANDS, OUTPUT, REPOSITORY
from training.sources import SOURCES, Role

TRANSLATED = ["README.md", "docs/analyst.md"]
EVERY_PAGE = [*documents.pages(), *map(documents.translated, TRANSLATED)]
PARSERS = {
    "json": json.loads,
    "toml": tomllib.loads,
    "yaml": lambda text: list(yaml.safe_load_all(text)),
    "xml": etree.fromstring,
    "ini": configparser.RawConfigParser().read_string,
    # tests/server/test_clients.py runs them.
    "python": ast.parse,
    "javascript": str,
}


def text_of(page: str) -> str:
    return (REPOSITORY / page).read_text(encoding="utf-8")


@pytest.mark.parametrize("page", EVERY_PAGE)
def test_every_block_is_a_command_or_an_output_or_can_be_parsed(page: str) -> None:
    for block in documents.blocks(page):
        assert block.language in (*COMMANDS, OUTPUT, *PARSERS), f"{block.place}: language {block.language!r}"
        if block.language in PARSERS:
            PARSERS[block.language](block.code)


@pytest.mark.parametrize("page", documents.pages())
def test_commands_that_no_test_runs_have_options_that_exist(page: str) -> None:
    for block in documents.blocks(page):
        if block.language == "bash" and block.needs:
            for name, used in _programs(block.code):
                known = {option for parameter in program.commands[name].params for option in _names(parameter)}
                assert used <= known, f"{block.place}: {name} has no {sorted(used - known)}"


def _names(parameter: click.Parameter) -> list[str]:
    return [*parameter.opts, *parameter.secondary_opts]


def _programs(script: str) -> Iterator[tuple[str, set[str]]]:
    """Our commands in a shell script, each with the long options that it is given."""
    for line in script.replace("\\\n", " ").splitlines():
        words = shlex.split(line, comments=True)
        for index, word in enumerate(words):
            if re.fullmatch(r"(?:\S*/bin/)?(?:clip-udfs|install-udfs)", word):
                name = "install" if word.endswith("install-udfs") else words[index + 1]
                yield name, {option.split("=")[0] for option in words[index:] if option.startswith("--")}
                break


@pytest.mark.parametrize(
    ("stated", "printed"),
    [
        ("   ┌─n─┐\n1. │ 5 │\n   └───┘\n", " ┌──n─┐\n10. │  5 │\n └────┘\n"),
        ("0.512 cat", "0.5198 cat"),
        ("0 cat", "-1.19e-7 cat"),
        ("(cosine 0.01)", "(cosine -0.0)"),
        ("first ... last", "first and others and last"),
        ("... in the middle ...", "what is in the middle of it"),
        ("all", "all"),
    ],
)
def test_an_output_agrees(stated: str, printed: str) -> None:
    assert documents.agrees(stated, printed)


@pytest.mark.parametrize(
    ("stated", "printed"),
    [
        ("512", "513"),
        ("0.5 cat", "0.53 cat"),
        ("a cat", "a cat sat"),
        ("a cat sat", "a cat"),
        ("first ... last", "first and last of them"),
        ("... missing ...", "nothing of it"),
        ("", "something"),
        ("something", ""),
    ],
)
def test_another_output_does_not_agree(stated: str, printed: str) -> None:
    assert not documents.agrees(stated, printed)


def test_blocks_are_read_with_their_marks_and_outputs(tmp_path: Path) -> None:
    page = tmp_path / "page.md"
    outputs = "```text\na\n```\n\n```text\nno output\n```\n"
    page.write_text(f"```bash\nls\n```\n\n{outputs}<!-- needs: gpu -->\n<!-- fails -->\n```sql\n```\n")
    ls, text, sql = documents.blocks(str(page))
    assert (ls.language, ls.line, ls.code, ls.output, ls.needs) == ("bash", 1, "ls\n", "a\n", None)
    assert (text.language, text.code) == ("text", "no output\n")
    assert (sql.language, sql.needs, sql.fails, sql.output) == ("sql", "gpu", True, None)
    page.write_text("<!-- needs: luck -->\n```sql\n```\n")
    with pytest.raises(ValueError, match="luck"):
        documents.blocks(str(page))


def test_the_checks_see_an_option_that_does_not_exist() -> None:
    ((name, used),) = _programs("sudo /opt/clip-udfs/bin/install-udfs --nonsense=1 \\\n  --url x  # --comment\n")
    assert (name, used) == ("install", {"--nonsense", "--url"})


@pytest.mark.parametrize("page", EVERY_PAGE)
def test_links_lead_somewhere(page: str) -> None:
    for target in re.findall(r"""(?:\]\(|\bsrc=")([^)"\s]+)""", text_of(page)):
        if not target.startswith(("https://", "http://")):
            path, _, anchor = target.partition("#")
            linked = (REPOSITORY / page).parent / path if path else REPOSITORY / page
            assert linked.exists(), f"{page} links to {target}"
            if anchor:
                assert anchor in _anchors(linked), f"{page} links to {target}"


def _anchors(page: Path) -> set[str]:
    headings = re.findall(r"^#+ (.+)$", page.read_text(encoding="utf-8"), re.MULTILINE)
    return {re.sub(r"[^\w -]", "", heading.lower()).replace(" ", "-") for heading in headings}


def test_every_page_can_be_found_from_the_readme() -> None:
    linked = re.findall(r"\]\(([\w./-]+\.md)\)", text_of("README.md"))
    assert set(documents.pages()) - {"README.md"} <= set(linked)


@pytest.mark.parametrize("page", TRANSLATED)
def test_the_chinese_page_has_the_same_commands_links_and_sections(page: str) -> None:
    chinese = documents.translated(page)
    ours, theirs = ([_essence(block) for block in documents.blocks(name)] for name in (page, chinese))
    assert theirs == ours
    for pattern in (r"^#+ ", r"^\| ", r"^\* "):
        counts = [len(re.findall(pattern, text_of(name), re.MULTILINE)) for name in (page, chinese)]
        assert counts[0] == counts[1], pattern
    figures = [sorted(re.findall(r"\d+(?:\.\d+)? (?:ms|%|MiB|GiB)", text_of(name))) for name in (page, chinese)]
    assert figures[0] == figures[1]


def _essence(block: documents.Block) -> tuple[object, ...]:
    """A block without its comments, which are translated."""
    lines = [re.sub(r"\s+(#|--) .*$|^(#|--) .*$", "", line).rstrip() for line in block.code.splitlines()]
    return block.language, lines, block.needs, block.fails, block.output


def test_the_analysts_page_has_every_function_view_and_recipe() -> None:
    page = text_of("docs/analyst.md")
    rows = set(re.findall(r"^\| `(clip_\w+(?=`)|\w+(?=\())(?:\((.*?)\))?` \|", page, re.MULTILINE))
    functions = {(function.name, ", ".join(name for name, _ in function.arguments)) for function in FUNCTIONS.values()}
    made = {one.name: one.statement.sql for one in objects(SchemaParameters()) if one.kind == "VIEW"}
    views = {(name, parameters) for name, parameters in rows if name in made}
    assert functions | views == rows
    assert {name for name, _ in views} == set(made)
    for name, parameters in views:
        assert set(filter(None, parameters.split(", "))) == set(re.findall(r"{(\w+):", made[name]))
    recipes = {path.name for path in (REPOSITORY / "sql/recipes").iterdir()}
    assert set(re.findall(r"^\| \[`(\w+\.sql)`\]", page, re.MULTILINE)) == recipes


def test_the_dbas_page_has_every_option_of_the_installer() -> None:
    page = text_of("docs/dba.md")
    options = [[*parameter.opts, *parameter.secondary_opts] for parameter in install.params]
    assert [names for names in options if not any(re.search(rf"{name}\b", page) for name in names)] == []


@pytest.mark.parametrize("page", ["docs/analyst.md", documents.translated("docs/analyst.md")])
def test_the_analysts_page_tells_the_limits(page: str) -> None:
    settings = WorkerSettings(Path())
    assert f"{settings.max_image_pixels:,}".replace(",", " ") in text_of(page)
    assert {settings.max_text_bytes, settings.max_image_bytes} == {
        int(mebibytes) << 20 for mebibytes in re.findall(r"(\d+) MiB", text_of(page))
    }


def test_the_changelog_begins_with_this_version() -> None:
    (newest, *_) = re.findall(r"^## \[(.+?)\]", text_of("CHANGELOG.md"), re.MULTILINE)
    assert newest == __version__


def test_the_notice_names_whose_pictures_are_shipped() -> None:
    notice = text_of("NOTICE")
    with zipfile.ZipFile(REPOSITORY / "installer/clip_installer/demo/pictures.zip") as archive:
        folders = {name.split("/")[0] for name in archive.namelist() if "/" in name}
    assert folders
    assert {folder for folder in folders if f"`{folder}/`" not in notice} == set()
    assert {path.name for path in (REPOSITORY / "docs/images").iterdir() if path.name not in notice} == set()


def test_the_notice_names_everything_that_the_built_in_model_was_trained_on() -> None:
    rows = {tuple(row.split(" | ")[:3]) for row in re.findall(r"^\| (.+) \|$", text_of("NOTICE"), re.MULTILINE)}
    learned = {(s.style, f"{s.package} {s.version}", s.licence) for s in SOURCES if s.role is Role.TRAIN}
    assert learned
    assert learned <= rows
