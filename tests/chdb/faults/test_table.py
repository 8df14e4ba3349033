"""docs/faults.md names exactly the tests that there are; each of them compares its own row."""

from __future__ import annotations

from tests.chdb.faults import table


def test_the_page_names_every_fault_and_no_other() -> None:
    names = table.tests()
    assert len(names) == len(set(names))
    assert list(table.documented()) == names
