"""What the tests of models share."""

from __future__ import annotations

from collections.abc import Iterator
from functools import cached_property

import pytest

from clip_installer.models.build import export
from tests.models.exports import exported_once


@pytest.fixture(autouse=True, scope="session")
def operators_parsed_once() -> None:
    """Let the exporter parse the source of its thousand operators once, not for each tower: a third of an export."""
    from onnxscript.values import TracedOnnxFunction

    parse = TracedOnnxFunction.function_ir.fget
    assert parse is not None
    kept = cached_property(parse)
    kept.__set_name__(TracedOnnxFunction, "function_ir")
    TracedOnnxFunction.function_ir = kept


@pytest.fixture(autouse=True, scope="session")
def towers_exported_once(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    """Let equal towers be exported once."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(export, "_export", exported_once(export._export, tmp_path_factory))
        yield
