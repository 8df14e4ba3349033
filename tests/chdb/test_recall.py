"""recall on a small table: exact if everything is compared, lower if little is, and nothing is left behind."""

from __future__ import annotations

from pathlib import Path

from tests.chdb import commands
from tests.chdb.conftest import make_tree
from tests.laion_parts import write_part


def test_recall_grows_with_the_candidates_and_is_what_the_plot_shows(tmp_path: Path) -> None:
    server = make_tree(tmp_path / "server")
    write_part(tmp_path, 0, rows=4000, dimension=64)
    where = ("--embedded", "--server-config", server.config)
    commands.succeed("import-laion", tmp_path, "--parts", "0", *where)
    grid = ("--quantization", "bf16,i8", "--m", "4", "--ef-construction", "16", "--ef-search", "1,20,4000")
    picture = tmp_path / "recall.svg"
    answer = commands.succeed("recall", *where, *grid, "--queries", "30", "--plot", picture, "--json").answer
    assert (answer["rows"], answer["queries"], answer["k"]) == (4000, 30, 10)
    lines = answer["measurements"]
    assert [(line["quantization"], line["ef_search"]) for line in lines] == [
        (quantization, ef) for quantization in ("bf16", "i8") for ef in (1, 20, 4000)
    ]
    for few, some, all_of_them in (lines[:3], lines[3:]):
        assert few["index_recall"] < some["index_recall"] < all_of_them["index_recall"] <= 1
        assert all_of_them["recall"] > 0.97
        assert few["recall"] >= few["index_recall"]
    assert lines[2]["index_recall"] > lines[5]["index_recall"]
    assert lines[5]["index_bytes"] < lines[2]["index_bytes"]
    assert answer["recommended"] is None or answer["recommended"]["index_recall"] >= 0.98
    assert b"recall@10" in picture.read_bytes() or b"<svg" in picture.read_bytes()
    tables = commands.succeed("sql", *where, "-q", "SHOW TABLES").output.split()
    assert tables == ["laion", "laion_imports"]


def test_the_table_is_markdown(tmp_path: Path) -> None:
    server = make_tree(tmp_path / "server")
    write_part(tmp_path, 0, rows=300, dimension=8)
    where = ("--embedded", "--server-config", server.config)
    commands.succeed("import-laion", tmp_path, "--parts", "0", *where)
    both = ("--kind", "hnsw,quantized", "--ef-search", "300", "--m", "8")
    said = commands.succeed("recall", *where, "--queries", "5", *both).output.splitlines()
    assert said[0] == "recall@10 of 5 searches in 300 rows of laion"
    assert said[2].startswith("| quantization ")
    names = [line.split("|")[1].strip() for line in said[4:9]]
    assert names == ["bf16", "i8", "rabitq", "turboquant", "none: brute force"]
    # As many candidates as rows: what is found is what is there.
    assert [line.split("|")[5].strip() for line in said[6:8]] == ["1.0000", "1.0000"]
    assert said[-1].startswith("recommended: ")


def test_a_table_that_is_not_there_is_named(tmp_path: Path) -> None:
    server = make_tree(tmp_path / "server")
    failed = commands.run("recall", "--embedded", "--server-config", server.config, "--table", "nothing")
    assert failed.status == 1
    assert failed.error == ("clip-udfs: no table nothing has a constraint with its vectors' length; import first\n")
