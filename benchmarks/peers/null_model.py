"""No model: the cost of the wire alone. ``null_model.py RowBinary|TabSeparated|list``.

The first two are the package's own reader and writer, the third prints Python lists as the guide does.
"""

import sys
from collections.abc import Iterator
from itertools import islice
from pathlib import Path

import numpy as np

from clip_udfs.functions import FUNCTIONS
from clip_udfs.pipe.vectors import Vectors
from clip_udfs.pipe.wire import Value
from clip_udfs.settings import ROW_BINARY, TAB_SEPARATED, WorkerSettings
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

    settings = WorkerSettings(Path("/none"), format=TAB_SEPARATED if form == TAB_SEPARATED else ROW_BINARY)
    serve(FUNCTIONS["encode_text"], settings, pipeline.encode, 1)


if __name__ == "__main__":
    main(*sys.argv[1:])
