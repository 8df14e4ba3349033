"""The estimates, against numbers worked out by hand, and the page that shows them."""

from __future__ import annotations

import json
import math
import re
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner

from benchmarks import record
from clip_installer.commands.installation.estimate import estimate
from clip_installer.errors import ConfigurationError, UsageProblem
from clip_installer.planning.capacity import index_estimate, rows_in_memory
from clip_installer.planning.encoding import encoding_estimates
from clip_installer.planning.figures import RECORDED, Figures, IndexCost, ScanCost, read_figures
from clip_installer.planning.machines import GIB, Layout, Machine, layouts, parse_count

REPOSITORY = Path(__file__).parents[4]
SMALL = IndexCost(1000, 1200, 0.001, 0.01, 0.04, 0.9)
LARGE = IndexCost(4000, 1200, 0.002, 0.01, 0.04, 0.9)
FIGURES = Figures(
    dimension=512,
    encoding={"captions": 0.02, "pictures": 0.1, "one text": 0.06},
    indexes={("bf16", 16): [SMALL, LARGE]},
    scans={8: ScanCost(700, 1e-6, 1.0)},
    origins=("somewhere",),
    import_seconds=3.6e-5,
    codes={"rabitq": ScanCost(2116, 2e-7, 0.99), "turboquant": ScanCost(2180, 3e-7, 1.0)},
)
MACHINE = Machine(memory=256 * GIB, cores=32, price=2.0)


def one(
    rows: int,
    *,
    dimension: int = 512,
    layout: Layout = Layout(None, 2),  # noqa: B008 - it is frozen
    machine: Machine = MACHINE,
    build_rate: float | None = None,
) -> Any:
    return index_estimate(
        FIGURES,
        rows,
        "bf16",
        16,
        dimension=dimension,
        machine=machine,
        layout=layout,
        bits=8,
        build_rate=build_rate,
    )


def test_a_table_of_the_measured_size_costs_what_was_measured() -> None:
    found = one(4000)
    assert (found.memory, found.disk) == (4000 * 2400, 4000 * (4096 + 150 + 2400))
    assert (found.shards, found.machines, found.parts) == (1, 2, 1)
    assert found.build_hours.least == found.build_hours.most == pytest.approx(4000 * 2 * 0.002 / 32 / 3600)
    assert found.queries.least == found.queries.most == pytest.approx(2 * 32 / (0.04 + 0.06))
    assert found.scan_seconds == pytest.approx(4000 * 1e-6 / 64)
    assert found.codes_seconds == pytest.approx(4000 * 2e-7 / 64), "of the quicker method"
    assert found.latency.least == pytest.approx(0.04 + 0.03), "the text on two cores, the search on one"
    assert found.latency.most == pytest.approx(0.04 + 0.06)


def test_a_larger_one_costs_between_its_logarithm_and_the_measured_growth() -> None:
    found = one(400_000)
    hours = 400_000 * 2 / 32 / 3600
    assert found.build_hours.least == pytest.approx(hours * 0.002 * math.log(400_000) / math.log(4000))
    assert found.build_hours.most == pytest.approx(hours * 0.002 * 10)  # four times the rows cost twice, so n ** 0.5
    search = 0.01 * math.log(400_000) / math.log(4000) + 0.03
    assert found.queries.least == pytest.approx(64 / (search + 0.06))


def test_memory_makes_shards_and_disk_makes_parts() -> None:
    held = rows_in_memory(FIGURES, "bf16", 16, dimension=512, machine=MACHINE)
    assert held == int(0.75 * 256 * GIB / 2400)
    assert (one(held).shards, one(held + 1000).shards) == (1, 2)
    assert one(held + 1000, layout=Layout(None, 3)).machines == 6
    assert one(held + 1000, layout=Layout(None, 3)).month == 6 * 2.0 * 730
    assert one(held, machine=Machine(256 * GIB, 32, None)).month is None
    part = int(150 * GIB / (4096 + 150 + 2400))
    assert (one(part).parts, one(part + 1).parts) == (1, 2)
    assert one(10 * held).queries.most < 10 * one(held).queries.most


def test_longer_vectors_cost_more_of_everything() -> None:
    short, long = one(1_000_000), one(1_000_000, dimension=1024)
    assert long.memory == short.memory + 1_000_000 * 2 * 512 * 2
    assert long.build_hours.least == pytest.approx(2 * short.build_hours.least)
    assert long.queries.most < short.queries.most


def test_fixed_shards_fit_or_do_not_and_say_what_the_cache_must_be() -> None:
    held = rows_in_memory(FIGURES, "bf16", 16, dimension=512, machine=MACHINE)
    two, alone = one(held + 1000, layout=Layout(2, 1)), one(held + 1000, layout=Layout(1, 2))
    assert (two.fits, two.machines, alone.fits, alone.machines) == (True, 2, False, 2)
    assert two.machine_memory == round((held + 1000) * 2400 / 2)
    assert two.cache_size == math.ceil((held + 1000) * 2400 / 2 / GIB) * GIB


def test_an_import_runs_alone_in_each_shard_or_beside_others_and_is_part_of_the_window() -> None:
    found = one(10**8, layout=Layout(2, 1))
    assert found.import_hours.most == pytest.approx(10**8 / 2 * 3.6e-5 / 3600)
    assert found.import_hours.least == pytest.approx(found.import_hours.most / 16)
    assert found.window_hours == pytest.approx(found.import_hours.most + found.build_hours.most)


def test_a_rate_of_building_that_was_seen_takes_the_place_of_the_figures() -> None:
    found = one(10**8, layout=Layout(2, 1), build_rate=10_000)
    assert found.build_hours.least == found.build_hours.most == pytest.approx(10**8 / 2 * 2 / 10_000 / 3600)


def test_every_layout_of_so_many_machines() -> None:
    assert layouts(3, None, None) == [Layout(3, 1), Layout(1, 3)]
    assert layouts(4, None, 2) == [Layout(2, 2)]
    assert layouts(6, 3, None) == [Layout(3, 2)]
    assert layouts(None, 5, None) == [Layout(5, 2)]
    assert layouts(None, None, 3) == [Layout(None, 3)]
    with pytest.raises(UsageProblem, match=r"^3 machines cannot be 2 replicas of 2 shards: give a number"):
        layouts(3, 2, 2)


@pytest.mark.parametrize(
    ("text", "rows"),
    [("50M", 50_000_000), ("1.5B", 1_500_000_000), ("10k", 10_000), ("400e6", 400_000_000), ("50_000 ", 50_000)],
)
def test_counts_as_people_type_them(text: str, rows: int) -> None:
    assert parse_count(text) == rows


def test_encoding_a_billion() -> None:
    captions, images, gpu = encoding_estimates(FIGURES, 10**9, MACHINE, 10)
    assert captions.rows_per_second == pytest.approx(50)
    assert captions.machine_hours == pytest.approx(10**9 / 50 / 32 / 3600)
    assert images.hours == pytest.approx(10**9 / 10 / 32 / 10 / 3600)
    assert images.cost == pytest.approx(2 * 10**9 / 10 / 32 / 3600)
    assert (gpu.rows_per_second, gpu.machine_hours, gpu.cost) == (None, None, None)
    measured = encoding_estimates(FIGURES, 10**9, MACHINE, 10, gpu_images=2000.0, gpus=4, gpu_price=4.0)[2]
    assert measured.cost == pytest.approx(4 * 10**9 / 2000 / 3600)
    assert measured.hours == pytest.approx(10**9 / 2000 / 3600 / 4)


def test_what_was_not_measured_is_refused_with_the_way_to_measure_it() -> None:
    with pytest.raises(UsageProblem, match=r"bf16 with M 16\).*--quantization b1 --m 8"):
        rows_in_memory(FIGURES, "b1", 8, dimension=512, machine=MACHINE)


def test_figures_of_another_machine_take_the_place_of_the_recorded_ones(tmp_path: Path) -> None:
    recorded = read_figures()
    found = json.loads((RECORDED / "encoding.json").read_text())
    found["machine"]["cores"] = "64"
    (tmp_path / "results.json").write_text(json.dumps(found))
    other = read_figures([tmp_path / "results.json"])
    assert other.encoding["pictures"] == pytest.approx(32 * recorded.encoding["pictures"])
    assert other.indexes == recorded.indexes
    found["measurements"] = found["measurements"][:1]
    (tmp_path / "results.json").write_text(json.dumps(found))
    with pytest.raises(ConfigurationError, match="nothing about captions, pictures"):
        read_figures([tmp_path / "results.json"])
    (tmp_path / "results.json").write_text("{}")
    with pytest.raises(ConfigurationError, match="has no figures"):
        read_figures([tmp_path / "results.json"])


def test_the_figures_of_encoding_are_those_of_the_bench_and_its_page() -> None:
    assert json.loads(record.COSTS.read_text(encoding="utf-8")) == record.costs(record.kept()["speed"]), (
        "python -m benchmarks.record"
    )
    page = (REPOSITORY / "docs/speed.md").read_text(encoding="utf-8")
    encoding = read_figures().encoding
    for row, key, unit in (("captions", "captions", "ms/row"), ("pictures from disk", "pictures", "ms/row")):
        found = re.search(rf"^\| {row} \| ([\d.]+) {unit}", page, re.MULTILINE)
        assert found
        assert encoding[key] == pytest.approx(2 * float(found[1]) / 1000)
    part = re.search(r"^\| LAION part, files to table \| ([\d.]+) s", page, re.MULTILINE)
    assert part
    assert read_figures().import_seconds == pytest.approx(float(part[1]) / 100_000)


def test_the_page_is_what_the_command_prints() -> None:
    page = record.ESTIMATES.read_text(encoding="utf-8")
    assert record.estimated(page) == page, "python -m benchmarks.record"


def test_one_json_object_and_wrong_usage() -> None:
    answer = json.loads(CliRunner().invoke(estimate, ["--json", "--rows", "2e6", "--quantization", "bf16"]).output)
    assert {found["rows"] for found in answer["indexes"]} == {2_000_000}
    assert {found["quantization"] for found in answer["indexes"]} == {"bf16"}
    assert [found["cost"] for found in answer["encoding"]] == [None, None, None]
    for wrong in ("many", "0", "nan", "inf", "-5M", "0.5", "1e400", "5 0"):
        assert CliRunner().invoke(estimate, ["--rows", wrong]).exit_code == 2


def test_fifty_million_rows_on_three_machines() -> None:
    """The answer says which layouts fit, what to set and what to plan."""
    answer = CliRunner().invoke(estimate, ["--rows", "50M", "--machines", "3", "--memory", "128"]).output
    first = answer.splitlines()[0]
    assert first.startswith("50 M rows fit into the memory of 3 machines of 128 GiB: ")
    assert "i8 with M 16 on 1 shard x 3 replicas" in first
    assert "bf16 with M 64 on 1 shard x 3 replicas" not in first
    assert "| 145 GiB, too much |" in answer
    assert "| plan h |" in answer
    small = CliRunner().invoke(estimate, ["--rows", "5B", "--machines", "3", "--memory", "128"]).output
    assert small.startswith("5 B rows do not fit into the memory of 3 machines of 128 GiB: the smallest index measured")
