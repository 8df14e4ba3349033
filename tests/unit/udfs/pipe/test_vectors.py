"""Vectors on their way to the pipe, in both of its formats."""

from __future__ import annotations

import numpy as np
import pytest

from clip_udfs.errors import EngineError
from clip_udfs.pipe.row_binary import RowBinaryWriter
from clip_udfs.pipe.tab_separated import TabSeparatedWriter
from tests.pipes import vectors

WRITERS = (RowBinaryWriter("embedding", "Array(Float32)"), TabSeparatedWriter())


@pytest.mark.parametrize("writer", WRITERS, ids=lambda writer: type(writer).__name__)
@pytest.mark.parametrize("bad", [np.nan, np.inf])
def test_a_vector_that_is_not_finite_never_reaches_the_wire(
    writer: RowBinaryWriter | TabSeparatedWriter, bad: float
) -> None:
    wrong = vectors(3)
    wrong.matrix[1, 5] = bad
    with pytest.raises(EngineError, match="not finite"):
        writer.vectors(wrong)
    wrong.present[1] = False
    assert writer.vectors(wrong)
