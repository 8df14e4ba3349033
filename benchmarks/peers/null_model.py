"""No model: the cost of the wire alone. ``null_model.py TabSeparated|RowBinary|list``.

The first two are the package's own reader and writer, the third prints Python lists as the guide does.
"""

import os
import sys
from collections.abc import Iterator
from itertools import islice

import numpy as np

from clip_udfs.pipe.wire import RowBinaryReader, TabSeparatedReader, Value, Vectors
from clip_udfs.worker import serve

DIMENSION = 512
WINDOW = 1024


class _NullPipeline:
    def __init__(self) -> None:
        matrix = np.random.default_rng(5).standard_normal((WINDOW, DIMENSION), np.float32)
        self.matrix = matrix / np.linalg.norm(matrix, axis=1, keepdims=True)

    def encode(self, values: Iterator[Value]) -> Iterator[Vectors]:
        """Return the same vectors again and again."""
        while taken := len(list(islice(values, WINDOW))):
            yield Vectors(self.matrix[:taken], np.ones(taken, np.bool_))


def main(form: str) -> None:
    """Answer blocks until the input ends."""
    pipeline = _NullPipeline()
    if form == "list":
        while header := sys.stdin.buffer.readline():
            for row in range(int(header)):
                sys.stdin.buffer.readline()
                sys.stdout.write(str(pipeline.matrix[row % WINDOW].tolist()) + "\n")
                sys.stdout.flush()
        return

    def read(size: int) -> bytes:
        return os.read(0, size)

    reader = (
        RowBinaryReader(read, 1 << 20, nullable=False) if form == "RowBinary" else TabSeparatedReader(read, 1 << 20)
    )
    serve(reader, pipeline, form, 1)


if __name__ == "__main__":
    main(*sys.argv[1:])
