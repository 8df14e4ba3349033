"""Parquet metadata: batches of the asked size, bytes as they were, and damage that is noticed."""

from __future__ import annotations

from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from clip_installer.errors import ImportRefused
from clip_installer.laion.metadata import MetadataFile
from tests.laion_parts import metadata


def _written(path: Path, table: pa.Table, group: int = 100) -> MetadataFile:
    pq.write_table(table, path, row_group_size=group)
    return MetadataFile.open(path)


@pytest.mark.parametrize("start", [0, 1, 99, 100, 640, 999])
@pytest.mark.parametrize("batch", [1, 64, 100, 5000])
def test_batches_cover_the_rows_from_the_start_on(tmp_path: Path, start: int, batch: int) -> None:
    source = metadata(1000)
    tables = list(_written(tmp_path / "m.parquet", source).read(batch, start))
    assert [table.num_rows for table in tables[:-1]] == [batch] * (len(tables) - 1)
    read = pa.concat_tables(tables)
    assert read["url"].to_pylist() == [url.encode() for url in source["url"].to_pylist()[start:]]


def test_text_arrives_byte_for_byte_and_null_is_kept_in_the_caption_only(tmp_path: Path) -> None:
    source = metadata(500)
    (read,) = _written(tmp_path / "m.parquet", source).read(1000)
    assert read["caption"].to_pylist() == source["caption"].combine_chunks().view(pa.binary()).to_pylist()
    assert None in read["caption"].to_pylist()
    assert read["NSFW"].to_pylist() == [(value or "").encode() for value in source["NSFW"].to_pylist()]
    assert read["width"].to_pylist() == [value or 0 for value in source["width"].to_pylist()]
    assert "md5" not in read.column_names


def test_other_releases_spell_the_columns_in_capitals(tmp_path: Path) -> None:
    table = pa.table({"URL": ["u"], "TEXT": ["t"], "WIDTH": [640.0], "HEIGHT": [float("nan")]})
    (read,) = _written(tmp_path / "m.parquet", table).read(10)
    assert read.to_pylist() == [{"url": b"u", "caption": b"t", "width": 640, "height": 0}]


@pytest.mark.parametrize(("value", "expected"), [(-1, 0), (2**32 - 1, 2**32 - 1), (2**40, 0), (None, 0)])
def test_a_size_that_cannot_be_one_is_0(tmp_path: Path, value: int | None, expected: int) -> None:
    table = pa.table({"url": ["u"], "caption": ["t"], "width": pa.array([value], pa.int64())})
    (read,) = _written(tmp_path / "m.parquet", table).read(10)
    assert read["width"].to_pylist() == [expected]


@pytest.mark.parametrize(
    "kind", [pa.string_view(), pa.binary_view(), pa.large_string(), pa.large_binary(), pa.binary()]
)
def test_text_columns_of_every_kind_are_read(tmp_path: Path, kind: pa.DataType) -> None:
    columns = {name: pa.array([b"x", None, b"\xc3\xa9" * 20], pa.binary()).cast(kind) for name in ("url", "caption")}
    (read,) = _written(tmp_path / "m.parquet", pa.table(columns)).read(10)
    assert read["caption"].to_pylist() == [b"x", None, b"\xc3\xa9" * 20]
    assert read["url"].to_pylist() == [b"x", b"", b"\xc3\xa9" * 20]


def test_a_picture_without_an_address_is_known_by_its_path_and_one_without_a_caption_has_none(tmp_path: Path) -> None:
    (read,) = _written(tmp_path / "m.parquet", pa.table({"image_path": ["a/b.jpg"]})).read(10)
    assert read.to_pylist() == [{"url": b"a/b.jpg", "caption": None}]


def test_of_two_spellings_the_exact_one_is_taken(tmp_path: Path) -> None:
    table = pa.table(
        {
            "URL": ["wrong"],
            "url": ["right"],
            "Caption": ["c"],
            "image_path": ["p"],
            "nsfw": ["wrong"],
            "NSFW": ["right"],
        }
    )
    (read,) = _written(tmp_path / "m.parquet", table).read(10)
    assert read.to_pylist() == [{"url": b"right", "caption": b"c", "NSFW": b"right"}]


def test_dictionary_columns_are_decoded(tmp_path: Path) -> None:
    table = pa.table({"url": ["u", "v"], "caption": pa.array(["t", None]).dictionary_encode()})
    (read,) = _written(tmp_path / "m.parquet", table).read(10)
    assert read["caption"].to_pylist() == [b"t", None]


@pytest.mark.parametrize(
    ("columns", "reason"),
    [
        ({"caption": ["u"]}, "no column url, nor image_path; it has caption"),
        ({"URL": ["u"], "Url": ["v"], "caption": ["c"]}, "URL and Url could both be the column url"),
        ({"url": [1], "caption": ["c"]}, "column url is int64, expected text"),
        ({"url": ["u"], "caption": ["c"], "width": ["wide"]}, "column width is string, expected a number"),
    ],
)
def test_refuses_columns_that_are_missing_or_of_another_kind(
    tmp_path: Path, columns: dict[str, list[object]], reason: str
) -> None:
    with pytest.raises(ImportRefused, match=reason):
        _written(tmp_path / "m.parquet", pa.table(columns))


def test_refuses_what_is_not_parquet(tmp_path: Path) -> None:
    (tmp_path / "m.parquet").write_bytes(b"not parquet" * 10)
    with pytest.raises(ImportRefused, match=r"m\.parquet: cannot be read as Parquet"):
        MetadataFile.open(tmp_path / "m.parquet")


def test_the_check_finds_a_damaged_page_that_the_footer_does_not_show(tmp_path: Path) -> None:
    path = tmp_path / "m.parquet"
    file = _written(path, metadata(5000), group=500)
    file.check(700)
    content = bytearray(path.read_bytes())
    offset = pq.ParquetFile(path).metadata.row_group(7).column(1).data_page_offset
    content[offset : offset + 64] = bytes(64)
    path.write_bytes(content)
    assert MetadataFile.open(path).rows == 5000
    with pytest.raises(ImportRefused, match="cannot be read as Parquet"):
        file.check(700)
