"""What the tests of models share."""

from __future__ import annotations

from functools import cached_property

import pytest


@pytest.fixture(autouse=True, scope="session")
def operators_parsed_once() -> None:
    """Let the exporter parse the source of its thousand operators once, not for each tower: a third of an export."""
    from onnxscript.values import TracedOnnxFunction

    parse = TracedOnnxFunction.function_ir.fget
    assert parse is not None
    kept = cached_property(parse)
    kept.__set_name__(TracedOnnxFunction, "function_ir")
    TracedOnnxFunction.function_ir = kept
