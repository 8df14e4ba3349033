"""Memory that the plan states, against numbers worked out by hand."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

from clip_installer.planning.sizing import MIB, decoding_memory, index_memory, spoken, worker_memory
from clip_installer.tables.schema import SchemaParameters
from clip_udfs.functions import FUNCTIONS
from clip_udfs.manifest import FileRecord
from clip_udfs.settings import WorkerSettings
from tests.server_trees import make_bundle


@pytest.mark.parametrize(
    ("quantization", "vectors"),
    [("f64", 4096), ("f32", 2048), ("bf16", 1024), ("f16", 1024), ("i8", 512), ("b1", 64)],
)
def test_vector_index(quantization: str, vectors: int) -> None:
    index = index_memory(SchemaParameters(dimension=512, quantization=quantization, m=32), rows=1000)
    assert index.vectors == 1000 * vectors
    assert index.graph == 1000 * 256
    assert index.total == 2 * (index.vectors + index.graph)
    assert index.table == 1000 * 2 * 2048


def test_workers(tmp_path: Path) -> None:
    manifest = make_bundle(tmp_path / "bundle").manifest
    files = {
        "text.onnx": FileRecord(MIB, ""),
        "text.onnx.data": FileRecord(99 * MIB, ""),
        "image.onnx.data": FileRecord(300 * MIB, ""),
        "torch/weights": FileRecord(400 * MIB, ""),
        "tokenizer.json": FileRecord(7 * MIB, ""),
    }
    memory = worker_memory(replace(manifest, files=files), pool_size=2, engine="onnx", shared=True)
    assert memory.weights == {"text": 100 * MIB, "image": 300 * MIB}
    processes = 4 * memory.worker["text"] + 8 * memory.worker["image"] + memory.without_model
    assert memory.without_model == 16 * 40 * MIB, "eight functions need no model"
    assert memory.total == processes + 400 * MIB
    eight = worker_memory(replace(manifest, files=files), pool_size=2, engine="onnx", threads=8)
    assert eight.worker["text"] - memory.worker["text"] == 7 * 12 * MIB, "each has a batch of its own"
    assert eight.total - memory.total == 12 * 7 * 12 * MIB
    alone = worker_memory(replace(manifest, files=files), pool_size=2, engine="onnx", shared=False)
    assert alone.total == processes + 4 * 100 * MIB + 8 * 300 * MIB
    torch = worker_memory(replace(manifest, files=files), pool_size=2, engine="torch", shared=False)
    assert torch.weights == {"text": 400 * MIB, "image": 400 * MIB}


def test_images_at_their_limit() -> None:
    """Each worker decodes as many images as it has decoders."""
    settings = WorkerSettings(Path(), decode_threads=2, max_image_memory=100 * MIB)
    own = {"encode_image": replace(settings, max_image_memory=300 * MIB)}
    functions = [name for name, one in FUNCTIONS.items() if one.source != "text"]
    pools = dict.fromkeys(FUNCTIONS, 3)
    memory = decoding_memory(settings, pools, own)
    assert (memory.image, memory.worker) == (300 * MIB, 600 * MIB)
    assert memory.total == 3 * 2 * (300 + 100 * (len(functions) - 1)) * MIB


@pytest.mark.parametrize(
    ("size", "said"),
    [(0, "0 B"), (1023, "1023 B"), (1536, "1.5 KiB"), (10 * MIB, "10 MiB"), (307_200_000_000, "286 GiB")],
)
def test_sizes_for_a_person(size: int, said: str) -> None:
    assert spoken(size) == said
