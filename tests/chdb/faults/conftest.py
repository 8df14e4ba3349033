"""One installation for all faults; an engine of its own for each, and the check of what that leaves behind."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.chdb.conftest import ServerTree, make_tree
from tests.chdb.faults.case import PICTURES, Case, Reference, files, name_of_picture, nothing_left, picture, replace
from tests.chdb.faults.table import Row, documented, remember


@pytest.fixture(scope="package")
def tree(tmp_path_factory: pytest.TempPathFactory) -> ServerTree:
    """The built-in model, with some pictures to encode."""
    server = make_tree(tmp_path_factory.mktemp("faults"))
    server.install("--image-root", str(server.pictures), "--no-ddl")
    for number in range(PICTURES):
        (server.pictures / name_of_picture(number)).write_bytes(picture(number))
    return server


@pytest.fixture(scope="package")
def reference(tree: ServerTree) -> Reference:
    """The installed model, without ClickHouse."""
    return Reference.of(tree)


@pytest.fixture
def case(tree: ServerTree, reference: Reference, tmp_path: Path) -> Iterator[Case]:
    """A running engine; once it has ended, nothing of it may be left."""
    control, temporary = tmp_path / "control", tmp_path / "temporary"
    control.mkdir()
    temporary.mkdir()
    changed = [*tree.data.glob("user_scripts/clip_udfs/*/*/launch"), *tree.config.glob("*_function.xml")]
    contents = {path: path.read_bytes() for path in changed}
    before = files(tree.data / "user_scripts")
    case = Case(tree, control, reference, {**os.environ, "TMPDIR": str(temporary)})
    try:
        case.start()
        yield case
    finally:
        status = case.engine.close()
        for path, content in contents.items():
            replace(path, content)
    assert status == 0
    nothing_left(tree, temporary, before)


@pytest.fixture
def fault(case: Case, request: pytest.FixtureRequest) -> Iterator[Case]:
    """A case that is a row of docs/faults.md: the row must say what was seen."""
    failed_before = request.session.testsfailed
    yield case
    if request.session.testsfailed == failed_before:
        row = Row.of(request.node.name, request.function.__doc__, case.seen)
        remember(request.config, row)
        said = "docs/faults.md does not say what was seen now; write it with: python -m tests.chdb.faults.table"
        assert documented().get(row.test) == row, said
