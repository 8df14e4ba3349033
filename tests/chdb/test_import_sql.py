"""The import by the server itself: rows stay aligned with the file's settings, and do not without them."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from clip_installer import resources
from clip_installer.commands.trial.sql import split_statements
from clip_installer.tables.schema import SchemaParameters, table_statements
from tests.chdb.conftest import ServerTree, make_tree
from tests.laion_parts import write_part

ROWS = 60_000


@pytest.fixture(scope="module")
def part(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A part in many row groups, small vectors."""
    folder = tmp_path_factory.mktemp("laion")
    write_part(folder, 2, ROWS, dimension=16, group=1000)
    return folder


def _compared(server: ServerTree, part: Path, with_settings: bool) -> str:
    text = (resources.sql() / "import" / "laion_part.sql").read_text(encoding="utf-8")
    (insert,) = split_statements(text.replace("url(concat", "file(concat"))
    engine = server.engine()
    for statement in table_statements(SchemaParameters(dimension=16)):
        engine.rows(statement.sql)
    engine.rows("SET param_part = 2")
    engine.rows(f"SET param_base = '{part}'")
    engine.rows(insert if with_settings else insert[: insert.index("SETTINGS")])
    engine.close()
    script = Path(__file__).with_name("laion_compare.py")
    command = [sys.executable, script, server.main_file, server.data, part, "2"]
    return subprocess.run(command, stdout=subprocess.PIPE, text=True, check=False).stdout


def test_every_row_has_its_own_vectors(part: Path, tmp_path: Path) -> None:
    assert _compared(make_tree(tmp_path), part, with_settings=True) == f"equal: {ROWS} rows\n"


def test_without_the_settings_rows_get_the_vectors_of_others(part: Path, tmp_path: Path) -> None:
    assert " differs" in _compared(make_tree(tmp_path), part, with_settings=False)
