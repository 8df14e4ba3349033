"""Rows per second of ``encode_image_bytes`` with blocks of one, 16 and 64 rows, in one run.

ClickHouse reads each file of ``s3()``, ``url()`` or ``file()`` with RawBLOB as a block of one row. A worker then has
one image at a time: it cannot decode the next while the engine runs, and a GPU computes batches of one. ``python -m
benchmarks.functions.blocks --url http://… "file('photos/*.jpg', RawBLOB)"`` compares block sizes, in turns.
"""

from __future__ import annotations

import argparse
import statistics
import time
from collections.abc import Sequence

from clip_installer.clickhouse.address import Tls, parse_url
from clip_installer.clickhouse.connection import ConnectionOptions
from clip_installer.clickhouse.database import Database

# The join's right side has one row; ClickHouse gathers the rows of the left side into blocks before joining.
GATHERED = (
    "(SELECT raw_blob AS content, 1 AS one FROM {source}) AS files INNER JOIN (SELECT 1 AS one) AS gather USING one"
)
ALONE = "(SELECT raw_blob AS content FROM {source})"
MOST_BYTES = 32 << 20


def rows_per_second(database: Database, source: str, block: int) -> tuple[float, float]:
    """Rows per second, and average rows per block, with blocks of ``block`` rows."""
    of = (ALONE if block == 1 else GATHERED).format(source=source)
    settings = {"max_threads": 1}
    if block > 1:
        settings |= {"min_joined_block_size_rows": block, "min_joined_block_size_bytes": MOST_BYTES}
    began = time.monotonic()
    ((rows, blocks),) = database.rows(
        f"SELECT count(), uniqExact(blockNumber()) FROM (SELECT try_encode_image_bytes(content) AS v FROM {of})"
        " WHERE length(v) >= 0",
        settings=settings,
    )
    return rows / (time.monotonic() - began), rows / max(blocks, 1)


def main(arguments: Sequence[str] | None = None) -> None:
    """Print a table."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("source", help="a table function with the format RawBLOB")
    parser.add_argument("--url", required=True)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--blocks", type=int, nargs="+", default=[1, 16, 64])
    options = parser.parse_args(arguments)
    found: dict[int, list[tuple[float, float]]] = {block: [] for block in options.blocks}
    with ConnectionOptions(address=parse_url(options.url, Tls())).connect() as database:
        rows_per_second(database, options.source, options.blocks[0])  # the workers start
        for _ in range(options.rounds):
            for block in options.blocks:
                found[block].append(rows_per_second(database, options.source, block))
    first = statistics.median(rate for rate, _ in found[options.blocks[0]])
    print("| rows wanted in a block | rows in a block | rows a second | ratio |\n|---:|---:|---:|---:|")  # noqa: T201
    for block, measured in found.items():
        rate = statistics.median(rate for rate, _ in measured)
        print(f"| {block} | {measured[-1][1]:.1f} | {rate:.1f} | {rate / first:.2f} |")  # noqa: T201


if __name__ == "__main__":
    main()
