"""What a manifest can say: anything else is refused in one line, whoever wrote it."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from clip_udfs.errors import BundleError
from clip_udfs.manifest import Manifest, is_plain_name
from tests.server_trees import make_bundle


@pytest.fixture(scope="module")
def values(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    """A manifest that is in order."""
    content = (make_bundle(tmp_path_factory.mktemp("m") / "bundle").directory / "manifest.json").read_bytes()
    found: dict[str, Any] = json.loads(content)
    return found


def parse(content: bytes) -> str:
    """What is said of a manifest; '' where nothing is wrong with it."""
    try:
        Manifest.from_json(content, "m.json")
    except BundleError as error:
        message = str(error)
        assert message.isprintable()
        assert message.startswith("m.json")
        return message
    return ""


@pytest.mark.parametrize(
    ("path", "value", "said"),
    [
        (["dimension"], 0, "dimension = 0, expected a whole number from 1"),
        (["dimension"], True, "dimension = true"),
        (["dimension"], 1e308, "dimension = 1e+308"),
        (["name"], ["x"], "expected a text"),
        (["name"], "x" * 1000, "at most 200 characters"),
        (["text", "clean"], "none", "expected one of lower"),
        (["text", "trim"], 1, "expected true or false"),
        (["text", "context_length"], 1 << 40, "context_length"),
        (["image", "size"], [224], "a list of 2 numbers"),
        (["image", "size"], [0, 224], "a number from 1"),
        (["image", "size"], [224.5, 224], "no whole number of pixels"),
        (["image", "std"], [1, 0, 1], "by which nothing can be divided"),
        (["image", "mean"], "abc", "a list of at most 3"),
        (["image"], [], "expected an object"),
        (["files", "a\x1b[2J"], {}, "names the file 'a\\\\x1b[2J', which no bundle has"),
        (["files", "manifest.json"], {"bytes": 1, "sha256": "0" * 64}, "which no bundle has"),
        (["files", ".hidden"], {"bytes": 1, "sha256": "0" * 64}, "which no bundle has"),
        (["files", "a//b"], {"bytes": 1, "sha256": "0" * 64}, "which no bundle has"),
        (["files", "x"], {"bytes": -1, "sha256": "0" * 64}, "bytes = -1"),
        (["files", "x"], {"bytes": 1, "sha256": "none"}, "sha256"),
        (["files", "x"], {"bytes": 1, "sha256": "0" * 64, "mode": 4755}, "unknown key"),
        (["surprise"], 1, "unknown key"),
        (["notice"], "\ud800", "printable text"),
        (["versions", "\ud800"], "1", "a key has half of a surrogate pair"),
    ],
)
def test_a_value_that_cannot_be_is_named(values: dict[str, Any], path: list[str], value: Any, said: str) -> None:
    """Types, ranges, lengths and names, each with its key."""
    changed = json.loads(json.dumps(values))
    *parents, last = path
    place = changed
    for key in parents:
        place = place[key]
    place[last] = value
    assert said in parse(json.dumps(changed).encode())


@pytest.mark.parametrize("content", [b"[" * 1_000_000, b'{"a":' * 50_000, b"{}" + b" " * (5 << 20), b"\xff\xfe"])
def test_size_and_depth_are_bounded(content: bytes) -> None:
    assert parse(content)


@pytest.mark.parametrize(
    "name", ["replaced", "manifest.json", "installed.json", ".", "..", "a b", "a/b", "", ".x", "ä"]
)
def test_a_name_that_is_taken_or_not_plain(name: str) -> None:
    """A model's name becomes a directory beside the others and a part of a command."""
    assert not is_plain_name(name)


def test_usual_names() -> None:
    assert is_plain_name("ViT-B-32-quickgelu-openai")
    assert is_plain_name("emoji")


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=20),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=8), inner, max_size=4),
    max_leaves=12,
)


@settings(max_examples=300, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(data=st.data())
def test_any_value_anywhere_is_accepted_or_refused_in_one_line(values: dict[str, Any], data: st.DataObject) -> None:
    """A manifest with one value exchanged for any other never ends in another error."""
    changed = json.loads(json.dumps(values))
    place = changed
    key = data.draw(st.sampled_from(sorted(place)))
    while isinstance(place[key], dict) and place[key] and data.draw(st.booleans()):
        place = place[key]
        key = data.draw(st.sampled_from(sorted(place)))
    place[key] = data.draw(JSON)
    parse(json.dumps(changed).encode())


@settings(max_examples=300, deadline=None)
@given(content=st.binary(max_size=200))
def test_any_bytes_are_refused_in_one_line(content: bytes) -> None:
    assert parse(content)


def test_a_link_in_a_bundle_is_refused(tmp_path: Path) -> None:
    """Root would copy what it leads to, readable for everybody."""
    from clip_udfs.bundle import Bundle

    bundle = make_bundle(tmp_path / "bundle")
    secret = tmp_path / "secret"
    (bundle.directory / "tokenizer.json").rename(secret)
    (bundle.directory / "tokenizer.json").symlink_to(secret)
    with pytest.raises(BundleError, match=r"tokenizer\.json is not a regular file"):
        Bundle.open(bundle.directory)
    (bundle.directory / "tokenizer.json").unlink()
    (bundle.directory / "tokenizer.json").write_bytes(secret.read_bytes())
    Bundle.open(bundle.directory)
    (bundle.directory / "manifest.json").rename(tmp_path / "m")
    (bundle.directory / "manifest.json").symlink_to(tmp_path / "m")
    with pytest.raises(BundleError, match=r"manifest\.json is not a regular file"):
        Bundle.open(bundle.directory)


def test_a_folder_of_a_bundle_that_is_a_link_is_refused(tmp_path: Path) -> None:
    from clip_udfs.bundle import Bundle

    bundle = make_bundle(tmp_path / "bundle")
    (bundle.directory / "torch").mkdir()
    (bundle.directory / "torch/config.json").write_bytes(b"{}")
    manifest = json.loads((bundle.directory / "manifest.json").read_text())
    manifest["files"]["torch/config.json"] = manifest["files"]["tokenizer.json"]
    (bundle.directory / "manifest.json").write_text(json.dumps(manifest))
    Bundle.open(bundle.directory)
    (bundle.directory / "torch").rename(tmp_path / "torch")
    (bundle.directory / "torch").symlink_to(tmp_path / "torch")
    with pytest.raises(BundleError, match="is reached through a link"):
        Bundle.open(bundle.directory)


def test_a_pipe_in_a_bundle_blocks_nobody(tmp_path: Path) -> None:
    import os

    from clip_udfs.bundle import Bundle

    bundle = make_bundle(tmp_path / "bundle")
    (bundle.directory / "manifest.json").unlink()
    os.mkfifo(bundle.directory / "manifest.json")
    with pytest.raises(BundleError, match="not a regular file"):
        Bundle.open(bundle.directory)
