"""The torch engine in half precision, as it runs on a GPU, here with PyTorch's autocast for CPUs."""

from __future__ import annotations

import getpass
import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from click.testing import CliRunner

from clip_installer.cli import program
from clip_udfs.bundle import Bundle
from clip_udfs.encoders.torch import TorchEncoder
from clip_udfs.errors import EngineError
from clip_udfs.functions import Tower
from clip_udfs.manifest import TOKENIZER
from clip_udfs.text.tokenizer import Tokenizer


def test_a_device_that_is_not_there_is_named(tiny_bundle: Path) -> None:
    with pytest.raises(EngineError, match="cuda:7"):
        TorchEncoder(Bundle.open(tiny_bundle), "text", "cuda:7", 1)


def test_a_model_is_loaded_without_random_values_first(tiny_bundle: Path) -> None:
    from torch.overrides import TorchFunctionMode

    called = set()

    class Recorder(TorchFunctionMode):
        def __torch_function__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
            called.add(getattr(func, "__name__", ""))
            return func(*args, **(kwargs or {}))

    with Recorder():
        TorchEncoder(Bundle.open(tiny_bundle), "image", "cpu", 1)
    assert "copy_" in called
    assert not [name for name in called if name.endswith(("normal_", "uniform_"))]


@pytest.mark.parametrize("tower", ["text", "image"])
def test_half_precision_gives_nearly_the_same_vectors(
    tiny_bundle: Path, tower: Tower, monkeypatch: pytest.MonkeyPatch
) -> None:
    import torch

    bundle = Bundle.open(tiny_bundle)
    encoder = TorchEncoder(bundle, tower, "cpu", 1)
    if tower == "text":
        tokenizer = Tokenizer(bundle.file(TOKENIZER), bundle.manifest.text)
        batch = tokenizer.pad(tokenizer(["a photo of a cat", "", "a photo of a dog", "word " * 90]))
    else:
        batch = np.random.default_rng(1).integers(0, 255, (3, *bundle.manifest.image.size, 3), dtype=np.uint8)
    exact = encoder.encode(batch)
    products: list[torch.dtype] = []
    linear = torch.nn.functional.linear

    def noted(*arguments: torch.Tensor) -> torch.Tensor:
        products.append((found := linear(*arguments)).dtype)
        return found

    monkeypatch.setattr(torch.nn.functional, "linear", noted)
    monkeypatch.setattr(encoder, "_half", True)
    half = encoder.encode(batch)
    assert set(products) == {torch.float16}
    assert half.dtype == np.float32
    cosine = (exact * half).sum(axis=1) / np.linalg.norm(exact, axis=1) / np.linalg.norm(half, axis=1)
    assert cosine.min() > 0.9999
    assert not np.array_equal(exact, half)


@pytest.mark.parametrize(
    ("options", "batches"),
    [
        (("--engine", "torch"), (256, 64, 3)),
        (("--engine", "torch", "--device", "cuda:1"), (256, 64, 3)),
        (("--engine", "torch", "--device", "cpu"), (32, 8, 2)),
        ((), (12, 2, 2)),
    ],
)
def test_workers_on_a_gpu_take_more_rows_at_a_time(
    tiny_bundle: Path, tmp_path: Path, options: tuple[str, ...], batches: tuple[int, ...]
) -> None:
    (tmp_path / "config.xml").write_text("<clickhouse><path>/var/lib/clickhouse/</path></clickhouse>")
    place = ["--server-config", str(tmp_path), "--user", getpass.getuser()]
    command = ["install", *place, "--model", str(tiny_bundle), "--no-ddl", "--threads", "3"]
    plan = json.loads(CliRunner().invoke(program, [*command, *options, "--dry-run", "--json"]).stdout)
    (settings,) = (json.loads(file["content"]) for file in plan["files"] if file["path"].endswith("/worker.json"))
    assert (settings["text_batch"], settings["image_batch"], settings["decode_threads"]) == batches
