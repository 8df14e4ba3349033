"""The benchmark's own arithmetic: fair measurements must also be reported correctly."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray
from PIL import Image

from benchmarks import material, record, report
from benchmarks.functions import works
from benchmarks.functions.engine import Engine
from benchmarks.functions.measurement import Measurement
from benchmarks.functions.memory import Memory, Worker
from benchmarks.gpu.towers import PRECISIONS
from benchmarks.search import filters
from benchmarks.worker import engine_only, engines, models, start
from clip_udfs.bundle import Bundle
from clip_udfs.functions import Tower
from clip_udfs.settings import WorkerSettings
from tests.conftest import TINY_CLIP
from tests.documents import REPOSITORY


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
    notes = {"reference": "open_clip", "cosine": 0.9998}
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


def test_the_page_shows_the_records_of_searches_with_a_filter() -> None:
    page = filters.PAGE.read_text(encoding="utf-8")
    assert record.rendered(page, "filters", filters.figures(filters.kept())) == page, (
        "python -m benchmarks.search.filters --draw"
    )


def test_a_method_searches_with_the_filter_on_one_thread() -> None:
    """Every method gets the query, the filter, its table and its settings."""
    for method in filters.METHODS:
        statement = method.sql("[1, 2]", 9500)
        assert "[1, 2]" in statement
        assert "9500" in statement
        assert method.table in statement
        assert "{" not in statement
        assert statement.endswith(f"SETTINGS max_threads = 1{', ' * bool(method.settings)}{method.settings}")


def test_a_page_shows_the_record_that_is_kept() -> None:
    records = record.kept()
    assert "speed" in records
    for page, figures in record.PAGES.items():
        text = page.read_text(encoding="utf-8")
        for name, values in records.items():
            assert record.rendered(text, name, figures(values)) == text, (
                f"{page.name}: its figures {name} are not those of the record: python -m benchmarks.record"
            )


def test_keeping_a_run_writes_the_pages(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    page, results, estimates = tmp_path / "page.md", tmp_path / "results.json", tmp_path / "estimates.md"
    page.write_text("before\n<!-- figures: speed, begin; one more word -->\nold\n<!-- figures: speed, end -->\nafter\n")
    estimates.write_text(
        "clip-udfs estimate --rows 2M\n<!-- figures: estimate, begin -->\n<!-- figures: estimate, end -->\n"
    )
    results.write_text(json.dumps(a_run()))
    monkeypatch.setattr(record, "RECORDS", tmp_path)
    monkeypatch.setattr(record, "PAGES", {page: record.markdown})
    monkeypatch.setattr(record, "COSTS", tmp_path / "costs")
    monkeypatch.setattr(record, "ESTIMATES", estimates)
    results.rename(tmp_path / "run.txt")
    record.main("speed", str(tmp_path / "run.txt"))
    written = page.read_text()
    assert written.startswith(
        "before\n<!-- figures: speed, begin; one more word -->\n`python -m benchmarks` on 2 cores of a CPU"
    )
    assert written.endswith("\n<!-- figures: speed, end -->\nafter\n")
    assert "| captions | 10 ms/row | 125 ms/row (12.5x) |" in written
    assert "old" not in written
    assert [one["values"] for one in json.loads((tmp_path / "costs").read_text())["measurements"]] == [[0.01]]
    assert "| 2 M | bf16 |" in estimates.read_text()
    record.main()
    assert page.read_text() == written
    page.write_text("no place")
    with pytest.raises(ValueError, match="no place for the figures speed"):
        record.main()


def test_every_kind_of_figure_is_in_its_table() -> None:
    text = record.markdown(a_run())
    peers, _, rest = text.partition("Targets:")
    assert "int8" not in peers
    assert "| captions | guide | 12 | 12.5 | reached |" in rest
    assert "| captions, ours | cosine to open_clip | 0.9999900 | 0.9999000 | **missed** |" in rest
    assert "| growth, 1,000 to 10,000 texts | at most, seconds a row | 1.25 | 1.1 | reached |" in rest
    assert "| growth, 1,000 to 10,000 texts | at most, peak memory | 1.1 | 2 | **missed** |" in rest
    assert "| pool of two, captions, four at once | one query's throughput | 1 | 1.8 | reached |" in rest
    assert "| pool of two, captions, four at once | at most, slowest to quickest | 3 | 3.5 | **missed** |" in rest
    assert "| pools of two, all six functions, memory | at most, share of the plan | 1 | 0.9 | reached |" in rest
    assert "| int8, captions | 10 ms/row | 4 ms/row (0.4x) | cosine 0.99770 |" in rest
    assert "| pools of two, all six functions, memory | 9 MiB | 12 workers, 90% of what the plan says |" in rest
    assert "| start, graph | 90 ms |" in rest
    assert "| engines, captions | 10 ms/row | 12 ms/row (1.2x) | cosine 0.99999 |" in rest


def test_a_target_that_was_missed_has_its_reason_beside_it() -> None:
    text = record.markdown(a_run())
    assert "| start, first vector, as installed | at most, ms | 250 | 300 | **missed** |" in text
    assert "* **start, first vector, as installed: 300 instead of 250.** As for the first query" in text
    assert "**captions" not in text


def a_run() -> dict[str, Any]:
    """The results of a made-up run with every kind of measurement."""
    against_open_clip = {"reference": "open_clip", "cosine": 0.9999}
    pool = "pool of two, captions, "
    measurements = [
        Measurement("captions", "ours", "s/row", (0.01, 0.01), 2, against_open_clip),
        Measurement("captions", "guide", "s/row", (0.12, 0.13), 2),
        Measurement("int8, captions", "ours", "s/row", (0.01,), 2, {"reference": "ours", "cosine": 1.0}),
        Measurement("int8, captions", "int8", "s/row", (0.004,), 2, {"reference": "ours", "cosine": 0.9977}),
        Measurement("growth, 1,000 texts", "ours", "s/row", (0.010,), 1000, {"worker_peak_bytes": 2**20}),
        Measurement("growth, 10,000 texts", "ours", "s/row", (0.011,), 10_000, {"worker_peak_bytes": 2**21}),
        Measurement(f"{pool}one query", "ours", "s/row", (0.018,), 10),
        Measurement(f"{pool}four at once", "ours", "s/row", (0.010,), 40, {"slowest_to_quickest": 3.5}),
        Measurement(
            "pools of two, all six functions, memory",
            *("ours", "bytes", (9.0 * 2**20,), 1),
            {"workers": 12, "planned_bytes": 10 * 2**20, "share_of_plan": 0.9},
        ),
        Measurement("start, graph", "ours", "s", (0.09,)),
        Measurement("start, first vector, as installed", "ours", "s", (0.3,)),
        Measurement("engines, captions", "ours", "s/row", (0.010,), 1, {"cosine": 1.0}),
        Measurement("engines, captions", "openvino", "s/row", (0.012,), 1, {"cosine": 0.99999}),
    ]
    return {
        "command": "python -m benchmarks",
        "machine": {"cpu": "a CPU", "cores": "2", "memory": "8 GiB", "system": "Linux 1", "python": "3"},
        "load_average": {"least": 0.5, "most": 1.5},
        "labels": {"ours": "ours", "guide": "the guide's script", "int8": "int8", "openvino": "OpenVINO"},
        "measurements": [one.to_dict() for one in measurements],
    }


def test_statements_run_together(tmp_path: Path) -> None:
    config = tmp_path / "config.xml"
    config.write_text(f"<clickhouse><path>{tmp_path}/data/</path><logger><level>none</level></logger></clickhouse>")
    engine = Engine(config, tmp_path / "data", tmp_path / "log")
    try:
        answers = engine.run_together([f"SELECT {number}, sleepEachRow(0.3)" for number in range(4)])
        assert [answer.rows[0][0] for answer in answers] == [0, 1, 2, 3]
        with pytest.raises(RuntimeError, match="there_is_no_such"):
            engine.run_together(["SELECT 1", "SELECT there_is_no_such()"])
        assert engine.run("SELECT 5").value == 5
    finally:
        engine.close()


def test_every_step_for_a_gpu_runs_on_a_cpu(tmp_path: Path) -> None:
    """The script rarely runs on a GPU: a dry run shows that each step works and that vectors equal the CPU's."""
    command = [sys.executable, "-m", "benchmarks.gpu", "--device", "cpu", "--quick", "--seconds", "3000"]
    subprocess.run(
        [*command, "--model", str(TINY_CLIP), "--output", str(tmp_path)],
        check=True,
        cwd=REPOSITORY,
        capture_output=True,
    )
    found = json.loads((tmp_path / "gpu.json").read_text())
    assert found["device"] == "CPU (a dry run)"
    works = [figure["work"] for figure in found["figures"]]
    assert list(dict.fromkeys(works)) == [
        "image tower",
        "text tower",
        "worker, captions",
        "worker, JPEG files",
        "worker, decoded pixels",
        "JPEG to pixels",
    ]
    assert all(figure["rows_a_second"] > 0 for figure in found["figures"])
    cosines = [float(figure["notes"]["cosine"]) for figure in found["figures"] if "cosine" in figure["notes"]]
    assert len(cosines) == 2 * len(PRECISIONS)
    assert min(cosines) > 0.999


def test_the_steps_of_a_start(tiny_bundle: Path, tmp_path: Path) -> None:
    settings = tmp_path / "worker.json"
    settings.write_text(WorkerSettings(tiny_bundle, threads=1, format="TabSeparated").to_json())
    taken = start.steps(settings)
    assert next(iter(taken)) == "interpreter"
    assert {"graph", "tokenizer", "first text", "import of numpy"} <= set(taken)
    assert all(seconds >= 0 for seconds in taken.values())


def test_engines_are_compared_on_the_same_rows(tiny_bundle: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """OpenVINO is not among the locked packages; bfloat16 is measured only where the CPU multiplies it."""

    class Other(engines.OnnxRuntime):
        def __init__(self, bundle: Bundle, tower: Tower, precision: str) -> None:
            super().__init__(bundle, tower)
            self.error = {"f32": 0.0, "bf16": 0.01}[precision]

        def many(self, batches: Sequence[NDArray[Any]]) -> list[NDArray[np.float32]]:
            vectors = super().many(batches)
            vectors[-1][-1, 0] += self.error * np.linalg.norm(vectors[-1][-1])
            return vectors

    monkeypatch.setattr(engines, "OpenVino", Other)
    monkeypatch.setattr(engines.machine, "flags", lambda: {"avx2"})
    found = engines.compare(Bundle.open(tiny_bundle), 2, texts=5, images=3)
    assert list(found) == ["one text", "captions", "one image", "images"]
    assert all(list(of) == ["ours", "openvino"] for of in found.values())
    assert all(len(one["seconds"]) == 2 for of in found.values() for one in of.values())
    assert found["captions"]["openvino"]["cosine"] == pytest.approx(1, abs=1e-6)
    monkeypatch.setattr(engines.machine, "flags", lambda: {"amx_bf16"})
    found = engines.compare(Bundle.open(tiny_bundle), 1, texts=5, images=3)
    assert found["images"]["openvino_bf16"]["cosine"] < 0.99998


def test_a_bench_without_openvino_says_so(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(works, "find_spec", lambda _: None)
    said: list[str] = []
    assert list(works.engines(SimpleNamespace(say=said.append))) == []  # type: ignore[arg-type]
    assert said == ["  OpenVINO is not installed and therefore not compared: pip install openvino"]


def test_the_towers_of_a_model_are_timed(tiny_bundle: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(models, "ROUNDS", 1)
    bundle = Bundle.open(tiny_bundle)
    assert all(models.ratio(bundle, bundle, tower) > 0 for tower in ("text", "image"))


def test_times_of_another_cpu_are_dropped(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path, here = tmp_path / "record.json", {"cpu": "one", "onnxruntime": "1.32.0"}
    monkeypatch.setattr(models, "RECORD", path)
    monkeypatch.setattr(models.machine, "describe", lambda: here)
    models.keep("ViT-L-14", {"text": 2.345, "image": 17.4})
    models.keep("ViT-B-16", {"text": 1.01, "image": 3.96})
    times = {"ViT-B-16": {"text": 1.0, "image": 4.0}, "ViT-L-14": {"text": 2.3, "image": 17.0}}
    assert json.loads(path.read_text())["times"] == times
    here["cpu"] = "two"
    models.keep("ViT-B-32", {"text": 1.0, "image": 1.0})
    assert list(json.loads(path.read_text())["times"]) == ["ViT-B-32"]
