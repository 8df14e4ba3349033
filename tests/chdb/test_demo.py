"""``clip-udfs demo``: the newcomer's first five minutes, and what the built-in model can do."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

from PIL import Image


def run(*arguments: str) -> subprocess.CompletedProcess[str]:
    program = Path(sys.executable).with_name("clip-udfs")
    return subprocess.run([str(program), *arguments], capture_output=True, text=True, check=False)


def rows(demo: Path, query: str) -> list[dict[str, object]]:
    config = str(demo / "etc/clickhouse-server")
    done = run("sql", "--embedded", "--server-config", config, "-f", "JSONEachRow", "-q", query)
    assert done.returncode == 0, done.stderr
    return [json.loads(line) for line in done.stdout.splitlines()]


def test_every_picture_is_in_the_table_with_both_vectors(demo: Path) -> None:
    listed = len((demo / "pictures/pictures.tsv").read_text().splitlines()) - 1
    query = "SELECT count() AS n, uniqExact(url) AS urls, countIf(length(image_embedding) = 512) AS v FROM laion"
    assert listed >= 3000
    assert rows(demo, query) == [{"n": listed, "urls": listed, "v": listed}]


def test_the_page_and_the_contact_sheet_show_pictures_that_exist(demo: Path) -> None:
    page = (demo / "out/search.html").read_text()
    sources = [part.split('"', 1)[0] for part in page.split('<img src="')[1:]]
    assert len(sources) == 6 * 8 + 1
    assert all((demo / "out" / source).resolve().is_file() for source in sources)
    with Image.open(demo / "out/search.png") as sheet:
        assert sheet.width > 800
        assert len(sheet.getcolors(1 << 24) or []) > 100


def test_a_picture_finds_itself_first_and_a_word_finds_its_picture(demo: Path) -> None:
    penguin = "openmoji/1f427-penguin.png"
    (first, *_) = rows(demo, f"SELECT url, distance FROM search_by_image(path = '{penguin}', k = 3)")
    assert first["url"] == penguin
    for word in ("cat", "猫"):
        captions = [
            str(row["caption"]) for row in rows(demo, f"SELECT caption FROM search_by_text(query = '{word}', k = 5)")
        ]
        assert any("cat" in caption for caption in captions), captions


def test_the_built_in_model_finds_a_style_that_it_never_saw(demo: Path) -> None:
    """At least about the figures in the README, computed in SQL by the installed functions."""
    config = str(demo / "etc/clickhouse-server")
    done = run("sql", "--embedded", "--server-config", config, "-f", "JSONEachRow", str(demo / "evaluate.sql"))
    assert done.returncode == 0, done.stderr
    answers = [json.loads(line) for line in done.stdout.splitlines()]
    recall = {answer["language"]: answer for answer in answers[:2]}
    keywords = {answer["language"]: answer for answer in answers[2:]}
    assert recall["English"]["labels"] > 1800
    wanted = {"English": (52, 77, 49), "Chinese": (49, 77, 46)}
    for language, (recall_at_1, recall_at_10, keyword_share) in wanted.items():
        assert recall[language]["recall_at_1"] >= recall_at_1
        assert recall[language]["recall_at_10"] >= recall_at_10
        assert keywords[language]["top_5_carrying_the_keyword"] >= keyword_share


def test_a_second_run_changes_nothing_and_says_so(demo: Path, programs: Path) -> None:
    before = {path: path.stat().st_mtime_ns for path in (demo / "etc").rglob("*")}
    again = [str(programs / "clip-udfs"), "demo", "--output", str(demo)]
    done = subprocess.run(again, env={}, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert "nothing" in done.stdout.lower()
    assert {path: path.stat().st_mtime_ns for path in (demo / "etc").rglob("*")} == before
    assert rows(demo, "SELECT count() = uniqExact(url) AS once FROM laion") == [{"once": 1}]
