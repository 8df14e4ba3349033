"""ONNX Runtime on the CPU: the default engine."""

from __future__ import annotations

from typing import Any

import numpy as np
import onnxruntime
from numpy.typing import NDArray

from clip_udfs.bundle import Bundle
from clip_udfs.encoders.packing import TOKENS, pack
from clip_udfs.errors import EngineError, one_line
from clip_udfs.functions import Tower
from clip_udfs.prepared import graph_files

INPUT = TOKENS
OUTPUT = "clip_vector"


class OnnxEncoder:
    """A tower as an ONNX graph; its external weights are mapped from the file, not copied."""

    def __init__(self, bundle: Bundle, tower: Tower, threads: int) -> None:
        """Load the tower's graph with ``threads`` engine threads (0: as many as cores).

        Raises:
            BundleError: The bundle has no such graph.
            EngineError: ONNX Runtime refuses it.
        """
        path, prepared, _ = graph_files(bundle, tower)
        options = onnxruntime.SessionOptions()
        if prepared:
            options.graph_optimization_level = onnxruntime.GraphOptimizationLevel.ORT_DISABLE_ALL  # it is done
        options.intra_op_num_threads = threads
        options.inter_op_num_threads = 1
        options.log_severity_level = 3
        # An idle worker must not keep a core busy waiting for work.
        options.add_session_config_entry("session.intra_op.allow_spinning", "0")
        # A plan of the memory for each shape of a batch would be kept for ever, and batches here have many shapes;
        # without it, the arena takes no more than the largest batch needs.
        options.enable_mem_pattern = False
        try:
            self._session = onnxruntime.InferenceSession(str(path), options, providers=["CPUExecutionProvider"])
        except Exception as error:  # the runtime's exceptions share no base class
            raise EngineError(f"ONNX Runtime cannot load {path}: {one_line(error)}") from error
        self._end_id = bundle.manifest.text.end_id
        self._packed = len(self._session.get_inputs()) > 1

    def encode(self, batch: NDArray[Any]) -> NDArray[np.float32]:
        """See :class:`clip_udfs.encoders.Encoder`."""
        try:
            (vectors,) = self._session.run([OUTPUT], pack(batch, self._end_id) if self._packed else {INPUT: batch})
        except Exception as error:  # as above
            raise EngineError(f"ONNX Runtime failed on a batch of {len(batch)}: {one_line(error)}") from error
        return vectors  # type: ignore[no-any-return]
