"""Memory, planned before it is used: of the workers, and of the vector indexes."""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import dataclass

from clip_installer.tables.schema import SchemaParameters
from clip_udfs.functions import FUNCTIONS, Tower
from clip_udfs.manifest import Manifest
from clip_udfs.settings import WorkerSettings

MIB = 1 << 20
# Interpreter, libraries and the decoders of images; and, for each engine thread, the buffers of one mini-batch.
# Measured with ViT-B-32 after a block of many batches, its weights mapped from graphs prepared for the machine: private
# memory of 56, 67, 90 and 135 MiB for text with 1, 2, 4 and 8 threads, of 57, 76 to 106, 82 and 124 MiB for images.
_WORKER: dict[Tower, int] = {"text": 55 * MIB, "image": 85 * MIB}
_THREAD = 12 * MIB
# A worker of a function that needs no model, after images of many formats.
_WITHOUT_MODEL = 40 * MIB
VECTOR_COLUMNS = 2


@dataclass(frozen=True)
class WorkerMemory:
    """Memory of the workers of one model, in bytes.

    Attributes:
        weights: Weights of each tower.
        worker: One process of each tower without its weights.
        shared: Whether all processes of a tower share its weights; otherwise each has its own.
        without_model: All pools of the functions that need no model.
        total: All workers of all functions, reached only if every function is called in parallel.
    """

    weights: dict[Tower, int]
    worker: dict[Tower, int]
    shared: bool
    without_model: int
    total: int


@dataclass(frozen=True)
class IndexMemory:
    """Memory of the vector indexes, in bytes.

    Attributes:
        rows: Rows of the table.
        vectors: The quantised vectors of one index.
        graph: The neighbour lists of one index.
        total: Both indexes, for images and for captions.
        table: The two vector columns on disk.
    """

    rows: int
    vectors: int
    graph: int
    total: int
    table: int


@dataclass(frozen=True)
class DecodingMemory:
    """Memory for decoding images in processes beside the workers, in bytes.

    Attributes:
        image: One image at the limit, beyond which it is refused.
        worker: All images that one worker decodes at once.
        total: The same for all workers of all functions that take images.
    """

    image: int
    worker: int
    total: int


@dataclass(frozen=True)
class PlannedMemory:
    """All memory that an installation may use.

    Attributes:
        workers: The workers.
        decoding: Decoding of images at their limit.
        index: The vector indexes; None without a schema.
    """

    workers: WorkerMemory
    decoding: DecodingMemory
    index: IndexMemory | None


def worker_memory(
    manifest: Manifest, pool_size: int | Mapping[str, int], engine: str, *, threads: int = 1, shared: bool = True
) -> WorkerMemory:
    """Memory of a model's workers with ``threads`` engine threads each, from the size of its weights.

    ``pool_size`` is the number of workers of each function, or a mapping by function name.
    A process starts when the first query needs it, and loads only the tower of its own function.
    """
    weights: dict[Tower, int] = {tower: _weights(manifest, tower, engine) for tower in ("text", "image")}
    sizes = {name: pool_size if isinstance(pool_size, int) else pool_size[name] for name in FUNCTIONS}
    processes: dict[Tower, int] = {
        tower: sum(sizes[name] for name, function in FUNCTIONS.items() if function.tower == tower) for tower in weights
    }
    worker = without_weights(threads)
    total = sum(
        processes[tower] * worker[tower] + (1 if shared else processes[tower]) * weights[tower] for tower in weights
    )
    without_model = _WITHOUT_MODEL * sum(size for name, size in sizes.items() if FUNCTIONS[name].tower is None)
    return WorkerMemory(weights, worker, shared, without_model, total + without_model)


def without_weights(threads: int = 1) -> dict[Tower, int]:
    """Bytes of one worker of each tower, without its weights, with ``threads`` engine threads (0: as many as cores)."""
    own = _THREAD * (threads or os.cpu_count() or 1)
    return {tower: base + own for tower, base in _WORKER.items()}


def decoding_memory(
    settings: WorkerSettings, pool_sizes: Mapping[str, int], own: Mapping[str, WorkerSettings] | None = None
) -> DecodingMemory:
    """The most memory that decoding may take, which hostile images reach and photographs do not.

    Args:
        settings: Settings of the workers.
        pool_sizes: Workers of each function, by the function's name.
        own: Settings of the functions that have their own.
    """
    by_function = {name: (own or {}).get(name, settings) for name, one in FUNCTIONS.items() if one.source != "text"}
    at_once = {name: one.decode_threads * one.max_image_memory for name, one in by_function.items()}
    return DecodingMemory(
        image=max(one.max_image_memory for one in by_function.values()),
        worker=max(at_once.values()),
        total=sum(pool_sizes[name] * size for name, size in at_once.items()),
    )


def index_memory(parameters: SchemaParameters, rows: int) -> IndexMemory:
    """Memory of both vector indexes over ``rows`` rows.

    Each takes rows x dimension x bytes for the vectors and rows x M x 2 x 4 for the graph (ClickHouse's
    manual).
    """
    vectors = int(rows * parameters.indexed_vector_bytes)
    graph = rows * parameters.neighbours_bytes
    return IndexMemory(
        rows=rows,
        vectors=vectors,
        graph=graph,
        total=VECTOR_COLUMNS * (vectors + graph),
        table=VECTOR_COLUMNS * rows * parameters.dimension * 4,
    )


def spoken(size: int) -> str:
    """A number of bytes for a person, e.g. ``268 MiB``."""
    amount = float(size)
    for unit in ("B", "KiB", "MiB", "GiB"):
        if amount < 1024:
            return f"{amount:.0f} {unit}" if unit == "B" or amount >= 10 else f"{amount:.1f} {unit}"
        amount /= 1024
    return f"{amount:.1f} TiB"


def _weights(manifest: Manifest, tower: Tower, engine: str) -> int:
    prefix = "torch/" if engine == "torch" else f"{tower}."
    return sum(record.bytes for name, record in manifest.files.items() if name.startswith(prefix))
