"""Whole workers as ClickHouse starts them, driven over their pipes with binary blocks."""

from __future__ import annotations

import os
import subprocess
import sys
import threading
import time
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from io import BytesIO
from pathlib import Path

from PIL import Image

from benchmarks import material
from benchmarks.gpu.figure import Figure
from benchmarks.gpu.model import Scale
from benchmarks.worker.worker_pipe import ask
from clip_udfs.bundle import Bundle
from clip_udfs.settings import WorkerSettings

_TEXT_BATCH, _IMAGE_BATCH = 256, 64
_WARM = 64
_PIXELS = "encode_image_bytes"


def whole(bundle: Path, pictures: Sequence[Path], device: str, scale: Scale) -> Iterator[Figure]:
    """One worker of each kind: captions, JPEG files by path, and images that need no decoding."""
    for work, function, values in _works(bundle, pictures, scale):
        yield _measured(work, function, values, bundle, device, 1)


def together(bundle: Path, pictures: Sequence[Path], device: str, scale: Scale) -> Iterator[Figure]:
    """Several workers at once on one GPU, each with its own share of the rows."""
    for work, function, values in _works(bundle, pictures, scale):
        if function != "encode_image":
            for processes in scale.processes[1:]:
                yield _measured(work, function, values, bundle, device, processes)


def _works(bundle: Path, pictures: Sequence[Path], scale: Scale) -> Iterator[tuple[str, str, list[bytes]]]:
    yield "captions", "encode_text", [text.encode() for text in material.captions(scale.captions)]
    yield "JPEG files", "encode_image", [os.fsencode(path) for path in pictures]
    yield "decoded pixels", _PIXELS, _bitmaps(bundle, scale)


def _bitmaps(bundle: Path, scale: Scale) -> list[bytes]:
    """Uncompressed images of the model's input size: decoding only copies them."""
    size = Bundle.open(bundle).manifest.image.size
    distinct = []
    for number in range(min(scale.pictures, 64)):
        content = BytesIO()
        Image.effect_noise((size[1], size[0]), 20 + number).convert("RGB").save(content, "BMP")
        distinct.append(content.getvalue())
    return [distinct[number % len(distinct)] for number in range(scale.pictures)]


def _measured(work: str, function: str, values: Sequence[bytes], bundle: Path, device: str, count: int) -> Figure:
    with ExitStack() as stack:
        free = _free(device)
        started = [stack.enter_context(worker(bundle, function, values, device)) for _ in range(count)]
        start = time.perf_counter()
        for one in started:  # the first block loads the model
            ask(one, values[:_WARM])
        loading = time.perf_counter() - start
        notes = {"to the first vectors": f"{loading:.1f} s"}
        if free is not None:
            notes["GPU memory of each worker"] = f"{(free - (_free(device) or 0)) / count / 2**20:.0f} MiB"
        share = len(values) // count
        threads = [
            threading.Thread(target=ask, args=(one, values[number * share : (number + 1) * share]))
            for number, one in enumerate(started)
        ]
        start = time.perf_counter()
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        reached = share * count / (time.perf_counter() - start)
    return Figure(f"worker, {work}", f"{count} worker{'s' * (count > 1)}", reached, notes)


@contextmanager
def worker(bundle: Path, function: str, values: Sequence[bytes], device: str) -> Iterator[subprocess.Popen[bytes]]:
    """A worker of ``function`` with the torch engine on ``device``."""
    roots = (Path(os.fsdecode(values[0])).parent,) if function == "encode_image" else ()
    settings = WorkerSettings(
        bundle,
        engine="torch",
        device=device,
        image_roots=roots,
        text_batch=_TEXT_BATCH,
        image_batch=_IMAGE_BATCH,
        decode_threads=os.cpu_count() or 1,
        text_cache=0,
    )
    file = bundle.parent / f"{function}.json"
    file.write_text(settings.to_json(), encoding="utf-8")
    command = [sys.executable, "-m", "clip_udfs", function, "--settings", str(file)]
    process = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE)
    try:
        yield process
    finally:
        process.communicate()


def _free(device: str) -> int | None:
    """Bytes of free GPU memory; None without a GPU."""
    if not device.startswith("cuda"):
        return None
    import torch

    return int(torch.cuda.mem_get_info(device)[0])
