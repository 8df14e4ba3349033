"""From LAION's published files to a searchable table: the guide's method compared with import-laion, in one run.

The guide's method is a Python script that joins the three files with pandas and writes a CSV file with the vectors as
lists of decimal numbers, and an INSERT from that file. Run with ``python -m benchmarks.search.laion [--rows N]``.
"""

from __future__ import annotations

import argparse
import json
import os
import sys
import tempfile
import time
from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

DIMENSION = 512
_GUIDE_TABLE = """CREATE TABLE laion (id Int64, url String, caption String, NSFW String, similarity Float32,
image_embedding Array(Float32), text_embedding Array(Float32)) ENGINE = MergeTree ORDER BY id"""


@dataclass(frozen=True)
class Step:
    """One process of a method.

    Attributes:
        name: What it does.
        seconds: From its start to its end.
        peak_mebibytes: Peak of its resident memory.
    """

    name: str
    seconds: float
    peak_mebibytes: int


@dataclass(frozen=True)
class Result:
    """Both methods on the same part.

    Attributes:
        rows: Rows of the part.
        guide: The steps of the guide's method.
        ours: import-laion, one step.
        csv_mebibytes: Size of the guide's intermediate file.
        ratio: Seconds of the guide's method divided by ours.
    """

    rows: int
    guide: tuple[Step, ...]
    ours: Step
    csv_mebibytes: int
    ratio: float


def make_part(folder: Path, rows: int) -> None:
    """Write part 0 below ``folder`` in the published layout: unit vectors in float16, captions of LAION's kind."""
    random = np.random.default_rng(0)
    for kind in ("img_emb", "text_emb"):
        (folder / kind).mkdir(parents=True)
        vectors = random.standard_normal((rows, DIMENSION), dtype=np.float32)
        vectors /= np.linalg.norm(vectors, axis=1, keepdims=True)
        np.save(folder / kind / f"{kind}_0.npy", vectors.astype(np.float16))
    (folder / "metadata").mkdir()
    table = pa.table(
        {
            "url": [f"https://pictures.example.com/{i:08x}/{i}.jpg" for i in range(rows)],
            "caption": [f"A picture of a 'thing' no. {i}, as one finds them in shops \"here\"" for i in range(rows)],
            "NSFW": ["UNLIKELY"] * rows,
            "similarity": random.random(rows),
            "LICENSE": ["?"] * rows,
            "width": random.integers(100, 2000, rows).astype(np.int32),
            "height": random.integers(100, 2000, rows).astype(np.int32),
        }
    )
    pq.write_table(table, folder / "metadata" / "metadata_0.parquet", row_group_size=100_000)


def guide_to_csv(folder: Path, target: Path) -> None:
    """The guide's script: everything in memory, row by row, quotes removed from captions, CSV."""
    import pandas as pd

    frame = pd.read_parquet(folder / "metadata" / "metadata_0.parquet")
    for column, kind in (("image_embedding", "img_emb"), ("text_embedding", "text_emb")):
        vectors = np.load(folder / kind / f"{kind}_0.npy")
        frame[column] = pd.Series(list(vectors)).apply(lambda vector: vector.tolist())
    frame["caption"] = frame["caption"].apply(lambda text: text.replace("'", " ").replace('"', " "))
    columns = ["url", "caption", "NSFW", "similarity", "image_embedding", "text_embedding"]
    frame[columns].to_csv(target, header=False)


def guide_insert(csv: Path, data: Path) -> None:
    """The guide's table and its INSERT, on chDB."""
    import chdb

    connection = chdb.connect(str(data))
    connection.query(_GUIDE_TABLE)
    connection.query(f"INSERT INTO laion FROM INFILE '{csv}' FORMAT CSV")
    connection.close()


def compare(rows: int) -> Result:
    """Run both methods on a part of ``rows`` rows, each step in its own process."""
    with tempfile.TemporaryDirectory() as name:
        place = Path(name)
        # In a separate process: a child's peak starts with its parent's memory.
        _timed("make the part", "-m", "benchmarks.search.laion", "--rows", rows, "--make", place / "laion")
        csv = place / "0.csv"
        guide = (
            _timed("process the files to CSV", "-m", "benchmarks.search.laion", "--to-csv", place / "laion", csv),
            _timed("INSERT FROM INFILE", "-m", "benchmarks.search.laion", "--insert", csv, place / "guide"),
        )
        size = csv.stat().st_size >> 20
        config = place / "config.xml"
        config.write_text(f"<clickhouse><path>{place}/ours/</path></clickhouse>", encoding="utf-8")
        command = ("import-laion", place / "laion", "--parts", "0", "--embedded", "--server-config", config)
        ours = _timed("import-laion", "-m", "clip_installer", *command)
    return Result(rows, guide, ours, size, sum(step.seconds for step in guide) / ours.seconds)


def _timed(name: str, *arguments: object) -> Step:
    os.sync()  # pending writes of the previous step must not slow this one
    began = time.monotonic()
    process = os.posix_spawn(
        sys.executable,
        [sys.executable, *map(str, arguments)],
        os.environ,
        file_actions=[(os.POSIX_SPAWN_DUP2, 2, 1)],
    )
    _, status, usage = os.wait4(process, 0)
    if status:
        raise SystemExit(f"{name} failed with status {os.waitstatus_to_exitcode(status)}")
    return Step(name, time.monotonic() - began, usage.ru_maxrss >> 10)


def markdown(result: Result) -> str:
    """The result as a table in Markdown."""
    lines = [
        f"LAION part of {result.rows:,} rows, files to queryable table",
        "",
        "| way | seconds | peak MiB |",
        "|---|---|---|",
        *(f"| guide: {step.name} | {step.seconds:.1f} | {step.peak_mebibytes:,} |" for step in result.guide),
        f"| import-laion | {result.ours.seconds:.1f} | {result.ours.peak_mebibytes:,} |",
        "",
        f"import-laion is {result.ratio:.0f} times as fast, and writes no CSV file of {result.csv_mebibytes:,} MiB.",
    ]
    return "\n".join(lines)


def main() -> None:
    """Compare, or run one step of the guide's method."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rows", type=int, default=100_000)
    parser.add_argument("--json", action="store_true", help="print one JSON object")
    parser.add_argument("--make", type=Path, metavar="FOLDER", help=argparse.SUPPRESS)
    parser.add_argument("--to-csv", nargs=2, type=Path, metavar=("FOLDER", "CSV"), help=argparse.SUPPRESS)
    parser.add_argument("--insert", nargs=2, type=Path, metavar=("CSV", "DATA"), help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.make:
        make_part(options.make, options.rows)
    elif options.to_csv:
        guide_to_csv(*options.to_csv)
    elif options.insert:
        guide_insert(*options.insert)
    else:
        result = compare(options.rows)
        sys.stdout.write((json.dumps(asdict(result)) if options.json else markdown(result)) + "\n")


if __name__ == "__main__":
    main()
