"""The two towers alone: precisions, batch sizes, ``torch.compile``, CUDA graphs; vectors compared with the CPU's."""

from __future__ import annotations

import copy
from collections.abc import Callable, Iterator
from contextlib import contextmanager, nullcontext
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from benchmarks import material
from benchmarks.gpu.figure import Figure, rate
from benchmarks.gpu.model import Scale
from benchmarks.vectors import cosines
from clip_udfs.bundle import Bundle
from clip_udfs.encoders.packing import pack
from clip_udfs.encoders.torch import TorchEncoder
from clip_udfs.functions import Tower
from clip_udfs.manifest import TOKENIZER
from clip_udfs.text.tokenizer import Tokenizer

TOWERS: tuple[Tower, ...] = ("image", "text")
_AUTOCAST = {"fp16 autocast": torch.float16, "bf16 autocast": torch.bfloat16}
_WHOLE = {"fp16": torch.float16, "bf16": torch.bfloat16}
PRECISIONS = ("fp32", "tf32", *_AUTOCAST, *_WHOLE, "fp16 channels-last")


def precisions(bundle: Path, device: str, scale: Scale) -> Iterator[Figure]:
    """Each precision at one batch size, from host arrays to host arrays, as in a worker."""
    for tower in TOWERS:
        for precision in PRECISIONS:
            run = _Run(bundle, tower, device, precision)
            inputs = run.batch(scale.batch)
            notes = {"cosine": f"{run.cosine(scale.compared):.6f}"}
            reached = rate(lambda run=run, inputs=inputs: run(inputs), scale.batch, scale.repetitions)
            yield Figure(f"{tower} tower", f"{precision}, batches of {scale.batch}", reached, notes)


def batches(bundle: Path, device: str, scale: Scale) -> Iterator[Figure]:
    """Each batch size in half precision, with the GPU memory that it takes."""
    for tower in TOWERS:
        run = _Run(bundle, tower, device, "fp16")
        for rows in scale.batches:
            inputs = run.batch(rows)
            _forget_peak(device)
            reached = rate(lambda run=run, inputs=inputs: run(inputs), rows, scale.repetitions)
            yield Figure(f"{tower} tower", f"fp16, batches of {rows}", reached, _peak(device))


def compiled(bundle: Path, device: str, scale: Scale) -> Iterator[Figure]:
    """``torch.compile`` of the module, in half precision."""
    if not device.startswith("cuda"):
        return
    for tower in TOWERS:
        run = _Run(bundle, tower, device, "fp16")
        run.module = torch.compile(run.module)
        inputs = run.batch(scale.batch)
        reached = rate(lambda run=run, inputs=inputs: run(inputs), scale.batch, scale.repetitions)
        yield Figure(f"{tower} tower", f"fp16, torch.compile, batches of {scale.batch}", reached)


def graphs(bundle: Path, device: str, scale: Scale) -> Iterator[Figure]:
    """The image tower replayed as a CUDA graph, which could help small batches."""
    if not device.startswith("cuda"):
        return
    run = _Run(bundle, "image", device, "fp16")
    for rows in scale.batches[:4]:
        (host,) = run.batch(rows)
        held = host.to(device)
        with torch.inference_mode():
            for _ in range(3):
                run.module(held)
            graph = torch.cuda.CUDAGraph()
            with torch.cuda.graph(graph):
                vectors = run.module(held)

        def replay(held: Any = held, host: Any = host, graph: Any = graph, vectors: Any = vectors) -> None:
            held.copy_(host.pin_memory(), non_blocking=True)
            graph.replay()
            vectors.float().cpu()

        yield Figure("image tower", f"fp16, CUDA graph, batches of {rows}", rate(replay, rows, scale.repetitions))


class _Run:
    """A tower on a device in one precision; calling it encodes a batch and brings the vectors back."""

    def __init__(self, bundle: Path, tower: Tower, device: str, precision: str) -> None:
        self._bundle = Bundle.open(bundle)
        self._tower = tower
        self._path = bundle
        self._device = device
        self._precision = precision
        encoder = _on_cpu(bundle, tower)
        self._packed = encoder._packed
        module = copy.deepcopy(encoder._module).to(device)
        whole = _WHOLE.get(precision.removesuffix(" channels-last"))
        if whole is not None:
            module.to(whole)
        if precision.endswith("channels-last"):
            module.to(memory_format=torch.channels_last)
        self.module: Callable[..., torch.Tensor] = module

    def __call__(self, inputs: tuple[torch.Tensor, ...]) -> NDArray[np.float32]:
        with torch.inference_mode(), self._autocast(), _tf32(self._precision == "tf32"):
            return self.module(*map(self._moved, inputs)).float().cpu().numpy()  # type: ignore[no-any-return]

    def batch(self, rows: int) -> tuple[torch.Tensor, ...]:
        """Inputs of ``rows`` rows on the host."""
        arrays = rows_of(self._bundle, self._tower, rows)
        inputs = pack(arrays, self._bundle.manifest.text.end_id).values() if self._packed else (arrays,)
        return tuple(torch.from_numpy(one) for one in inputs)

    def cosine(self, rows: int) -> float:
        """The smallest cosine of ``rows`` vectors with the CPU's in float32."""
        exact = _exact(self._path, self._tower, rows)
        found = self(self.batch(rows))
        return float(cosines(exact, found).min())

    def _autocast(self) -> Any:
        half = _AUTOCAST.get(self._precision)
        return nullcontext() if half is None else torch.autocast(self._device.split(":")[0], half)

    def _moved(self, tensor: torch.Tensor) -> torch.Tensor:
        if not self._device.startswith("cuda"):
            return tensor.to(self._device)
        return tensor.pin_memory().to(self._device, non_blocking=True)


@cache
def _exact(bundle: Path, tower: Tower, rows: int) -> NDArray[np.float32]:
    """The vectors that the CPU gives in float32."""
    return _on_cpu(bundle, tower).encode(rows_of(Bundle.open(bundle), tower, rows))


@cache
def _on_cpu(bundle: Path, tower: Tower) -> TorchEncoder:
    """The tower in float32, read once for all runs, which copy it."""
    return TorchEncoder(Bundle.open(bundle), tower, "cpu", 0)


def rows_of(bundle: Bundle, tower: Tower, rows: int) -> NDArray[Any]:
    """What a worker would give the engine: token ids of captions, or pixels."""
    if tower == "image":
        return np.random.default_rng(rows).integers(0, 255, (rows, *bundle.manifest.image.size, 3), dtype=np.uint8)
    tokenizer = Tokenizer(bundle.file(TOKENIZER), bundle.manifest.text)
    return tokenizer.pad(tokenizer(material.captions(rows, seed=rows)))


@contextmanager
def _tf32(wanted: bool) -> Iterator[None]:
    before = torch.get_float32_matmul_precision()
    torch.set_float32_matmul_precision("high" if wanted else "highest")
    try:
        yield
    finally:
        torch.set_float32_matmul_precision(before)


def _forget_peak(device: str) -> None:
    if device.startswith("cuda"):
        torch.cuda.reset_peak_memory_stats(device)


def _peak(device: str) -> dict[str, str]:
    if not device.startswith("cuda"):
        return {}
    return {"GPU memory": f"{torch.cuda.max_memory_allocated(device) / 2**20:.0f} MiB"}
