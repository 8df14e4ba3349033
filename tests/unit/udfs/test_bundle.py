"""What is noticed of a bundle that is not as it was built, when, and in which words."""

from __future__ import annotations

import json
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from clip_udfs import integrity
from clip_udfs.bundle import Bundle
from clip_udfs.errors import BundleError, EngineError
from clip_udfs.integrity import Digests, vouched
from clip_udfs.manifest import FORMAT_VERSION, MANIFEST
from tests.server_trees import make_bundle


@pytest.fixture
def bundle(tmp_path: Path) -> Bundle:
    return make_bundle(tmp_path / "bundle")


def flip(path: Path) -> None:
    content = bytearray(path.read_bytes())
    content[len(content) // 2] ^= 1
    path.write_bytes(content)


@contextmanager
def changed(bundle: Bundle) -> Iterator[dict[str, Any]]:
    path = bundle.directory / MANIFEST
    values = json.loads(path.read_text())
    yield values
    path.write_text(json.dumps(values))


def refusal(bundle: Bundle) -> str:
    with pytest.raises(BundleError) as refused:
        Bundle.open(bundle.directory)
    assert "\n" not in str(refused.value)
    return str(refused.value)


@pytest.mark.parametrize("limit", [0, 1 << 20], ids=["while it is loaded", "before it is loaded"])
def test_a_flipped_bit_is_refused_whatever_the_size(
    bundle: Bundle, monkeypatch: pytest.MonkeyPatch, limit: int
) -> None:
    monkeypatch.setattr(integrity, "_HASHED_MEANWHILE", limit)
    files = bundle.records("text.weights", "tokenizer.json")
    with vouched(files):
        pass
    flip(bundle.directory / "image.weights")
    with vouched(files):
        pass
    flip(bundle.directory / "text.weights")
    wanted = r"text\.weights was altered: its SHA-256 is not the recorded one: .*install-udfs --force"
    with pytest.raises(BundleError, match=wanted), vouched(files):
        assert limit == 0, "a small file is compared before it is loaded"
    if limit == 0:
        with pytest.raises(BundleError, match=wanted), vouched(files):
            raise EngineError("the engine refuses these weights")


def test_hashing_that_began_with_other_files_vouches_for_those_alone(
    bundle: Bundle, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(integrity, "_HASHED_MEANWHILE", 0)
    digests = Digests(bundle.records("image.weights"))
    flip(bundle.directory / "text.weights")
    with vouched(bundle.records("image.weights"), digests):
        pass
    with (
        pytest.raises(BundleError, match=r"text\.weights was altered"),
        vouched(bundle.records("image.weights", "text.weights"), digests),
    ):
        pass


def test_a_failure_to_load_sound_files_stays_that_failure(bundle: Bundle) -> None:
    with pytest.raises(EngineError, match="too little memory"), vouched(bundle.records("text.weights")):
        raise EngineError("too little memory")


@pytest.mark.parametrize("limit", [0, 1 << 20], ids=["large", "small"])
def test_a_file_that_vanishes_while_it_is_read_is_named(
    bundle: Bundle, monkeypatch: pytest.MonkeyPatch, limit: int
) -> None:
    monkeypatch.setattr(integrity, "_HASHED_MEANWHILE", limit)
    files = bundle.records("text.weights")
    (bundle.directory / "text.weights").unlink()
    with pytest.raises(BundleError, match=r"text\.weights: No such file"), vouched(files):
        pass


def test_a_missing_and_a_truncated_file_are_noticed_at_once(bundle: Bundle) -> None:
    path = bundle.directory / "image.weights"
    path.write_bytes(path.read_bytes()[:-1])
    assert refusal(bundle).startswith(f"bundle file {path} has 6 bytes, the manifest says 7: put the file back")
    path.unlink()
    assert refusal(bundle).startswith(f"bundle file {path}: No such file or directory: put the file back")


def test_a_bundle_of_another_version_says_what_to_do(bundle: Bundle) -> None:
    for version, remedy in (
        (FORMAT_VERSION + 1, "upgrade clickhouse-clip-udfs"),
        (0, "build the bundle again"),
        ("next", "build the bundle again"),
    ):
        with changed(bundle) as values:
            values["format_version"] = version
        assert refusal(bundle).endswith(
            f"has format version {version!r}, this package reads {FORMAT_VERSION}: {remedy}"
        )


@pytest.mark.parametrize("content", ["", "[]", "null", '"text"', "{", '{"format_version": 1}', "\udcff"])
def test_an_invalid_manifest_is_refused(bundle: Bundle, content: str) -> None:
    (bundle.directory / MANIFEST).write_text(content, errors="surrogateescape")
    assert str(bundle.directory / MANIFEST) in refusal(bundle)


@pytest.mark.parametrize("name", ["../secret", "/etc/passwd", "torch/../../secret"])
def test_a_manifest_cannot_name_files_outside_the_bundle(bundle: Bundle, name: str) -> None:
    with changed(bundle) as values:
        values["files"][name] = values["files"]["tokenizer.json"]
    assert f"names the file {name!r}, which is outside the bundle" in refusal(bundle)


def test_a_directory_without_a_manifest_is_no_bundle(tmp_path: Path) -> None:
    with pytest.raises(BundleError, match=r"is not a model bundle: .*clip-udfs build-model"):
        Bundle.open(tmp_path)
