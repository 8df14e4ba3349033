"""What SOURCE can be: directories, patterns, and table functions, whose secrets are not kept."""

from __future__ import annotations

from pathlib import Path

import pytest

from clip_installer.errors import UsageProblem
from clip_installer.pictures.globs import compiled, deepest, fixed_part
from clip_installer.pictures.local import LocalSource
from clip_installer.pictures.remote import remote_source


@pytest.mark.parametrize(
    ("pattern", "path", "matches"),
    [
        (b"/a/*.jpg", b"/a/b.jpg", True),
        (b"/a/*.jpg", b"/a/b/c.jpg", False),
        (b"/a/**/*.jpg", b"/a/c.jpg", True),
        (b"/a/**/*.jpg", b"/a/b/b/c.jpg", True),
        (b"/a/**", b"/a/b/c\nd.jpg", True),
        (b"/a/?.jpg", b"/a/\xff.jpg", True),
        (b"/a/[!b].jpg", b"/a/b.jpg", False),
        (b"/a/*.{jpg,png}", b"/a/b.png", True),
        (b"/a/b[.jpg", b"/a/b[.jpg", True),
    ],
)
def test_patterns_match_as_in_a_shell(pattern: bytes, path: bytes, matches: bool) -> None:
    assert bool(compiled(pattern).fullmatch(path)) == matches


def test_only_directories_that_can_have_a_match_are_walked(tmp_path: Path) -> None:
    assert (fixed_part(b"/a/b/*/c?.jpg"), deepest(b"/a/b/*/c?.jpg")) == (b"/a/b", 1)
    assert deepest(b"/a/**/c.jpg") is None
    for name in ("one.jpg", "below/two.jpg", "below/further/three.jpg"):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).touch()
    source = LocalSource.of(f"{tmp_path}/*/*.jpg", None, sidecars=False)
    assert [one.path for one in source.files()] == [bytes(tmp_path / "below/two.jpg")]


def test_a_directory_gives_its_pictures_and_counts_the_rest(tmp_path: Path) -> None:
    (tmp_path / ".hidden").mkdir()
    for name in ("a.JPG", "b.txt", ".c.jpg", ".hidden/d.jpg", "e[1]*.png"):
        (tmp_path / name).touch()
    source = LocalSource.of(str(tmp_path), tmp_path, sidecars=False)
    assert sorted(one.path for one in source.files()) == [b"a.JPG", b"e[1]*.png"]
    assert source.skipped == 1


def test_a_directory_whose_name_looks_like_a_pattern_is_a_directory(tmp_path: Path) -> None:
    (tmp_path / "a*b").mkdir()
    (tmp_path / "a*b/c.png").touch()
    assert len(list(LocalSource.of(f"{tmp_path}/a*b", None, sidecars=False).files())) == 1


def test_a_directory_outside_the_image_root_is_refused(tmp_path: Path) -> None:
    (tmp_path / "root").mkdir()
    with pytest.raises(UsageProblem, match="not below --image-root"):
        LocalSource.of(str(tmp_path), tmp_path / "root", sidecars=False)


@pytest.mark.parametrize(
    ("given", "name", "listing"),
    [
        ("s3://bucket/a/**", "s3('s3://bucket/a/**')", "s3('s3://bucket/a/**', 'One')"),
        (
            "s3('https://h/b/*', 'KEY', 'it''s, secret')",
            "s3('https://h/b/*')",
            "s3('https://h/b/*', 'KEY', 'it''s, secret', 'One')",
        ),
        (
            "s3(mine, filename = 'a/**', secret_access_key = 'x')",
            "s3(mine, filename = 'a/**')",
            "s3(mine, filename = 'a/**', secret_access_key = 'x', format = 'One')",
        ),
        (
            "https://u:p@h/{1..9}.jpg?token=t",
            "url('https://h/{1..9}.jpg')",
            "url('https://u:p@h/{1..9}.jpg?token=t', 'One')",
        ),
        ("file('a/(b),c/*')", "file('a/(b),c/*')", "file('a/(b),c/*', 'One')"),
    ],
)
def test_a_table_function_is_called_as_given_and_kept_without_secrets(given: str, name: str, listing: str) -> None:
    source = remote_source(given)
    assert source is not None
    assert (source.name, source.listing) == (name, listing)


def test_a_path_is_no_table_function() -> None:
    assert remote_source("/photos/a (1)/b") is None
    assert remote_source("photos(1)x") is None
