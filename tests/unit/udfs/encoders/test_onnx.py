"""What a graph can make ONNX Runtime read."""

from __future__ import annotations

import json
from hashlib import sha256
from pathlib import Path

import onnx
import pytest
from google.protobuf.descriptor import Descriptor
from google.protobuf.message import Message

from clip_udfs.bundle import Bundle
from clip_udfs.encoders import weight_files
from clip_udfs.encoders.onnx import OnnxEncoder
from clip_udfs.encoders.prepared import prepare
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


@pytest.mark.parametrize("engine_refuses", [True, False])
@pytest.mark.parametrize("weights", ["../secret", "@/secret", "inside/../../secret"])
def test_weights_outside_the_bundle_are_not_read(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, weights: str, engine_refuses: bool
) -> None:
    """A graph names the file of its weights; the manifest, which is checked, does not know it."""
    if engine_refuses and not weight_files.engine_refuses_them():
        pytest.skip("this ONNX Runtime reads them")
    monkeypatch.setattr(weight_files, "engine_refuses_them", lambda: engine_refuses)
    (tmp_path / "secret").write_bytes(b"\0" * 16)
    directory = make_bundle(tmp_path / "bundle").directory
    content = graph(weights.replace("@", str(tmp_path)))
    (directory / "text.onnx").write_bytes(content)
    values = json.loads((directory / "manifest.json").read_text())
    values["files"]["text.onnx"] = {"bytes": len(content), "sha256": sha256(content).hexdigest()}
    (directory / "manifest.json").write_text(json.dumps(values))
    refused = "External data path" if engine_refuses else "as its weights, which its bundle does not record"
    with pytest.raises(EngineError, match=refused):
        OnnxEncoder(Bundle.open(directory), "text", 1)
    with pytest.raises(EngineError, match=refused):
        prepare(Bundle.open(directory), tmp_path)


def test_weights_are_found_wherever_a_tensor_can_be() -> None:
    """ONNX's own description of its messages says where that is."""
    expected: dict[str, dict[int, str]] = {}
    single: dict[str, set[int]] = {}
    pending = [onnx.ModelProto.DESCRIPTOR]
    while pending:
        message = pending.pop()
        held = {field.number: field for field in message.fields if field.message_type is not None}
        held = {number: field for number, field in held.items() if leads_to_a_tensor(field.message_type)}
        expected[message.name] = {number: field.message_type.name for number, field in held.items()}
        made = getattr(onnx, message.name)()
        single[message.name] = {
            number for number, field in held.items() if isinstance(getattr(made, field.name), Message)
        }
        pending += [field.message_type for field in held.values() if field.message_type.name not in expected]
    del expected["TensorProto"]
    assert expected == weight_files._MESSAGES
    assert {kind: numbers for kind, numbers in single.items() if numbers} == weight_files._SINGLE
    fields = onnx.TensorProto.DESCRIPTOR.fields_by_name
    assert fields["external_data"].number == weight_files._EXTERNAL_DATA
    assert fields["data_location"].number == weight_files._DATA_LOCATION


def leads_to_a_tensor(kind: Descriptor, above: frozenset[str] = frozenset()) -> bool:
    """Whether a message of ``kind`` can hold a tensor."""
    if kind.name == "TensorProto" or kind.name in above:
        return kind.name == "TensorProto"
    inner = [field.message_type for field in kind.fields if field.message_type is not None]
    return any(leads_to_a_tensor(one, above | {kind.name}) for one in inner)


def test_the_weights_of_a_real_graph(tiny_bundle: Path, tmp_path: Path) -> None:
    assert weight_files.weight_files(tiny_bundle / "text.onnx") == {"text.onnx.data"}
    hidden = onnx.ModelProto.FromString((tiny_bundle / "text.onnx").read_bytes())
    branch = onnx.GraphProto.FromString(onnx.ModelProto.FromString(graph("/etc/passwd")).graph.SerializeToString())
    hidden.graph.node.add(op_type="If").attribute.add(name="then_branch", type=onnx.AttributeProto.GRAPH, g=branch)
    (tmp_path / "hidden.onnx").write_bytes(hidden.SerializeToString())
    assert weight_files.weight_files(tmp_path / "hidden.onnx") == {"text.onnx.data", "/etc/passwd"}


def test_a_name_that_is_left_in_a_tensor_with_its_own_numbers_is_not_read(tmp_path: Path) -> None:
    """ONNX Runtime before 1.24 writes such graphs, and does not open the file that they name."""
    model = onnx.ModelProto.FromString(graph("text.onnx.data"))
    (tensor,) = model.graph.initializer
    tensor.ClearField("data_location")
    tensor.raw_data = b"\0" * 16
    (tmp_path / "text.onnx").write_bytes(model.SerializeToString())
    assert weight_files.weight_files(tmp_path / "text.onnx") == set()


@pytest.mark.parametrize(
    "location", [b"\x70\x01", b"\x70\x02", b"\x70\x81\x80\x80\x80\x10"], ids=["external", "unknown", "long"]
)
def test_a_tensor_in_two_pieces_is_one(tmp_path: Path, location: bytes) -> None:
    """The parser of ONNX Runtime joins what a file gives twice, and takes some numbers for others."""
    whole = onnx.ModelProto.FromString(graph("/etc/passwd")).graph.initializer[0]
    whole.ClearField("data_location")
    attribute = b"".join(_message(5, piece) for piece in (whole.SerializeToString(), location))
    node = _message(5, attribute)
    (tmp_path / "text.onnx").write_bytes(_message(7, _message(1, node)))
    assert weight_files.weight_files(tmp_path / "text.onnx") == {"/etc/passwd"}


def _message(number: int, content: bytes) -> bytes:
    """A field that holds a message, of fewer than 128 bytes, as protobuf writes it."""
    assert len(content) < 128
    return bytes([number << 3 | 2, len(content)]) + content


@pytest.mark.parametrize(
    "content", [b"\xff" * 12, b"\x3a\x7f", b"\x3b", b"\x3d\0"], ids=["varint", "end", "group", "number"]
)
def test_what_is_no_graph_is_refused(tmp_path: Path, content: bytes) -> None:
    (tmp_path / "text.onnx").write_bytes(content)
    with pytest.raises(EngineError, match="is no ONNX graph"):
        weight_files.weight_files(tmp_path / "text.onnx")
