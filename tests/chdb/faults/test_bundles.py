"""The installed model is damaged, or does not fit the code."""

from __future__ import annotations

import json
from pathlib import Path

from tests.chdb.faults.case import Case, altered

PUT_BACK = "put the file back, for an installed bundle with: install-udfs --force"


def refused(fault: Case, file: Path, content: bytes | None, says: str, function: str = "encode_text") -> None:
    """Two new workers say what is wrong with the file; once it is right, the next one answers, with no restart."""
    with altered(file, content):
        fault.fails(says, asked=function)
        fault.fails(says, asked=function)
    fault.exact(function)


def changed(manifest: Path, **values: object) -> bytes:
    return json.dumps({**json.loads(manifest.read_text()), **values}).encode()


def flipped(file: Path) -> bytes:
    content = bytearray(file.read_bytes())
    content[len(content) // 2] ^= 1
    return bytes(content)


def test_a_file_of_the_bundle_is_missing(fault: Case) -> None:
    """A file of the model is missing."""
    refused(
        fault,
        fault.folder / "bundle" / "tokenizer.json",
        None,
        f"bundle file …/bundle/tokenizer.json: No such file or directory: {PUT_BACK}",
    )


def test_a_file_of_the_bundle_is_truncated(fault: Case) -> None:
    """A file of the model is truncated."""
    file = fault.folder / "bundle" / "image.onnx.data"
    refused(
        fault,
        file,
        file.read_bytes()[:-1],
        f"bundle file …/bundle/image.onnx.data has … bytes, the manifest says …: {PUT_BACK}",
        "encode_image",
    )


def test_a_bit_of_the_weights_is_flipped(fault: Case) -> None:
    """One bit of the weights is flipped."""
    (file,) = fault.folder.glob("bundle/prepared/text.onnx.data")
    refused(
        fault,
        file,
        flipped(file),
        f"bundle file …/prepared/text.onnx.data was altered: its SHA-256 is not the recorded one: {PUT_BACK}",
    )


def test_a_bit_of_the_graph_is_flipped(fault: Case) -> None:
    """One bit of the graph is flipped."""
    file = fault.folder / "bundle" / "prepared" / "image.onnx"
    refused(
        fault,
        file,
        flipped(file),
        f"bundle file …/prepared/image.onnx was altered: its SHA-256 is not the recorded one: {PUT_BACK}",
        "encode_image",
    )


def test_the_vectors_are_of_another_dimension(fault: Case) -> None:
    """The model's vectors have another dimension than its manifest says."""
    manifest = fault.folder / "bundle" / "manifest.json"
    refused(
        fault,
        manifest,
        changed(manifest, dimension=256),
        "the model gives vectors of 512 numbers, its manifest says 256: build the bundle again",
    )


def test_the_bundle_is_newer_than_the_code(fault: Case) -> None:
    """The model was built by a newer version of the package."""
    manifest = fault.folder / "bundle" / "manifest.json"
    version = json.loads(manifest.read_text())["format_version"]
    refused(
        fault,
        manifest,
        changed(manifest, format_version=version + 1),
        "manifest.json has format version …, this package reads …: upgrade clickhouse-clip-udfs",
    )


def test_the_prepared_graphs_are_missing(fault: Case) -> None:
    """The prepared graphs are missing: the worker uses the bundle's plain graphs, which load more slowly."""
    with altered(fault.folder / "bundle" / "prepared" / "host.json", None):
        fault.exact()
        fault.exact()
