"""npy files: what is refused and why, and that the right rows are read."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from clip_installer.errors import ImportRefused
from clip_installer.laion.npy import VectorFile, size_of_npy


@pytest.mark.parametrize("dtype", ["<f2", "<f4"])
def test_reads_the_rows_that_were_saved(tmp_path: Path, dtype: str) -> None:
    saved = np.arange(60, dtype=dtype).reshape(12, 5)
    np.save(tmp_path / "a.npy", saved)
    file = VectorFile.open(tmp_path / "a.npy")
    assert (file.rows, file.dimension, file.dtype.str) == (12, 5, dtype)
    assert np.array_equal(file.read(3, 9), saved[3:9])
    assert file.read(3, 9).dtype.str == dtype


@given(start=st.integers(0, 30), length=st.integers(0, 30))
def test_any_range_is_the_slice(tmp_path_factory: pytest.TempPathFactory, start: int, length: int) -> None:
    path = tmp_path_factory.getbasetemp() / "range.npy"
    saved = np.arange(60 * 3, dtype="<f2").reshape(60, 3)
    np.save(path, saved)
    assert np.array_equal(VectorFile.open(path).read(start, start + length), saved[start : start + length])


def test_a_large_header_of_version_2_is_read(tmp_path: Path) -> None:
    saved = np.ones((2, 3), dtype="<f2")
    with (tmp_path / "a.npy").open("wb") as stream:
        np.lib.format.write_array(stream, saved, version=(2, 0))
    assert np.array_equal(VectorFile.open(tmp_path / "a.npy").read(0, 2), saved)


@pytest.mark.parametrize(
    ("array", "reason"),
    [
        (np.zeros((3, 4), "<f2", order="F"), "Fortran order"),
        (np.zeros((3, 4), "<f8"), "numbers are <f8"),
        (np.zeros((3, 4), ">f2"), "numbers are >f2"),
        (np.zeros((3, 4), "<i4"), "numbers are <i4"),
        (np.zeros(12, "<f2"), r"shape is \(12,\)"),
        (np.zeros((3, 2, 2), "<f2"), r"shape is \(3, 2, 2\)"),
    ],
)
def test_refuses_what_is_not_a_matrix_of_vectors(tmp_path: Path, array: np.ndarray, reason: str) -> None:
    np.save(tmp_path / "a.npy", array)
    with pytest.raises(ImportRefused, match=reason):
        VectorFile.open(tmp_path / "a.npy")


@pytest.mark.parametrize("change", [-1, -1000, 1])
def test_refuses_a_file_of_another_size_than_its_header_promises(tmp_path: Path, change: int) -> None:
    path = tmp_path / "a.npy"
    np.save(path, np.zeros((100, 8), "<f2"))
    content = path.read_bytes()
    path.write_bytes(content[:change] if change < 0 else content + b"\0")
    with pytest.raises(ImportRefused, match=r"100 rows of 8 float16\); the file is not complete"):
        VectorFile.open(path)


@pytest.mark.parametrize("content", [b"", b"PK\3\4 not numpy", b"\x93NUMPY\1\0"])
def test_refuses_what_is_not_npy(tmp_path: Path, content: bytes) -> None:
    (tmp_path / "a.npy").write_bytes(content)
    with pytest.raises(ImportRefused, match="is not an npy file"):
        VectorFile.open(tmp_path / "a.npy")


def test_a_pickled_array_is_not_loaded(tmp_path: Path) -> None:
    np.save(tmp_path / "a.npy", np.array([[{}]], dtype=object), allow_pickle=True)
    with pytest.raises(ImportRefused, match=r"numbers are \|O"):
        VectorFile.open(tmp_path / "a.npy")


@pytest.mark.parametrize("dtype", ["<f2", "<f4"])
@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf])
def test_names_the_first_row_that_is_not_finite(tmp_path: Path, dtype: str, value: float) -> None:
    array = np.full((50, 4), 60_000, dtype=dtype)
    array[1, 1:] = -0.0
    np.save(tmp_path / "a.npy", array)
    VectorFile.open(tmp_path / "a.npy").check(7)
    array[33, 2] = value
    np.save(tmp_path / "a.npy", array)
    with pytest.raises(ImportRefused, match="row 33 contains NaN or infinity"):
        VectorFile.open(tmp_path / "a.npy").check(7)


@pytest.mark.parametrize(
    ("dtype", "numbers"), [("<f2", [0.0, -0.0]), ("<f4", [0.0, 0.0]), ("<f4", [1e-30, 0.0]), ("<f4", [1e30, 1.0])]
)
def test_names_the_first_vector_without_a_direction(tmp_path: Path, dtype: str, numbers: list[float]) -> None:
    """Its distance to anything would be NaN in ClickHouse's Float32, and no index accepts it."""
    array = np.full((50, 2), 6e-8 if dtype == "<f2" else 1e-18, dtype=dtype)
    np.save(tmp_path / "a.npy", array)
    VectorFile.open(tmp_path / "a.npy").check(7)
    array[33] = numbers
    np.save(tmp_path / "a.npy", array)
    with pytest.raises(ImportRefused, match=r"a\.npy: row 33 is all zeros, or too small"):
        VectorFile.open(tmp_path / "a.npy").check(7)


def test_the_first_bytes_promise_a_size(tmp_path: Path) -> None:
    np.save(tmp_path / "a.npy", np.ones((50, 2), dtype="<f2"))
    content = (tmp_path / "a.npy").read_bytes()
    assert size_of_npy(content[:200]) == len(content)
    assert size_of_npy(content[:20]) is None
    assert size_of_npy(b"<html>") is None
