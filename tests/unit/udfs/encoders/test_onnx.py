"""What a graph can make ONNX Runtime read."""

from __future__ import annotations

import json
from hashlib import sha256
from pathlib import Path

import onnx
import pytest

from clip_udfs.bundle import Bundle
from clip_udfs.encoders.onnx import OnnxEncoder
from clip_udfs.errors import EngineError
from tests.server_trees import make_bundle


def graph(weights: str) -> bytes:
    """A graph whose only weights are in the file ``weights``."""
    tensor = onnx.TensorProto(name="w", data_type=1, dims=[4], data_location=onnx.TensorProto.EXTERNAL)
    for key, value in (("location", weights), ("offset", "0"), ("length", "16")):
        tensor.external_data.add(key=key, value=value)
    ends = [onnx.helper.make_tensor_value_info(name, 1, [4]) for name in ("tokens", "clip_vector")]
    node = onnx.helper.make_node("Add", ["tokens", "w"], ["clip_vector"])
    made = onnx.helper.make_graph([node], "g", ends[:1], ends[1:], [tensor])
    content = onnx.helper.make_model(made, opset_imports=[onnx.helper.make_opsetid("", 17)], ir_version=8)
    return bytes(content.SerializeToString())


@pytest.mark.parametrize("weights", ["../secret", "@/secret", "inside/../../secret"])
def test_weights_outside_the_bundle_are_not_read(tmp_path: Path, weights: str) -> None:
    """A graph names the file of its weights; the manifest, which is checked, does not know it."""
    (tmp_path / "secret").write_bytes(b"\0" * 16)
    directory = make_bundle(tmp_path / "bundle").directory
    content = graph(weights.replace("@", str(tmp_path)))
    (directory / "text.onnx").write_bytes(content)
    values = json.loads((directory / "manifest.json").read_text())
    values["files"]["text.onnx"] = {"bytes": len(content), "sha256": sha256(content).hexdigest()}
    (directory / "manifest.json").write_text(json.dumps(values))
    with pytest.raises(EngineError, match="External data path"):
        OnnxEncoder(Bundle.open(directory), "text", 1)
