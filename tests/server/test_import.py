"""import-laion into the table of an installed model: only its own vectors, and a truthful COMMENT."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from clip_installer import cli
from tests.laion_parts import vectors
from tests.server.running import RunningServer

CAPTIONS = [f"a drawing of {number} red hearts" for number in range(30)]


def write(place: Path, number: int, texts: np.ndarray) -> None:
    """A part with these vectors of its captions."""
    for kind, array in (("img_emb", vectors(len(CAPTIONS), 512, 3)), ("text_emb", texts)):
        (place / kind).mkdir(parents=True, exist_ok=True)
        np.save(place / kind / f"{kind}_{number}.npy", array.astype(np.float16))
    (place / "metadata").mkdir(exist_ok=True)
    table = pa.table({"url": CAPTIONS, "caption": CAPTIONS})
    pq.write_table(table, place / "metadata" / f"metadata_{number}.parquet")


def imported(
    capsys: pytest.CaptureFixture[str], server: RunningServer, place: Path, part: int, *options: str
) -> tuple[object, str]:
    """Exit status of the command, and what it said on standard error."""
    capsys.readouterr()
    with pytest.raises(SystemExit) as ended:
        cli.run(
            cli.program,
            "clip-udfs",
            ["import-laion", str(place), "--parts", str(part), "--url", server.url(), *options],
        )
    return ended.value.code, capsys.readouterr().err


def comment(server: RunningServer) -> str:
    ((text,),) = server.rows("SELECT comment FROM system.tables WHERE database = 'default' AND name = 'laion'")
    return str(text)


@pytest.fixture
def source(server: RunningServer, tmp_path: Path) -> Path:
    """Part 0 is the installed model's, part 1 is of no model."""
    given = ", ".join(f"'{caption}'" for caption in CAPTIONS)
    rows = server.rows(f"SELECT encode_text(caption) FROM (SELECT arrayJoin([{given}]) AS caption)")
    write(tmp_path, 0, np.array([row[0] for row in rows], dtype=np.float32))
    write(tmp_path, 1, vectors(len(CAPTIONS), 512, 5))
    return tmp_path


def test_a_part_of_the_tables_model_is_taken_and_another_refused(
    server: RunningServer, source: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    before = comment(server)
    assert "CLIP vectors of emoji" in before
    status, said = imported(capsys, server, source, 1)
    assert (status, len(said.splitlines())) == (1, 1)
    assert "its vectors are not of emoji" in said and "--any-model" in said
    assert imported(capsys, server, source, 0) == (0, "")
    assert comment(server) == before
    assert imported(capsys, server, source, 1)[0] == 1
    assert server.rows("SELECT count() FROM laion") == [(len(CAPTIONS),)]
    assert imported(capsys, server, source, 1, "--any-model") == (0, "")
    assert comment(server).startswith("CLIP vectors imported from")
