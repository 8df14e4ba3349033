"""The material of a GPU run: a model with random weights, captions, and JPEGs."""

from __future__ import annotations

import shutil
from dataclasses import dataclass
from pathlib import Path

from benchmarks import material
from clip_installer.models.build import RANDOM, build_model

ARCHITECTURE = "ViT-B-32-quickgelu"


@dataclass(frozen=True)
class Scale:
    """How much work.

    Attributes:
        batches: Rows of an engine run, each tried.
        batch: Rows of an engine run if the size is not being measured.
        repetitions: Runs whose median counts.
        compared: Rows whose vectors are compared with the CPU's.
        captions: Captions that a worker is sent in one block.
        pictures: JPEG files that a worker is sent in one block, and that decoders decode.
        distinct_pictures: Different JPEG files among them.
        processes: Numbers of workers that share the GPU.
    """

    batches: tuple[int, ...] = (32, 64, 128, 256, 512, 1024)
    batch: int = 256
    repetitions: int = 8
    compared: int = 64
    captions: int = 40_000
    pictures: int = 4096
    distinct_pictures: int = 256
    processes: tuple[int, ...] = (1, 2, 6)


FULL = Scale()
QUICK = Scale((2, 4), 4, 1, 4, 64, 16, 2, (1,))


def random_bundle(folder: Path, architecture: str = ARCHITECTURE) -> Path:
    """A bundle of ``architecture`` for the torch engine, with random weights; one that is there is kept."""
    import torch

    output = folder / (Path(architecture).stem + "-torch")
    if not (output / "manifest.json").exists():
        shutil.rmtree(output, ignore_errors=True)
        torch.manual_seed(11)
        build_model(architecture, RANDOM, output, engine="torch")
    return output


def pictures(folder: Path, scale: Scale) -> list[Path]:
    """``scale.pictures`` paths of JPEGs of photo sizes; each file several times."""
    files = material.pictures(folder, scale.distinct_pictures)
    return [files[number % len(files)] for number in range(scale.pictures)]


def device_name(device: str) -> str:
    """What PyTorch calls the device."""
    import torch

    return torch.cuda.get_device_name(device) if device.startswith("cuda") else "CPU (a dry run)"
