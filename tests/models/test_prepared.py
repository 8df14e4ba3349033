"""Graphs prepared for a host: they produce the same vectors, and are never used elsewhere."""

from __future__ import annotations

import json
import shutil
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray

from clip_udfs.bundle import Bundle
from clip_udfs.encoders import prepared
from clip_udfs.encoders.onnx import OnnxEncoder

TOKENS = np.array([[49406, 320, 2368, 49407], [49406, 1929, 49407, 0]], np.int64)


@pytest.fixture
def bundle(tiny_bundle: Path, tmp_path: Path) -> Bundle:
    """A copy of the small model with its graphs prepared."""
    copy = Bundle.open(Path(shutil.copytree(tiny_bundle, tmp_path / "bundle")))
    folder = copy.directory / prepared.FOLDER
    folder.mkdir()
    prepared.prepare(copy, folder)
    return copy


def vectors(bundle: Bundle) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
    height, width = bundle.manifest.image.size
    pixels = np.arange(2 * height * width * 3, dtype=np.uint32).reshape(2, height, width, 3).astype(np.uint8)
    return OnnxEncoder(bundle, "text", 1).encode(TOKENS), OnnxEncoder(bundle, "image", 1).encode(pixels)


def test_a_prepared_graph_gives_the_plain_one_s_vectors(bundle: Bundle, tiny_bundle: Path) -> None:
    path, is_prepared, files = prepared.graph_files(bundle, "text")
    folder = bundle.directory / prepared.FOLDER
    assert (path, is_prepared) == (folder / "text.onnx", True)
    assert sorted(files) == [folder / "text.onnx", folder / "text.onnx.data"]
    for ours, plain in zip(vectors(bundle), vectors(Bundle.open(tiny_bundle)), strict=True):
        np.testing.assert_allclose(ours, plain, atol=1e-6)


def test_a_graph_of_another_length_is_not_used(bundle: Bundle) -> None:
    path = bundle.directory / prepared.FOLDER / "text.onnx"
    path.write_bytes(path.read_bytes()[:-1])
    assert prepared.stale_because(bundle) == f"{path} is not as it was written"


@pytest.mark.parametrize(
    ("key", "reason"),
    [
        ("cpu", "another CPU"),
        ("machine", "another kind of machine"),
        ("onnxruntime", "another version of ONNX Runtime"),
        ("model", "another version of the model"),
    ],
)
def test_graphs_of_another_host_are_not_used(bundle: Bundle, key: str, reason: str) -> None:
    path = bundle.directory / prepared.FOLDER / prepared.RECORD
    record = json.loads(path.read_text())
    record["key"][key] = "something else"
    path.write_text(json.dumps(record))
    assert prepared.stale_because(bundle) == f"they were made for {reason}"
    assert prepared.graph_files(bundle, "text")[:2] == (bundle.directory / "text.onnx", False)


@pytest.mark.parametrize(
    "content", ["", "[]", "{}", '{"key": 1, "files": 2}', '{"key": {}, "files": {}}', '{"key": {}, "files": {"a": 1}}']
)
def test_a_record_that_cannot_be_read_is_no_record(bundle: Bundle, content: str) -> None:
    (bundle.directory / prepared.FOLDER / prepared.RECORD).write_text(content)
    path, is_prepared, files = prepared.graph_files(bundle, "image")
    assert (path, is_prepared) == (bundle.directory / "image.onnx", False)
    assert set(files) == {bundle.directory / name for name in bundle.manifest.files if name.startswith("image.onnx")}


def test_graphs_whose_packed_weights_cannot_be_mapped_are_not_written(
    bundle: Bundle, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Kernels load packed weights with aligned loads: unaligned weights would crash the worker that maps them."""
    write, moved = prepared._write, []

    def write_askew(graph: Path, target: Path) -> None:
        write(graph, target)
        content = target.read_bytes()
        place = prepared._PACKED_PLACE.search(content)
        if place is not None:
            last = place.end(1) - 1
            target.write_bytes(content[:last] + b"1" + content[last + 1 :])  # an odd number is no aligned place
            moved.append(target.name)

    monkeypatch.setattr(prepared, "_MIN_EXTERNAL_BYTES", 1024)
    monkeypatch.setattr(prepared, "_write", write_askew)
    folder = tmp_path / "again"
    folder.mkdir()
    assert prepared.prepare(bundle, folder) == ()
    assert moved, "no weight is packed"
    assert list(folder.iterdir()) == []


def test_small_weights_are_either_mapped_as_they_must_be_or_not_written(
    bundle: Bundle, tiny_bundle: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """ONNX Runtime before 1.32 aligns only large weights, so nothing is written there."""
    folder = bundle.directory / prepared.FOLDER
    for path in folder.iterdir():
        path.unlink()
    monkeypatch.setattr(prepared, "_MIN_EXTERNAL_BYTES", 1024)
    names = prepared.prepare(bundle, folder)
    assert sorted(names) == sorted(path.name for path in folder.iterdir())
    assert prepared.graph_files(bundle, "text")[1] == bool(names)
    for ours, plain in zip(vectors(bundle), vectors(Bundle.open(tiny_bundle)), strict=True):
        np.testing.assert_allclose(ours, plain, atol=1e-6)


def test_preparing_again_gives_the_same_bytes(bundle: Bundle, tmp_path: Path) -> None:
    again = tmp_path / "again"
    again.mkdir()
    names = prepared.prepare(bundle, again)
    assert sorted(names) == sorted(path.name for path in again.iterdir())
    for name in names:
        assert (again / name).read_bytes() == (bundle.directory / prepared.FOLDER / name).read_bytes()


def test_batches_encoded_in_parallel_have_the_vectors_of_one_alone(bundle: Bundle, tiny_bundle: Path) -> None:
    encoder = OnnxEncoder(bundle, "text", 3)
    assert encoder.parallel_batches == 3
    alone = encoder.encode(TOKENS)
    with ThreadPoolExecutor(encoder.parallel_batches) as engines:
        for beside in engines.map(partial(encoder.encode, exclusive=False), [TOKENS] * 9):
            np.testing.assert_array_equal(beside, alone)
    plain = OnnxEncoder(Bundle.open(tiny_bundle), "text", 3)
    assert plain.parallel_batches == 1, "its weights would be packed, and private, twice"
    np.testing.assert_array_equal(plain.encode(TOKENS, exclusive=False), plain.encode(TOKENS))


@pytest.mark.parametrize("gone", [False, True])
def test_a_worker_keeps_its_model_when_another_is_installed_in_its_place(bundle: Bundle, *, gone: bool) -> None:
    """Otherwise its first large block would fail, or mix the vectors of two models."""
    encoder = OnnxEncoder(bundle, "text", 2)
    before = encoder.encode(TOKENS)
    folder = bundle.directory / prepared.FOLDER
    other = folder.with_name("other")
    shutil.copytree(folder, other)
    weights = np.fromfile(other / "text.onnx.data", np.float32)
    (weights * np.float32(1.5)).tofile(other / "text.onnx.data")
    folder.rename(folder.with_name("before"))
    if not gone:
        other.rename(folder)
        assert not np.allclose(OnnxEncoder(bundle, "text", 2).encode(TOKENS), before), "another model now"
    np.testing.assert_array_equal(encoder.encode(TOKENS, exclusive=False), before)
