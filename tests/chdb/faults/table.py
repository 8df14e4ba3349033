"""docs/faults.md: what the last run of each fault's test saw. ``python -m tests.chdb.faults.table`` writes it."""

from __future__ import annotations

import ast
import json
from dataclasses import asdict, dataclass
from pathlib import Path

import pytest

from tests.chdb.faults.case import VECTORS

PAGE = Path(__file__).parents[3] / "docs" / "faults.md"
_CACHE = Path(__file__).parents[3] / ".pytest_cache" / "v" / "faults"
_COLUMNS = "| fault | what the user sees | what the next queries see | test |"
_HEAD = """# What happens when something goes wrong

Each row is a test in `tests/chdb/faults`, run on chDB with installed files, and shows what that test saw.
`python -m tests.chdb.faults.table` writes this page from the last results, and a test fails if the page differs from
them. "The right vectors" means equal to vectors computed without ClickHouse. After each fault chDB is stopped, and no
process, zombie or temporary file may remain. An ellipsis stands for a name or a number.

"""


@dataclass(frozen=True)
class Row:
    """One fault: the test's name, what it does, what is seen at once and what afterwards."""

    test: str
    fault: str
    sees: str
    then: str

    @classmethod
    def of(cls, test: str, documentation: str | None, seen: list[str]) -> Row:
        """The row of a test that saw ``seen`` in this order; what repeats itself is said once."""
        assert documentation is not None
        fault = documentation.strip().splitlines()[0].rstrip(".")
        sees, *then = seen
        told = ["the same" if one == sees != VECTORS else one for one in dict.fromkeys(then)]
        return cls(test, fault, sees, ", then ".join(told))

    def __str__(self) -> str:
        """The row in Markdown."""
        return "| " + " | ".join((self.fault, self.sees, self.then, f"`{self.test}`")) + " |"


def tests() -> list[str]:
    """The names of all tests that take the fixture ``fault``, in the order of the files."""
    return [
        node.name
        for path in sorted(Path(__file__).parent.glob("test_*.py"))
        for node in ast.parse(path.read_text()).body
        if isinstance(node, ast.FunctionDef)
        and node.name.startswith("test_")
        and "fault" in [argument.arg for argument in node.args.args]
    ]


def remember(config: pytest.Config, row: Row) -> None:
    """Keep what a test saw, for the next writing of the page."""
    assert config.cache is not None
    config.cache.set(f"faults/{row.test}", asdict(row))


def documented() -> dict[str, Row]:
    """The rows of the page, by test."""
    lines = PAGE.read_text(encoding="utf-8").splitlines() if PAGE.exists() else []
    cells = [[cell.strip() for cell in line.strip("|").split(" | ")] for line in lines if line.startswith("| ")]
    rows = [Row(test.strip("`"), fault, sees, then) for fault, sees, then, test in cells[1:]]
    return {row.test: row for row in rows}


def write() -> None:
    """Write the page from what the tests saw when they last ran."""
    rows = [Row(**json.loads((_CACHE / name).read_text())) for name in tests()]
    PAGE.write_text(_HEAD + "\n".join((_COLUMNS, "|---|---|---|---|", *map(str, rows))) + "\n", encoding="utf-8")


if __name__ == "__main__":
    write()
