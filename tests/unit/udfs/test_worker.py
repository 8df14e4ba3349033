"""The process that ClickHouse starts, spoken to over pipes as ClickHouse does."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from dataclasses import replace
from io import BytesIO
from pathlib import Path

import numpy as np
import orjson
import pytest
from PIL import Image

from clip_udfs.functions import FUNCTIONS
from clip_udfs.settings import FORMATS, WorkerSettings
from tests import row_binary_blocks


@pytest.fixture
def settings(tiny_bundle: Path, tmp_path: Path) -> WorkerSettings:
    root = tmp_path / "pictures"
    root.mkdir()
    Image.linear_gradient("L").convert("RGB").save(root / "good.png")
    (root / "text.jpg").write_text("this is no picture")
    (root / "empty.jpg").touch()
    (root / "folder").mkdir()
    content = BytesIO()
    Image.radial_gradient("L").resize((300, 300)).save(content, "JPEG")
    (root / "cut.jpg").write_bytes(content.getvalue()[:2000])
    return WorkerSettings(tiny_bundle, image_roots=(root,), format="TabSeparated")


def run(
    settings: WorkerSettings, function: str, data: bytes, *options: str, file: Path | None = None
) -> subprocess.CompletedProcess[bytes]:
    path = file or settings.image_roots[0].parent / "worker.json"
    if file is None:
        path.write_text(settings.to_json())
    return subprocess.run(
        [sys.executable, "-I", "-m", "clip_udfs", function, "--settings", str(path), *options],
        input=data,
        capture_output=True,
        env={},
        cwd="/",
        check=False,
    )


def vectors(output: bytes) -> list[list[float]]:
    return [orjson.loads(line) for line in output.splitlines()]


def test_blocks_are_answered_row_for_row_and_the_end_of_input_is_a_clean_exit(
    settings: WorkerSettings,
) -> None:
    done = run(settings, "encode_text", "3\ncat\n\\t猫\\n\\\\\n\n0\n2\n\ncat\n".encode())
    assert (done.returncode, done.stderr) == (0, b"")
    rows = np.array(vectors(done.stdout))
    assert rows.shape == (5, 512)
    assert np.linalg.norm(rows, axis=1) == pytest.approx(1, abs=1e-5)
    assert (rows[0] == rows[4]).all()
    assert (rows[2] == rows[3]).all()
    assert not np.allclose(rows[0], rows[1])


def test_row_binary_gives_the_same_bits(settings: WorkerSettings) -> None:
    binary = replace(settings, format=FORMATS[0])
    wanted = np.array(vectors(run(settings, "encode_text", b"2\ncat\ndog\n").stdout), "<f4")
    answered = row_binary_blocks.vectors(run(binary, "encode_text", row_binary_blocks.texts(b"cat", b"dog")).stdout)
    assert np.array(answered, "<f4").tobytes() == wanted.tobytes()
    nullable = row_binary_blocks.vectors(run(binary, "try_encode_text", row_binary_blocks.texts(b"cat", None)).stdout)
    assert nullable == [answered[0], ()]


def test_the_header_of_an_answer_comes_before_anything_can_fail(settings: WorkerSettings) -> None:
    """While ClickHouse reads it, it does not tell why a worker ended; the launcher writes that of the first answer."""
    sent = row_binary_blocks.texts(b"cat") + row_binary_blocks.block(["UInt8"], b"7")
    done = run(replace(settings, format=FORMATS[0]), "encode_text", sent, "--header-written")
    assert done.stdout.count(row_binary_blocks.ANSWER) == 1
    assert done.stdout.endswith(row_binary_blocks.ANSWER)
    assert done.returncode == 1
    assert done.stderr.startswith(b"encode_text: text is of the type 'UInt8'")


def test_a_switch_gives_the_raw_vectors(settings: WorkerSettings) -> None:
    unit = np.array(vectors(run(settings, "encode_text", b"1\ncat\n").stdout)[0])
    raw = np.array(vectors(run(replace(settings, normalize=False), "encode_text", b"1\ncat\n").stdout)[0])
    assert np.linalg.norm(raw) != pytest.approx(1, abs=0.01)
    assert raw / np.linalg.norm(raw) == pytest.approx(unit, abs=1e-6)


BAD_PICTURES = {
    "missing.png": "no such file",
    "text.jpg": "not an image",
    "empty.jpg": "is empty",
    "folder": "is a directory",
    "cut.jpg": "damaged image",
    "../worker.json": "the path contains '..'",
}


@pytest.mark.parametrize("name", BAD_PICTURES)
def test_one_line_names_function_row_value_and_reason(settings: WorkerSettings, name: str) -> None:
    done = run(settings, "encode_image", f"2\ngood.png\n{name}\n".encode())
    lines = done.stderr.decode().splitlines()
    assert done.returncode == 1
    assert len(lines) == 1
    assert lines[0].startswith(f"encode_image: row 2: '{name}': ")
    assert BAD_PICTURES[name] in lines[0]


def test_the_try_functions_answer_an_empty_array_instead(settings: WorkerSettings) -> None:
    names = ["good.png", *BAD_PICTURES, "good.png"]
    done = run(settings, "try_encode_image", f"{len(names) + 1}\n{chr(10).join(names)}\n\\N\n".encode())
    assert (done.returncode, done.stderr) == (0, b"")
    assert [len(row) for row in vectors(done.stdout)] == [512, *[0] * len(BAD_PICTURES), 512, 0]
    null = run(settings, "try_encode_text", b"2\n\\N\ncat\n")
    assert [len(row) for row in vectors(null.stdout)] == [0, 512]


def test_bytes_and_file_give_the_same_bits(settings: WorkerSettings) -> None:
    content = (settings.image_roots[0] / "good.png").read_bytes()
    escaped = content.replace(b"\\", b"\\\\").replace(b"\n", b"\\n").replace(b"\t", b"\\t").replace(b"\0", b"\\0")
    by_path = run(settings, "encode_image", b"1\ngood.png\n")
    assert run(settings, "encode_image_bytes", b"1\n" + escaped + b"\n").stdout == by_path.stdout != b""
    refused = run(settings, "encode_image_bytes", b"1\nabc\n")
    assert refused.stderr.decode().startswith("encode_image_bytes: row 1: 3 bytes: not an image")


def test_limits_are_hit_before_memory_is_spent(settings: WorkerSettings) -> None:
    small = replace(settings, max_image_bytes=100, max_image_pixels=50, max_text_bytes=10)
    assert b"at most 100 are read" in run(small, "encode_image", b"1\ngood.png\n").stderr
    large = replace(settings, max_image_pixels=50)
    assert b"256 x 256 pixels, at most 50" in run(large, "encode_image", b"1\ngood.png\n").stderr
    assert b"row 2: 11 bytes" in run(small, "encode_text", b"2\ncat\nelevenbytes\n").stderr


def test_without_a_block_header_it_refuses_to_guess(settings: WorkerSettings) -> None:
    done = run(settings, "encode_text", b"cat\ndog\n")
    assert (done.returncode, done.stdout) == (1, b"")
    assert b"send_chunk_header" in done.stderr
    assert len(done.stderr.splitlines()) == 1


def test_a_broken_installation_is_one_line(settings: WorkerSettings, tmp_path: Path) -> None:
    cases = {
        "not a model bundle": replace(settings, bundle=tmp_path / "nowhere").to_json(),
        "unknown key 'colour'": json.dumps({"bundle": "/x", "colour": 1}),
        "is not JSON": "{",
        "--image-root": replace(settings, image_roots=()).to_json(),
    }
    for reason, content in cases.items():
        path = tmp_path / "broken.json"
        path.write_text(content)
        done = run(settings, "encode_image", b"1\nx\n", file=path)
        assert (done.returncode, len(done.stderr.splitlines())) == (1, 1), done.stderr
        assert reason in done.stderr.decode()
    missing = run(settings, "encode_text", b"1\nx\n", file=tmp_path / "none.json")
    assert b"cannot read the worker's settings" in missing.stderr


def test_a_bundle_that_is_not_as_it_was_built_is_refused(
    settings: WorkerSettings, tiny_bundle: Path, tmp_path: Path
) -> None:
    import shutil

    copy = Path(shutil.copytree(tiny_bundle, tmp_path / "copy"))
    settings = replace(settings, bundle=copy)

    def refusal(function: str, value: bytes) -> str:
        done = run(settings, function, b"1\n" + value + b"\n")
        assert (done.returncode, done.stdout, len(done.stderr.splitlines())) == (1, b"", 1)
        return done.stderr.decode()

    for name in ("text.onnx", "text.onnx.data", "tokenizer.json"):
        content = (copy / name).read_bytes()
        middle = len(content) // 2
        (copy / name).write_bytes(content[:middle] + bytes([content[middle] ^ 1]) + content[middle + 1 :])
        assert f"{name} was altered: its SHA-256 is not the recorded one" in refusal("encode_text", b"x")
        assert run(settings, "encode_image", b"1\ngood.png\n").returncode == 0
        (copy / name).write_bytes(content)
    weights = copy / "text.onnx.data"
    size = weights.stat().st_size
    os.truncate(weights, size - 10)
    assert f"has {size - 10} bytes, the manifest says {size}: put the file back" in refusal("encode_image", b"good.png")
    weights.write_bytes((tiny_bundle / "text.onnx.data").read_bytes())
    manifest = json.loads((copy / "manifest.json").read_text())
    (copy / "manifest.json").write_text(json.dumps(manifest | {"dimension": 256}))
    for function, value in (("encode_text", b"x"), ("try_encode_image", b"good.png")):
        assert "vectors of 512 numbers, its manifest says 256" in refusal(function, value)
    (copy / "manifest.json").write_text(json.dumps(manifest | {"format_version": 2}))
    assert "upgrade clickhouse-clip-udfs" in refusal("encode_text", b"x")


def test_an_altered_configuration_of_torch_is_refused_as_such(
    settings: WorkerSettings, tiny_bundle: Path, tmp_path: Path
) -> None:
    """Not as the JSON that it no longer is."""
    import shutil

    copy = Path(shutil.copytree(tiny_bundle, tmp_path / "copy"))
    config = copy / "torch" / "open_clip_config.json"
    config.write_bytes(b"x" + config.read_bytes()[1:])
    done = run(replace(settings, bundle=copy, engine="torch", device="cpu"), "encode_text", b"1\nx\n")
    assert (done.returncode, done.stdout, len(done.stderr.splitlines())) == (1, b"", 1)
    assert b"open_clip_config.json was altered: its SHA-256 is not the recorded one" in done.stderr


STRAY = """
import os, sys
sys.argv = ["clip_udfs", "encode_text", "--settings", sys.argv[1]]
import clip_udfs.__main__ as program
real = program.os.dup2
def guarded(*a):
    answer = real(*a)
    if a[1] != 2:
        return answer
    print("stray line of a library"); sys.stdout.flush(); os.write(1, b"stray bytes")
    os.write(2, b"stray too"); os.system("echo stray child")
    return answer
program.os.dup2 = guarded
sys.exit(program.main())
"""


def test_what_a_library_prints_reaches_no_pipe(settings: WorkerSettings, tmp_path: Path) -> None:
    path = tmp_path / "worker.json"
    path.write_text(settings.to_json())
    done = subprocess.run([sys.executable, "-c", STRAY, str(path)], input=b"1\ncat\n", capture_output=True, check=False)
    assert done.returncode == 0
    assert len(vectors(done.stdout)[0]) == 512
    assert done.stderr == b""


SERVING = """
import gc, os, sys
import clip_udfs.worker as worker
sys.argv = ["clip_udfs", "encode_text", "--settings", sys.argv[1]]
worker.serve = lambda *a, **_: os.write(a[3], b"%d %d" % (gc.isenabled(), gc.get_freeze_count() > 10_000))
import clip_udfs.__main__ as program
sys.exit(program.main())
"""


def test_a_worker_collects_garbage_once_it_serves_but_not_what_it_loaded(
    settings: WorkerSettings, tmp_path: Path
) -> None:
    path = tmp_path / "worker.json"
    path.write_text(settings.to_json())
    done = subprocess.run([sys.executable, "-c", SERVING, str(path)], capture_output=True, check=False)
    assert (done.stdout, done.stderr) == (b"1 1", b"")


@pytest.mark.parametrize("arguments", [[], ["no_such_function", "--settings", "x"], ["encode_text", "--later-option"]])
def test_arguments_of_another_version_are_refused(arguments: list[str]) -> None:
    done = subprocess.run([sys.executable, "-I", "-m", "clip_udfs", *arguments], capture_output=True, check=False)
    assert done.returncode == 1
    assert done.stderr.decode() == (
        f"clip_udfs: unknown arguments '{' '.join(arguments)}': was the launcher written by another version?"
        " Install again\n"
    )


def test_a_first_text_needs_no_thread_pool_and_no_parser_of_arguments(settings: WorkerSettings) -> None:
    """Each import that the first vector waits for takes time."""
    path = settings.image_roots[0].parent / "worker.json"
    path.write_text(replace(settings, format=FORMATS[0]).to_json())
    unwanted = {"argparse", "concurrent.futures", "logging", "html", "orjson", "clip_udfs.images.work"}
    program = (
        "import sys; from clip_udfs.worker import main; "
        f"code = main(['encode_text', '--settings', {str(path)!r}], 1, 2); "
        f"print(sorted({unwanted} & set(sys.modules)), code, file=sys.stderr)"
    )
    done = subprocess.run(
        [sys.executable, "-c", program], input=row_binary_blocks.texts(b"cat"), capture_output=True, check=True
    )
    assert row_binary_blocks.vectors(done.stdout)
    assert done.stderr == b"[] 0\n"


@pytest.mark.parametrize("function", FUNCTIONS)
def test_a_worker_imports_only_what_its_function_needs(settings: WorkerSettings, function: str) -> None:
    """No torch with the default engine; without a model, neither NumPy nor Pillow, which the decoders import."""
    unwanted = {"torch", "open_clip", "clip_installer", "click", "chdb", "transformers"}
    if FUNCTIONS[function].tower is None:
        unwanted |= {"numpy", "PIL", "onnxruntime"}
    path = settings.image_roots[0].parent / "worker.json"
    path.write_text(settings.to_json())
    program = (
        "import sys; from clip_udfs.worker import main; "
        f"code = main([{function!r}, '--settings', {str(path)!r}], 1, 2); "
        "loaded = {name.split('.')[0] for name in sys.modules}; "
        f"print(sorted(loaded & {unwanted}), code)"
    )
    done = subprocess.run([sys.executable, "-c", program], stdin=subprocess.DEVNULL, capture_output=True, check=True)
    assert done.stdout == b"[] 0\n"


def test_the_torch_engine_gives_the_same_vectors_without_packages_that_the_model_does_not_need(
    settings: WorkerSettings,
) -> None:
    rows = b"1\ngood.png\n"
    onnx = np.array(vectors(run(settings, "encode_image", rows).stdout))
    path = settings.image_roots[0].parent / "torch.json"
    path.write_text(replace(settings, engine="torch", device="cpu").to_json())
    program = (
        "import sys; from clip_udfs.worker import main; "
        f"code = main(['encode_image', '--settings', {str(path)!r}], 1, 2); "
        "print([name for name in ('timm', 'transformers') if sys.modules.get(name)], code, file=sys.stderr)"
    )
    done = subprocess.run([sys.executable, "-c", program], input=rows, capture_output=True, check=True)
    assert done.stderr == b"[] 0\n"
    assert np.abs(onnx - np.array(vectors(done.stdout))).max() < 1e-5


def test_a_worker_hashes_its_weights_during_the_slow_imports() -> None:
    program = "import sys, clip_udfs.worker; print({'numpy', 'onnxruntime', 'tokenizers', 'PIL'} & set(sys.modules))"
    done = subprocess.run([sys.executable, "-I", "-c", program], capture_output=True, text=True, check=True)
    assert done.stdout == "set()\n"


def test_a_worker_keeps_none_of_the_descriptors_that_clickhouse_has_open(settings: WorkerSettings) -> None:
    """A connection that it kept would stay open for its client when ClickHouse closes it."""
    path = settings.image_roots[0].parent / "worker.json"
    path.write_text(settings.to_json())
    reading, writing = os.pipe()
    worker = subprocess.Popen(
        [sys.executable, "-I", "-m", "clip_udfs", "image_info_bytes", "--settings", str(path)],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        pass_fds=[writing],
    )
    os.close(writing)
    try:
        assert os.read(reading, 1) == b""  # the end, although the worker still runs
        assert worker.poll() is None
    finally:
        worker.communicate()
        os.close(reading)
