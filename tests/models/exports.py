"""Exports of towers, made once for equal towers: most families differ in one tower, and an export takes seconds."""

from __future__ import annotations

import fcntl
import hashlib
import shutil
import tempfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Protocol

import torch

PLAIN = (int, float, str, bool, tuple, type(None))


class Export(Protocol):
    """What writes a tower as a graph."""

    def __call__(self, module: torch.nn.Module, inputs: Mapping[str, Any], directory: Path, tower: str) -> None:
        """Write ``module`` for ``inputs`` to ``directory`` as ``tower``."""


def exported_once(export: Export, place: Path) -> Export:
    """``export``, which keeps in ``place`` what it wrote, for every worker of this run."""

    def kept_or_exported(module: torch.nn.Module, inputs: Mapping[str, Any], directory: Path, tower: str) -> None:
        kept = place / fingerprint(module, inputs, tower)
        with kept.with_suffix(".lock").open("w") as lock:
            fcntl.flock(lock, fcntl.LOCK_EX)
            if not kept.exists():
                scratch = Path(tempfile.mkdtemp(dir=place))
                export(module, inputs, scratch, tower)
                scratch.rename(kept)
        shutil.copytree(kept, directory, dirs_exist_ok=True)

    return kept_or_exported


def fingerprint(module: torch.nn.Module, inputs: Mapping[str, Any], tower: str) -> str:
    """A name of all that decides what is exported: the code and options of each layer, weights, and inputs."""
    digest = hashlib.sha256(tower.encode())
    for name, part in module.named_modules():
        kind = type(part)
        options = {key: value for key, value in vars(part).items() if isinstance(value, PLAIN)}
        layer = (name, kind.__module__, kind.__qualname__, part.extra_repr(), sorted(options.items()))
        digest.update(repr(layer).encode())
    for name, tensor in (*module.named_parameters(), *module.named_buffers()):
        digest.update(repr((name, tensor.dtype, tensor.shape)).encode())
        digest.update(tensor.detach().contiguous().numpy().tobytes())
    for name, (example, dimensions) in inputs.items():
        names = [dimension.__name__ for dimension in dimensions]
        digest.update(repr((name, example.dtype, example.shape[len(names) :], names)).encode())
    return digest.hexdigest()
