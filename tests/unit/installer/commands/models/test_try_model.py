"""What clip-udfs try-model finds among a user's own images."""

from __future__ import annotations

import json
import zipfile
from collections.abc import Sequence
from pathlib import Path

import pytest

import clip_installer
from clip_installer.cli import program, run

DEMO_PICTURES = Path(clip_installer.__file__).parent / "demo" / "pictures.zip"
WANTED = ("1f436-dog-face.png", "1f34e-red-apple.png", "1f697-automobile.png", "1f333-deciduous-tree.png")


@pytest.fixture(scope="module")
def images(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Four drawings in a folder of a folder, and a file that is none."""
    folder = tmp_path_factory.mktemp("images")
    with zipfile.ZipFile(DEMO_PICTURES) as pictures:
        for name in WANTED:
            pictures.extract(f"openmoji/{name}", folder)
    (folder / "notes.txt").write_text("no image")
    return folder


def tried(
    capsys: pytest.CaptureFixture[str], folder: Path, *arguments: str, queries: Sequence[str] = ("a dog",)
) -> tuple[int, str, str]:
    """Exit status, standard output and standard error of ``clip-udfs try-model`` with the built-in model."""
    options = ["--model", "emoji", "--images", str(folder), *arguments]
    with pytest.raises(SystemExit) as left:
        run(program, "clip-udfs", ["try-model", *options, *(word for query in queries for word in ("--query", query))])
    output = capsys.readouterr()
    return int(str(left.value.code)), output.out, output.err


def test_the_nearest_image_of_each_query_is_the_right_one(images: Path, capsys: pytest.CaptureFixture[str]) -> None:
    status, printed, _ = tried(capsys, images, "--json", queries=("a dog's face", "苹果", "a car"))
    found = json.loads(printed)
    assert status == 0
    assert {query: hits[0]["image"] for query, hits in found["hits"].items()} == {
        "a dog's face": f"openmoji/{WANTED[0]}",
        "苹果": f"openmoji/{WANTED[1]}",
        "a car": f"openmoji/{WANTED[2]}",
    }
    for hits in found["hits"].values():
        assert [hit["distance"] for hit in hits] == sorted(hit["distance"] for hit in hits)
        assert hits[0]["deviations"] > 0
    assert (found["model"], found["images"], list(found["refused"])) == ("emoji", 4, ["notes.txt"])


def test_a_file_that_cannot_be_encoded_is_named(images: Path, capsys: pytest.CaptureFixture[str]) -> None:
    status, printed, _ = tried(capsys, images)
    assert status == 0
    assert "not encoded: notes.txt: not an image in a format that is read" in printed


def test_of_many_files_an_even_selection_is_encoded(images: Path, capsys: pytest.CaptureFixture[str]) -> None:
    _, printed, _ = tried(capsys, images / "openmoji", "--limit", "2", "--json")
    found = json.loads(printed)
    assert found["images"] == 2
    assert {hit["image"] for hit in found["hits"]["a dog"]} == {sorted(WANTED)[0], sorted(WANTED)[2]}


def test_a_folder_without_images_is_an_error(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    status, printed, said = tried(capsys, tmp_path)
    assert (status, printed) == (1, "")
    assert said == f"clip-udfs: no image below {tmp_path} can be encoded: it has no files\n"
