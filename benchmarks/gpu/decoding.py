"""JPEG files to pixels of the model's size: by threads, by processes, and by nvJPEG through torchvision."""

from __future__ import annotations

import os
from collections import deque
from collections.abc import Iterator, Sequence
from concurrent.futures import Executor, ProcessPoolExecutor, ThreadPoolExecutor
from functools import partial
from multiprocessing import get_context
from pathlib import Path

from benchmarks.gpu.figure import Figure, rate
from clip_udfs.bundle import Bundle
from clip_udfs.images.preprocessing import decode
from clip_udfs.manifest import ImageManifest
from clip_udfs.settings import WorkerSettings

_NVJPEG_BATCH = 64


def decoders(bundle: Path, pictures: Sequence[Path], device: str) -> Iterator[Figure]:
    """Files per second of each method; Pillow's pixels are exact, nvJPEG's are not open_clip's."""
    image = Bundle.open(bundle).manifest.image
    for number in sorted({1, (os.cpu_count() or 1) // 2 or 1, os.cpu_count() or 1}):
        for name, pool in (("threads", _threads), ("processes", _processes)):
            yield _with_pool(pictures, image, f"Pillow, {number} {name}", pool(number))
    if device.startswith("cuda"):
        yield _nvjpeg(pictures, image, device)


def _with_pool(pictures: Sequence[Path], image: ImageManifest, way: str, pool: Executor) -> Figure:
    with pool:
        each = pool.map if isinstance(pool, ThreadPoolExecutor) else partial(pool.map, chunksize=16)

        def work() -> None:
            deque(each(partial(_size, image), pictures), maxlen=0)

        return Figure("JPEG to pixels", way, rate(work, len(pictures), 1))


def _threads(number: int) -> Executor:
    return ThreadPoolExecutor(number)


def _processes(number: int) -> Executor:
    return ProcessPoolExecutor(number, get_context("forkserver"))


def _size(image: ImageManifest, path: Path) -> int:
    """Decode one file; only a number leaves the process, because shared memory would carry the pixels."""
    return decode(path.read_bytes(), image, WorkerSettings(Path()).max_image_pixels).nbytes


def _nvjpeg(pictures: Sequence[Path], image: ImageManifest, device: str) -> Figure:
    import torch
    from torchvision.io import decode_jpeg
    from torchvision.transforms.functional import resize

    def work() -> None:
        for first in range(0, len(pictures), _NVJPEG_BATCH):
            contents = [
                torch.frombuffer(bytearray(path.read_bytes()), dtype=torch.uint8)
                for path in pictures[first : first + _NVJPEG_BATCH]
            ]
            for pixels in decode_jpeg(contents, device=device):
                resize(pixels, list(image.size), antialias=True)
        torch.cuda.synchronize(device)

    return Figure("JPEG to pixels", "nvJPEG and resize on the GPU", rate(work, len(pictures), 1))
