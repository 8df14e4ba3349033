"""Parts in LAION's published layout, with every kind of difficult caption, for the tests of the import."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.parquet as pq

CAPTIONS = (
    b"a 'quoted' \"caption\"",
    b"tab\there",
    b"line\r\nbreak",
    "emoji \U0001f600\U0001f408".encode(),
    b"",
    None,
    b"back\\slash \\N \\t",
    "中文 和 ́accent".encode(),
    b"nul\0byte",
    b"not UTF-8: \xff\xfe",
    b" spaces at both ends ",
)


def vectors(rows: int, dimension: int, seed: int) -> npt.NDArray[np.float16]:
    """Unit vectors as LAION publishes them."""
    numbers = np.random.default_rng(seed).standard_normal((rows, dimension), dtype=np.float32)
    numbers /= np.linalg.norm(numbers, axis=1, keepdims=True)
    return numbers.astype(np.float16)


def metadata(rows: int) -> pa.Table:
    """Metadata with img2dataset's columns, those that the table has and some that it has not."""
    captions = [CAPTIONS[i % len(CAPTIONS)] for i in range(rows)]
    numbered = [c + b" %d" % i if c else c for i, c in enumerate(captions)]
    nsfw = ["UNLIKELY", "UNSURE", "NSFW", None]
    return pa.table(
        {
            "image_path": [f"{i:09d}" for i in range(rows)],
            "caption": pa.array(numbered, pa.binary()).view(pa.string()),
            "NSFW": [nsfw[i % 4] for i in range(rows)],
            "similarity": np.random.default_rng(rows).random(rows),
            "LICENSE": ["?" if i % 3 else "CC-BY" for i in range(rows)],
            "url": [f"http://example.com/{i}.jpg?q='\"&t=\t{i}" for i in range(rows)],
            "width": pa.array([None if i % 50 == 7 else i % 1000 for i in range(rows)], pa.int32()),
            "height": pa.array([i % 777 for i in range(rows)], pa.int32()),
            "md5": ["0" * 32] * rows,
        }
    )


def write_part(folder: Path, number: int, rows: int, dimension: int = 512, group: int = 3_001) -> None:
    """Write part ``number`` below ``folder`` with ``group`` rows in each row group."""
    for kind, seed in (("img_emb", 1), ("text_emb", 2)):
        (folder / kind).mkdir(parents=True, exist_ok=True)
        np.save(folder / kind / f"{kind}_{number}.npy", vectors(rows, dimension, 10 * number + seed))
    (folder / "metadata").mkdir(exist_ok=True)
    path = folder / "metadata" / f"metadata_{number}.parquet"
    pq.write_table(metadata(rows), path, row_group_size=group, data_page_size=64 << 10)
