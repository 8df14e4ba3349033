"""Part numbers, ids, layouts, and files that do not belong together."""

from __future__ import annotations

import shutil
from pathlib import Path

import numpy as np
import pytest

from clip_installer.errors import ImportRefused
from clip_installer.laion.parts import Part, PartFiles, first_id, parse_parts
from clip_installer.laion.source import Folder
from tests.laion_parts import vectors, write_part


@pytest.mark.parametrize(
    ("text", "numbers"),
    [
        ("0-3", [0, 1, 2, 3]),
        ("7", [7]),
        ("0, 3,7-9", [0, 3, 7, 8, 9]),
        ("5,5,4-5", [4, 5]),
        ("9223372035", [9223372035]),
    ],
)
def test_parts_are_read(text: str, numbers: list[int]) -> None:
    assert parse_parts(text) == numbers


@pytest.mark.parametrize("text", ["", "a", "3-1", "1-", "-1", "0-9-3", "1.5", "9223372036", "²"])
def test_what_is_not_a_range_of_parts_is_named(text: str) -> None:
    with pytest.raises(ValueError, match="is n"):
        parse_parts(text)


def test_an_id_says_part_and_position() -> None:
    assert first_id(37) + 123 == 37_000_000_123
    assert first_id(9223372035) + 999_999_999 < 2**63


def test_a_folder_is_read_in_both_layouts(tmp_path: Path) -> None:
    write_part(tmp_path, 4, rows=20, dimension=8)
    published = Part.open(4, Folder(tmp_path).files(4))
    flat = tmp_path / "flat"
    flat.mkdir()
    for path in PartFiles.published(4).below(tmp_path).all():
        shutil.copy(path, flat)
    copied = Part.open(4, Folder(flat).files(4))
    assert (published.rows, published.dimension, published.first_id) == (20, 8, 4_000_000_000)
    assert published.fingerprint() == copied.fingerprint()


def test_a_missing_file_is_named(tmp_path: Path) -> None:
    for number in (4, 5):
        write_part(tmp_path, number, rows=20, dimension=8)
    (tmp_path / "text_emb" / "text_emb_4.npy").unlink()
    with pytest.raises(ImportRefused, match=r"part 4 is incomplete .* no file .*text_emb/text_emb_4\.npy"):
        Folder(tmp_path).files(4)


@pytest.mark.parametrize("digits", [2, 3, 4, 6])
def test_numbers_may_have_zeros_in_front_as_clip_retrieval_writes_them(tmp_path: Path, digits: int) -> None:
    write_part(tmp_path, 4, rows=20, dimension=8)
    for path in PartFiles.published(4).below(tmp_path).all():
        path.rename(path.with_stem(path.stem[:-1] + f"{4:0{digits}d}"))
    assert Part.open(4, Folder(tmp_path).files(4)).has_texts


def test_files_of_two_ways_to_write_a_number_are_not_mixed(tmp_path: Path) -> None:
    for number in (4, 5):
        write_part(tmp_path, number, rows=20, dimension=8)
    (tmp_path / "text_emb" / "text_emb_4.npy").rename(tmp_path / "text_emb" / "text_emb_0004.npy")
    with pytest.raises(ImportRefused, match="incomplete"):
        Folder(tmp_path).files(4)


def test_a_source_without_any_text_vectors_has_the_pictures_in_their_place(tmp_path: Path) -> None:
    write_part(tmp_path, 4, rows=20, dimension=8)
    shutil.rmtree(tmp_path / "text_emb")
    part = Part.open(4, Folder(tmp_path).files(4))
    assert not part.has_texts
    assert np.array_equal(part.texts.read(0, 20), part.images.read(0, 20))
    part.check(7)
    assert part.fingerprint()


def test_files_of_different_lengths_are_refused_with_all_three_numbers(tmp_path: Path) -> None:
    write_part(tmp_path, 0, rows=20, dimension=8)
    np.save(tmp_path / "text_emb" / "text_emb_0.npy", vectors(19, 8, 1))
    with pytest.raises(ImportRefused, match=r"20 rows in img_emb_0.npy, 19 in text_emb_0.npy, 20 in met"):
        Part.open(0, Folder(tmp_path).files(0))


def test_vectors_of_two_models_are_refused(tmp_path: Path) -> None:
    write_part(tmp_path, 0, rows=20, dimension=8)
    np.save(tmp_path / "text_emb" / "text_emb_0.npy", vectors(20, 16, 1))
    with pytest.raises(ImportRefused, match=r"8 numbers in img_emb_0.npy, 16 in text_emb_0"):
        Part.open(0, Folder(tmp_path).files(0))


def test_the_fingerprint_tells_other_files_of_the_same_size_apart(tmp_path: Path) -> None:
    write_part(tmp_path, 0, rows=20, dimension=8)
    before = Part.open(0, Folder(tmp_path).files(0)).fingerprint()
    np.save(tmp_path / "text_emb" / "text_emb_0.npy", vectors(20, 8, 99))
    assert Part.open(0, Folder(tmp_path).files(0)).fingerprint() != before
