"""Exports of towers, made once for equal towers: most families differ in one tower, and an export takes seconds."""

from __future__ import annotations

import hashlib
import shutil
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Protocol

import pytest
import torch

from tests.conftest import built_once

PLAIN = (int, float, str, bool, tuple, type(None))


class Export(Protocol):
    """What writes a tower as a graph."""

    def __call__(self, module: torch.nn.Module, inputs: Mapping[str, Any], directory: Path, tower: str) -> None:
        """Write ``module`` for ``inputs`` to ``directory`` as ``tower``."""


def exported_once(export: Export, tmp_path_factory: pytest.TempPathFactory) -> Export:
    """``export``, which writes equal towers once for all workers of this run."""

    def kept_or_exported(module: torch.nn.Module, inputs: Mapping[str, Any], directory: Path, tower: str) -> None:
        name = fingerprint(module, inputs, tower)
        kept = built_once(tmp_path_factory, name, lambda place: export(module, inputs, place, tower))
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
