"""Engines behind one protocol: a batch of one tower's input to its raw vectors."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol

from clip_udfs.bundle import Bundle
from clip_udfs.encoders.prepared import graph_files, likely_files, merges_file
from clip_udfs.functions import Tower
from clip_udfs.manifest import TORCH_FOLDER, FileRecord
from clip_udfs.settings import WorkerSettings

if TYPE_CHECKING:  # a worker has something to do before it waits for NumPy
    import numpy as np
    from numpy.typing import NDArray


class Encoder(Protocol):
    """One tower of one model, loaded.

    Attributes:
        parallel_batches: How many batches to encode in parallel, each from its own thread, if there are many.
    """

    parallel_batches: int

    def encode(self, batch: NDArray[Any], *, exclusive: bool = True) -> NDArray[np.float32]:
        """Encode a batch.

        Args:
            batch: Text tower: int64 token ids, shape (rows, length). Image tower: uint8 RGB pixels, shape
                (rows, height, width, 3).
            exclusive: Whether this batch may use all of the engine's threads because no other is encoded meanwhile.

        Returns:
            float32, shape (rows, dimension), not normalised.

        Raises:
            EngineError: The engine failed.
        """


def open_encoder(settings: WorkerSettings, bundle: Bundle, tower: Tower) -> Encoder:
    """Load ``tower`` of ``bundle`` with the engine that the settings name; the other engine is not imported.

    Raises:
        BundleError: The bundle lacks the engine's files.
        EngineError: The engine is not installed or cannot load them.
    """
    if settings.engine == "torch":
        from clip_udfs.encoders.torch import TorchEncoder

        return TorchEncoder(bundle, tower, settings.device, settings.threads)
    from clip_udfs.encoders.onnx import OnnxEncoder

    return OnnxEncoder(bundle, tower, settings.threads)


def engine_files(settings: WorkerSettings, bundle: Bundle, tower: Tower) -> dict[Path, FileRecord]:
    """The files that :func:`open_encoder` reads for ``tower``, with their records.

    Raises:
        BundleError: The bundle lacks the engine's files.
    """
    return _torch_files(bundle) if settings.engine == "torch" else graph_files(bundle, tower)[2]


def likely_engine_files(settings: WorkerSettings, bundle: Bundle, tower: Tower) -> dict[Path, FileRecord]:
    """What :func:`engine_files` will return unless the machine has changed, without importing the engine."""
    return _torch_files(bundle) if settings.engine == "torch" else likely_files(bundle, tower)


def tokenizer_files(settings: WorkerSettings, bundle: Bundle) -> dict[Path, FileRecord]:
    """The bundle's tokenizer table prepared for this host, if there is one."""
    return {} if settings.engine == "torch" else merges_file(bundle)


def _torch_files(bundle: Bundle) -> dict[Path, FileRecord]:
    return bundle.records(*(name for name in bundle.manifest.files if name.startswith(f"{TORCH_FOLDER}/")))
