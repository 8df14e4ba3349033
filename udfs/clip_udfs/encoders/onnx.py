"""ONNX Runtime on the CPU: the default engine."""

from __future__ import annotations

import os
import threading
from contextlib import suppress
from typing import Any

import numpy as np
import onnxruntime
from numpy.typing import NDArray

from clip_udfs.bundle import Bundle
from clip_udfs.encoders.packing import TOKENS, pack
from clip_udfs.encoders.prepared import graph_files
from clip_udfs.encoders.weight_files import refuse_foreign_weights
from clip_udfs.errors import EngineError, one_line
from clip_udfs.functions import Tower

INPUT = TOKENS
OUTPUT = "clip_vector"


class OnnxEncoder:
    """A tower as an ONNX graph; its external weights are mapped from the file, not copied.

    An exclusive batch uses all threads. Parallel batches use one thread each, and as many run as there are threads:
    that is faster by a tenth to a fifth, because no thread waits for another after every product. It needs a second
    session, opened on first use.
    """

    def __init__(self, bundle: Bundle, tower: Tower, threads: int) -> None:
        """Load the tower's graph with ``threads`` engine threads (0: as many as cores).

        Raises:
            BundleError: The bundle has no such graph.
            EngineError: ONNX Runtime refuses it.
        """
        self._path, self._prepared, self._files = graph_files(bundle, tower)
        refuse_foreign_weights(self._path, {path.name for path in self._files})
        self._opened = self._identity()
        self._session = self._open(threads)
        # If a graph was not prepared, each session packs its own weights: two sessions would have them twice.
        self.parallel_batches = (threads or os.cpu_count() or 1) if self._prepared else 1
        self._second = self._session if self.parallel_batches == 1 else None
        self._opening = threading.Lock()
        self._end_id = bundle.manifest.text.end_id
        self._packed = len(self._session.get_inputs()) > 1

    def encode(self, batch: NDArray[Any], *, exclusive: bool = True) -> NDArray[np.float32]:
        """See :class:`clip_udfs.encoders.Encoder`."""
        session = self._session if exclusive else self._parallel_session()
        try:
            (vectors,) = session.run([OUTPUT], pack(batch, self._end_id) if self._packed else {INPUT: batch})
        except Exception as error:  # the runtime's exceptions share no base class
            raise EngineError(f"ONNX Runtime failed on a batch of {len(batch)}: {one_line(error)}") from error
        return vectors  # type: ignore[no-any-return]

    def _parallel_session(self) -> onnxruntime.InferenceSession:
        """The session whose runs use only the calling thread."""
        with self._opening:
            if self._second is None:
                self._second = self._opened_again()
            return self._second

    def _opened_again(self) -> onnxruntime.InferenceSession:
        """A session with one thread; the first session if an installation has replaced the files since."""
        with suppress(EngineError, OSError):
            session = self._open(1)
            if self._identity() == self._opened:
                return session
        return self._session

    def _identity(self) -> list[tuple[int, ...]]:
        """What tells this file from another one under the same name."""
        found = (path.stat() for path in self._files)
        return [(one.st_dev, one.st_ino, one.st_size, one.st_mtime_ns) for one in found]

    def _open(self, threads: int) -> onnxruntime.InferenceSession:
        options = onnxruntime.SessionOptions()
        if self._prepared:
            options.graph_optimization_level = onnxruntime.GraphOptimizationLevel.ORT_DISABLE_ALL  # it is done
        options.intra_op_num_threads = threads
        options.inter_op_num_threads = 1
        options.log_severity_level = 3
        # An idle worker must not keep a core busy waiting for work.
        options.add_session_config_entry("session.intra_op.allow_spinning", "0")
        # Batches here have many shapes. The runtime would keep a memory plan for each for ever, and its arena takes two
        # to four times what a batch needs; malloc takes little more, and is no slower.
        options.enable_mem_pattern = False
        options.enable_cpu_mem_arena = False
        try:
            return onnxruntime.InferenceSession(str(self._path), options, providers=["CPUExecutionProvider"])
        except Exception as error:  # as above
            raise EngineError(f"ONNX Runtime cannot load {self._path}: {one_line(error)}") from error
