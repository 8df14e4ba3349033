"""The measurement that estimates are computed from, on a table that takes a moment."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest

from tests.chdb import commands

REPOSITORY = Path(__file__).parents[2]


def test_what_it_prints_is_what_an_estimate_takes(tmp_path: Path) -> None:
    small = ("--rows", "500,1500", "--dimension", "32", "--queries", "5", "--quantization", "bf16,i8", "--m", "8")
    bench = [sys.executable, "-m", "benchmarks.search.vector_index"]
    command = [*bench, *small, "--bits", "2,16", "--ef-construction", "32"]
    done = subprocess.run(command, cwd=REPOSITORY, capture_output=True, text=True, check=False, timeout=300)
    assert done.returncode == 0, done.stderr
    figures = tmp_path / "index.json"
    figures.write_text(done.stdout)
    found = json.loads(done.stdout)["vector_index"]
    large = {(one["kind"], one.get("quantization"), one.get("bits")): one for one in found if one["rows"] == 1500}
    bf16, i8 = large["hnsw", "bf16", None], large["hnsw", "i8", None]
    # A graph draws its levels at random, so two of the same rows differ by a few links.
    assert bf16["bytes_per_row"] - i8["bytes_per_row"] == pytest.approx(32, rel=0.02)
    assert bf16["view_recall"] >= bf16["index_recall"] > 0.9
    few, every = large["qbit", None, 2], large["qbit", None, 16]
    assert few["recall"] <= every["recall"]
    assert every["recall"] > 0.95
    rabitq, turboquant = (
        next(one for one in found if one["rows"] == 1500 and one.get("method") == method)
        for method in ("rabitq", "turboquant")
    )
    assert rabitq["bytes_per_row"] < turboquant["bytes_per_row"] < 2 * rabitq["bytes_per_row"]
    assert min(rabitq["recall"], turboquant["recall"]) > 0.9
    assert all(value > 0 for one in found for name, value in one.items() if name.endswith(("seconds", "_row", "query")))
    estimate = ("estimate", "--figures", figures, "--dimension", 32, "--rows", "1e6", "--bits", 16, "--json")
    indexes = commands.succeed(*estimate).answer["indexes"]
    assert [(one["quantization"], one["m"]) for one in indexes] == [("bf16", 8), ("i8", 8)]
    quickest = min(one["core_seconds_per_row_and_query"] for one in (rabitq, turboquant))
    assert indexes[0]["codes_seconds"] == pytest.approx(1e6 * quickest / (indexes[0]["machines"] * 32))
    assert indexes[0]["memory"] - indexes[1]["memory"] == pytest.approx(2 * 1_000_000 * 32, rel=0.02)
