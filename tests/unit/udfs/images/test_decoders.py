"""The processes that decode images: the limits of one image, and what happens to the worker beyond them."""

from __future__ import annotations

import json
import signal
import subprocess
import sys
import time
import zlib
from dataclasses import replace
from pathlib import Path

import psutil
import pytest
from PIL import Image

from clip_udfs.errors import BlockOverrun
from clip_udfs.images.budget import BlockBudget
from clip_udfs.settings import IMAGE_FORMATS, WorkerSettings
from tests.broken_pictures import encoded, odd_but_whole, png, refused
from tests.processes import children, has_ended
from tests.row_binary_blocks import texts, vectors

# Runs in a process of its own, as a pool is forked from a process without threads. Each content is a Python expression.
PROGRAM = """
import json, os, sys
from clip_udfs.images.decoder_pool import DecoderPool
from clip_udfs.images.decoder_process import Limits
from clip_udfs.errors import ClipUdfError, ValueRefused

def refuse(text):
    raise ValueRefused(text)

def work(content, argument):
    return str(eval(content, globals() | {"argument": argument})).encode()

pool = DecoderPool.start(lambda: work, 2, 1 << 20, Limits(1, 256 << 20))
answers = []
for line in sys.stdin:
    try:
        answers.append(pool.run(line.encode(), 7).decode())
    except ClipUdfError as error:
        answers.append(f"{type(error).__name__}: {error}")
pool.close()
print(json.dumps(answers))
"""


def answers(*expressions: str, start: str = "") -> list[str]:
    done = subprocess.run(
        [sys.executable, "-c", start + PROGRAM],
        input="\n".join(expressions),
        capture_output=True,
        text=True,
        check=True,
    )
    found: list[str] = json.loads(done.stdout)
    return found


def test_a_result_or_a_refusal_comes_back() -> None:
    assert answers("argument * 6", "refuse('too blue')", "'x' * (1 << 20)") == [
        "42",
        "ValueRefused: too blue",
        "x" * (1 << 20),
    ]


def test_decoders_collect_garbage_although_a_worker_that_starts_does_not() -> None:
    assert answers("__import__('gc').isenabled()", start="import gc; gc.disable()") == ["True"]


def test_what_takes_too_long_is_refused_and_the_next_is_answered() -> None:
    """In Python, with the interpreter's lock, and in C."""
    too_long = "ValueRefused: the image takes more than 1 seconds to decode"
    assert answers("[1 for _ in iter(int, 1)]", "1", "sum(range(10**11))", "2") == [too_long, "1", too_long, "2"]


def test_what_takes_too_much_memory_is_refused_and_the_next_is_answered() -> None:
    too_large = "ValueRefused: the image takes more than 256 MiB of memory to decode"
    assert answers("len(bytes(1 << 30))", "1", "len(bytes(200 << 20))") == [too_large, "1", str(200 << 20)]


def test_what_crashes_its_decoder_is_refused_and_the_next_is_answered() -> None:
    crash = "ValueRefused: damaged image: it crashes its decoder"
    assert answers(f"os.kill(os.getpid(), {int(signal.SIGSEGV)})", "1") == [crash, "1"]


def test_a_decoder_that_somebody_else_ends_is_not_blamed_on_the_image() -> None:
    killed, after = answers("os.kill(os.getpid(), 9)", "1")
    assert killed.startswith("DecoderError: the process that decodes images was ended (SIGKILL)")
    assert after == "1"


def test_a_decoder_can_open_no_file() -> None:
    (answer,) = answers("open('/etc/hostname')")
    assert answer.startswith("DecoderError: internal error while decoding: OSError: [Errno 24]")


def test_a_block_may_take_a_reserve_and_a_share_for_each_image() -> None:
    budget = BlockBudget(10)
    for _ in range(100):
        budget.charge(1)
    with pytest.raises(BlockOverrun, match=r"^120 images of this block took 120 s .* 60 s and 0.5 s for each"):
        for _ in range(100):
            budget.charge(1.0001)
    budget.restart()
    budget.charge(60)


@pytest.fixture
def settings(tiny_bundle: Path, tmp_path: Path) -> WorkerSettings:
    return WorkerSettings(tiny_bundle, image_roots=(tmp_path,), image_formats=IMAGE_FORMATS, max_image_seconds=1)


def served(settings: WorkerSettings, function: str, contents: list[bytes]) -> subprocess.CompletedProcess[bytes]:
    path = settings.image_roots[0] / "worker.json"
    path.write_text(settings.to_json())
    return subprocess.run(
        [sys.executable, "-I", "-m", "clip_udfs", function, "--settings", str(path)],
        input=texts(*contents),
        capture_output=True,
        env={},
        cwd="/",
        check=False,
    )


def lengths(output: bytes) -> list[int]:
    return [len(vector) for vector in vectors(output)]


def chunks_without_end() -> bytes:
    """A PNG of a million empty chunks, each of which costs Python some microseconds."""
    empty = b"\0\0\0\0teST" + zlib.crc32(b"teST").to_bytes(4, "big")
    whole = png(8, 8)
    return whole[:33] + empty * 1_000_000 + whole[33:]


HOSTILE = {
    "chunks.png": chunks_without_end,
    "comment.gif": lambda: b"GIF89a\x08\0\x08\0\0\0\0\x21\xfe" + b"\1x" * 15_000_000 + b"\0;",
    "comments.ppm": lambda: b"P3\n" + b"#\n" * 20_000_000 + b"8 8 255\n",
    "segments.jpg": lambda: b"\xff\xd8" + b"\xff\xfe\0\2" * 15_000_000,
}


@pytest.mark.parametrize("name", HOSTILE)
def test_a_file_that_takes_python_too_long_is_refused_in_time(settings: WorkerSettings, name: str) -> None:
    done = served(settings, "encode_image_bytes", [HOSTILE[name]()])
    assert done.returncode == 1
    assert done.stderr.decode().endswith(": the image takes more than 1 seconds to decode\n")


def test_a_try_function_returns_nothing_for_it_and_the_others_as_usual(settings: WorkerSettings) -> None:
    done = served(settings, "try_encode_image_bytes", [png(8, 8), chunks_without_end(), png(8, 8)])
    assert (done.returncode, done.stderr) == (0, b"")
    assert lengths(done.stdout) == [512, 0, 512]


def test_a_block_of_slow_images_ends_with_a_line_that_says_so(settings: WorkerSettings) -> None:
    """An image may be refused with [], but not the block: good images would silently be lost."""
    done = served(settings, "try_encode_image_bytes", [chunks_without_end()] * 12)
    assert done.returncode == 1
    assert b"try_encode_image_bytes: row " in done.stderr
    assert b"images of this block took" in done.stderr


def test_memory_of_an_image_is_bounded_whatever_its_header_says(settings: WorkerSettings) -> None:
    small = replace(settings, max_image_memory=64 << 20, max_image_seconds=10)
    done = served(small, "encode_image_bytes", [png(9000, 9000)])
    assert done.stderr.decode().endswith(": the image takes more than 64 MiB of memory to decode\n")


def test_decoders_answer_all_odd_images_as_the_functions_themselves_do(settings: WorkerSettings) -> None:
    """A decoder can open no file, so whatever Pillow imports or opens late would be missing."""
    files = {name: content for name, content in odd_but_whole().items() if len(content) < 4 << 20}
    bad = {name: content for name, (content, _) in refused().items()}
    done = served(
        replace(settings, max_image_pixels=1 << 20), "try_encode_image_bytes", [*files.values(), *bad.values()]
    )
    assert (done.returncode, done.stderr) == (0, b"")
    assert lengths(done.stdout) == [512] * len(files) + [0] * len(bad)


@pytest.mark.parametrize("kill", [False, True], ids=["nobody reads", "SIGKILL"])
def test_no_decoder_outlives_its_worker(settings: WorkerSettings, kill: bool) -> None:
    path = settings.image_roots[0] / "worker.json"
    path.write_text(replace(settings, max_image_seconds=60).to_json())
    worker = subprocess.Popen(
        [sys.executable, "-I", "-m", "clip_udfs", "encode_image_bytes", "--settings", str(path)],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
    )
    assert worker.stdin is not None
    slow = chunks_without_end()
    worker.stdin.write(texts(slow))
    worker.stdin.close()
    processes: list[psutil.Process] = []
    while len(processes) < 2:  # the supervisor and a decoder
        time.sleep(0.05)
        processes = children(worker.pid)
    if kill:
        worker.kill()
    elif worker.stdout is not None:
        worker.stdout.close()
    gone, alive = psutil.wait_procs(processes, timeout=60)
    worker.kill()
    if worker.stdout is not None:
        worker.stdout.close()
    worker.wait()
    assert [one for one in alive if not has_ended(one)] == []
    assert gone or alive


def test_image_info_of_a_photograph_with_a_date_needs_nothing_that_a_decoder_cannot_open(
    settings: WorkerSettings,
) -> None:
    exif = Image.Exif()
    exif[0x0132] = "2024:02:29 23:59:58"
    done = served(settings, "image_info_bytes", [encoded(Image.new("RGB", (40, 30)), "JPEG", exif=exif)])
    assert (done.returncode, done.stderr) == (0, b"")
    assert b"JPEG" in done.stdout
