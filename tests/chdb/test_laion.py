"""import-laion on chDB: every row arrives unchanged and once, whatever happens on the way."""

from __future__ import annotations

import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pyarrow.parquet as pq
import pytest

from tests.chdb import commands
from tests.chdb.conftest import ServerTree, make_tree
from tests.laion_parts import vectors, write_part

ROWS = 80_000


@pytest.fixture(scope="module")
def large(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A part of 80 000 rows of 512 numbers, its metadata in 27 row groups."""
    folder = tmp_path_factory.mktemp("laion")
    write_part(folder, 0, ROWS)
    return folder


@pytest.fixture
def server(tmp_path: Path) -> ServerTree:
    """A fresh server with nothing in it."""
    return make_tree(tmp_path / "server")


def _rows(server: ServerTree, query: str) -> list[str]:
    return commands.succeed("sql", "--embedded", "--server-config", server.config, "-q", query).output.splitlines()


def _compared(server: ServerTree, folder: Path, part: int = 0) -> str:
    """What comparing the table with the part's files, position for position, has found."""
    script = Path(__file__).with_name("laion_compare.py")
    return subprocess.run(
        [sys.executable, script, server.main_file, server.data, folder, str(part)],
        stdout=subprocess.PIPE,
        text=True,
        check=False,
    ).stdout


def _import(server: ServerTree, source: object, *arguments: object) -> tuple[object, ...]:
    return ("import-laion", source, "--embedded", "--server-config", server.config, "--parts", *(arguments or ("0",)))


def test_a_large_part_arrives_row_for_row_in_less_than_a_gibibyte(large: Path, server: ServerTree) -> None:
    peak = commands.peak_mebibytes(server.data / "peak", *_import(server, large))
    assert peak < 1024
    assert _compared(server, large) == f"equal: {ROWS} rows\n"


def test_a_killed_import_resumes_without_losing_or_duplicating_rows(tmp_path: Path, server: ServerTree) -> None:
    rows = 60_000
    write_part(tmp_path, 0, rows)
    process = commands.start(*_import(server, tmp_path))
    stored = server.data / "store"
    while process.poll() is None and len(list(stored.glob("*/*/all_*/image_embedding.bin"))) < 3:
        time.sleep(0.01)
    process.kill()
    process.communicate()
    assert process.returncode == -9
    (there,) = _rows(server, "SELECT count() FROM laion")
    assert 0 < int(there) < rows

    continued = commands.succeed(*_import(server, tmp_path, "0", "--json")).answer
    assert continued["parts"] == [
        {"part": 0, "rows": rows, "imported": rows - int(there), "state": "continued", "without_texts": False}
    ]
    assert _compared(server, tmp_path) == f"equal: {rows} rows\n"

    again = commands.succeed(*_import(server, tmp_path))
    assert again.output.splitlines()[-1] == "nothing imported: laion has these parts already"
    assert _rows(server, "SELECT count() FROM laion") == [str(rows)]


def test_parts_have_distinct_ids_and_missing_rows_are_filled(tmp_path: Path, server: ServerTree) -> None:
    for part in (0, 3, 12):
        write_part(tmp_path, part, rows=700, dimension=8, group=90)
    commands.succeed(*_import(server, tmp_path, "3,12"))
    assert _rows(
        server,
        "SELECT intDiv(id, 1000000000), count(), max(id) % 1000000000 FROM laion GROUP BY 1 ORDER BY 1",
    ) == [
        "3\t700\t699",
        "12\t700\t699",
    ]
    _rows(
        server,
        "ALTER TABLE laion DELETE WHERE id % 7 = 3 AND id < 10000000000 SETTINGS mutations_sync = 2;"
        "ALTER TABLE laion_imports DELETE WHERE state = 'finished' SETTINGS mutations_sync = 2",
    )
    refilled = commands.succeed(*_import(server, tmp_path, "3", "--json")).answer
    assert refilled["imported"] == 100
    assert _compared(server, tmp_path, 3) == "equal: 700 rows\n"


def _cut(path: Path) -> None:
    path.write_bytes(path.read_bytes()[:-100])


def _damage_last_group(path: Path) -> None:
    group = pq.ParquetFile(path).metadata.row_group(6)
    content = bytearray(path.read_bytes())
    offset = group.column(1).data_page_offset
    content[offset : offset + 40] = bytes(40)
    path.write_bytes(content)


def _with_nan(path: Path) -> None:
    array = np.load(path)
    array[650, 3] = np.nan
    np.save(path, array)


@pytest.mark.parametrize(
    ("file", "spoil", "said"),
    [
        ("text_emb/text_emb_0.npy", _cut, "the file is not complete, fetch it again"),
        (
            "img_emb/img_emb_0.npy",
            lambda path: np.save(path, np.asfortranarray(np.load(path))),
            "in Fortran order",
        ),
        (
            "img_emb/img_emb_0.npy",
            lambda path: np.save(path, vectors(699, 8, 1)),
            "the files do not belong together",
        ),
        ("metadata/metadata_0.parquet", _damage_last_group, "cannot be read as Parquet"),
        ("metadata/metadata_0.parquet", _cut, "cannot be read as Parquet"),
        ("text_emb/text_emb_0.npy", _with_nan, "row 650 contains NaN or infinity"),
        ("metadata/metadata_0.parquet", Path.unlink, "is incomplete"),
    ],
)
def test_a_damaged_part_leaves_nothing_behind(
    tmp_path: Path, server: ServerTree, file: str, spoil: Callable[[Path], object], said: str
) -> None:
    write_part(tmp_path, 0, rows=700, dimension=8, group=100)
    spoil(tmp_path / file)
    failed = commands.run(*_import(server, tmp_path))
    assert failed.status == 1
    assert failed.output == ""
    (line,) = failed.error.splitlines()
    assert said in line
    assert _rows(server, "EXISTS TABLE laion; SELECT count() FROM laion_imports") == ["0", "0"]


def test_vectors_of_another_length_are_refused_before_the_first_row(tmp_path: Path, server: ServerTree) -> None:
    write_part(tmp_path, 0, rows=50, dimension=8)
    write_part(tmp_path, 1, rows=50, dimension=16)
    failed = commands.run(*_import(server, tmp_path, "0-1"))
    assert failed.status == 1
    assert "part 1 has vectors of 16 numbers, the table laion is for 8" in failed.error
    assert _rows(server, "SELECT count() FROM laion") == ["50"]


def test_rows_that_no_import_has_written_are_not_taken_for_imported_ones(tmp_path: Path, server: ServerTree) -> None:
    write_part(tmp_path, 0, rows=50, dimension=8)
    write_part(tmp_path, 1, rows=50, dimension=8)
    commands.succeed(*_import(server, tmp_path, "1"))
    _rows(server, "INSERT INTO laion SELECT * REPLACE (id % 100 AS id) FROM laion WHERE id % 2 = 0")
    failed = commands.run(*_import(server, tmp_path, "0"))
    assert failed.status == 1
    assert "has 25 rows with ids of part 0 (0 and up) that no import has written" in failed.error


def test_a_part_without_rows_is_said_to_have_none(tmp_path: Path, server: ServerTree) -> None:
    write_part(tmp_path, 0, rows=0, dimension=8)
    done = commands.succeed(*_import(server, tmp_path))
    assert done.output.splitlines()[-1] == "nothing imported: these parts have no rows"


def test_a_part_begun_from_other_files_is_refused(tmp_path: Path, server: ServerTree) -> None:
    write_part(tmp_path, 0, rows=50, dimension=8)
    commands.succeed(*_import(server, tmp_path))
    _rows(server, "ALTER TABLE laion_imports DELETE WHERE state = 'finished' SETTINGS mutations_sync = 2")
    np.save(tmp_path / "img_emb/img_emb_0.npy", vectors(50, 8, 77))
    failed = commands.run(*_import(server, tmp_path))
    assert failed.status == 1
    assert "was begun from other files" in failed.error
    assert "DELETE WHERE id BETWEEN 0 AND 999999999" in failed.error


def test_a_part_whose_rows_were_all_removed_is_imported_again(tmp_path: Path, server: ServerTree) -> None:
    write_part(tmp_path, 0, rows=50, dimension=8)
    commands.succeed(*_import(server, tmp_path))
    _rows(server, "TRUNCATE TABLE laion")
    assert commands.succeed(*_import(server, tmp_path, "0", "--json")).answer["imported"] == 50
    assert _compared(server, tmp_path) == "equal: 50 rows\n"
