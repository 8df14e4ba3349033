"""Compare an imported part with its files, position for position.

Run as ``python laion_compare.py CONFIG DATA FOLDER PART``.
Prints ``equal`` and the number of rows, or the first thing that differs, and exits 1.
"""

from __future__ import annotations

import hashlib
import sys
from pathlib import Path

import clickhouse_connect
import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

_STEP = 10_000
_TEXTS = ("url", "caption", "NSFW", "LICENSE")
_ID_STEP = 1_000_000_000


def _source_hashes(folder: Path, part: int, start: int, stop: int, metadata: pa.Table) -> list[bytes]:
    """A digest of each row of the files, the vectors widened to float32."""
    images = np.load(folder / "img_emb" / f"img_emb_{part}.npy", mmap_mode="r")[start:stop].astype("<f4")
    texts = np.load(folder / "text_emb" / f"text_emb_{part}.npy", mmap_mode="r")[start:stop].astype("<f4")
    rows = metadata.slice(start, stop - start)
    url, caption, nsfw, licence = (rows[name].combine_chunks().view(pa.binary()).to_pylist() for name in _TEXTS)
    without_null = [[value or b"" for value in column] for column in (nsfw, licence)]
    similarity = rows["similarity"].to_numpy().astype("<f4")
    sizes = [pc.fill_null(rows[name], 0).to_numpy() for name in ("width", "height")]
    columns = (url, caption, *without_null, similarity, *sizes, images, texts)
    return [_digest(*values) for values in zip(*columns, strict=True)]


def _stored_hashes(rows: pa.Table) -> list[bytes]:
    """A digest of each row of the table."""
    texts = [rows[name].combine_chunks().view(pa.binary()).to_pylist() for name in _TEXTS]
    similarity = rows["similarity"].to_numpy()
    sizes = [rows[name].to_numpy() for name in ("width", "height")]
    vectors = []
    for name in ("image_embedding", "text_embedding"):
        flat = rows[name].combine_chunks().flatten().to_numpy().astype("<f4")
        vectors.append(flat.reshape(rows.num_rows, -1))
    return [_digest(*values) for values in zip(*texts, similarity, *sizes, *vectors, strict=True)]


def _digest(*values: object) -> bytes:
    digest = hashlib.blake2b(digest_size=16)
    for value in values:
        if isinstance(value, np.ndarray | np.float32):
            content = value.tobytes()
        elif isinstance(value, bytes):
            content = value
        else:
            content = repr(None if value is None else int(value)).encode()  # type: ignore[call-overload]
        digest.update(len(content).to_bytes(8, "little") + content + (b"N" if value is None else b"V"))
    return digest.digest()


def main(config: str, data: str, folder: str, part: str) -> int:
    """Compare, print, and give the exit status."""
    number = int(part)
    metadata = pq.read_table(Path(folder) / "metadata" / f"metadata_{number}.parquet")
    client = clickhouse_connect.get_client(interface="chdb", path=data, chdb_options={"config-file": config})
    first = number * _ID_STEP
    stored = client.command(f"SELECT count() FROM laion WHERE id BETWEEN {first} AND {first + _ID_STEP - 1}")
    if stored != metadata.num_rows:
        sys.stdout.write(f"{stored} rows are stored, {metadata.num_rows} are in the files\n")
        return 1
    for start in range(0, metadata.num_rows, _STEP):
        stop = min(start + _STEP, metadata.num_rows)
        rows = client.query_arrow(
            "SELECT id, url, caption, toString(NSFW) AS NSFW, toString(LICENSE) AS LICENSE, similarity,"
            " width, height, image_embedding, text_embedding FROM laion"
            f" WHERE id >= {first + start} AND id < {first + stop} ORDER BY id"
        )
        if rows["id"].to_pylist() != list(range(first + start, first + stop)):
            sys.stdout.write(f"the ids from {first + start} on are not those of the positions\n")
            return 1
        wanted = _source_hashes(Path(folder), number, start, stop, metadata)
        for position, (there, source) in enumerate(zip(_stored_hashes(rows), wanted, strict=True), start):
            if there != source:
                sys.stdout.write(f"position {position} differs\n")
                return 1
    sys.stdout.write(f"equal: {stored} rows\n")
    return 0


if __name__ == "__main__":
    sys.exit(main(*sys.argv[1:]))
