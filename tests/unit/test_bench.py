"""The benchmark's own arithmetic: what is measured fairly must also be said rightly."""

from __future__ import annotations

import os
from pathlib import Path

import pytest
from PIL import Image

from benchmarks import engine_only, material, report
from benchmarks.memory import Memory, Worker
from benchmarks.works import Measurement


def test_captions_differ_and_repeat_with_their_seed() -> None:
    texts = material.captions(300)
    assert len(set(texts)) == 300
    assert texts == material.captions(300)
    assert material.captions(300, seed=5) != texts
    words = sorted(len(text.split()) for text in texts)
    assert 5 <= words[150] <= 15
    assert words[-1] > 20


def test_pictures_have_photo_sizes_and_are_kept(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(material, "_SCENES", 1)
    paths = material.pictures(tmp_path, 3)
    for path, size in zip(paths, material.SIZES, strict=False):
        with Image.open(path) as picture:
            assert (picture.format, picture.size) == ("JPEG", size)
    written = [path.stat().st_mtime_ns for path in paths]
    assert material.pictures(tmp_path, 3) == paths
    assert [path.stat().st_mtime_ns for path in paths] == written


def test_a_ratio_is_the_median_of_pairs() -> None:
    ours = Measurement("captions", "ours", "s/row", (1.0, 2.0, 10.0))
    peer = Measurement("captions", "guide", "s/row", (12.0, 26.0, 20.0))
    assert report.ratio(ours, peer) == 12.0
    (verdict,) = report.against_targets([ours, peer])
    assert verdict["enough"] is True
    (verdict,) = report.against_targets([ours, Measurement("captions", "guide", "s/row", (11.0, 22.0, 110.0))])
    assert (verdict["reached"], verdict["enough"]) == (11.0, False)


def test_vectors_that_differ_are_a_missed_target() -> None:
    notes = {"cosine_to_open_clip": 0.9998}
    verdicts = report.against_targets([Measurement("captions", "ours", "s/row", (1.0,), 1, notes)])
    assert [verdict["enough"] for verdict in verdicts] == [False]


@pytest.mark.parametrize(
    ("value", "unit", "said"),
    [(0.0000123, "s/row", "12.3 µs/row"), (0.25, "s", "250 ms"), (3.0, "s", "3 s"), (2**21, "bytes", "2 MiB")],
)
def test_figures_for_people(value: float, unit: str, said: str) -> None:
    assert report.spoken(value, unit) == said


def test_the_count_of_multiplications_is_vit_b_32_s() -> None:
    assert abs(engine_only.FLOP_OF_ALL_TOKENS / 8.8e9 - 1) < 0.01
    assert 0.92 < engine_only.FLOP_PER_PICTURE / engine_only.FLOP_OF_ALL_TOKENS < 0.95


def test_memory_of_a_process() -> None:
    memory = Memory.of(os.getpid())
    assert 0 < memory.private <= memory.pss


def test_a_worker_is_fed_as_clickhouse_does() -> None:
    worker = Worker(["/bin/sh", "-c", "read n; while read row; do echo $n; done"])
    worker.answer(["a", "b"], header=True)
    assert worker.memory().pss > 0
    worker.close()
    gone = Worker(["/bin/false"])
    with pytest.raises((RuntimeError, BrokenPipeError)):
        gone.answer(["a"], header=True)
    gone.close()
