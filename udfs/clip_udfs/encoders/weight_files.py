"""The files that an ONNX graph names as its weights, read without an engine.

ONNX Runtime before 1.24 reads any file that a graph names. Python 3.10 gets no newer one than 1.23.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Iterator
from pathlib import Path

from clip_udfs.errors import EngineError, printable

_Bytes = bytes | memoryview
# Fields that hold messages, by the message that they are in and their number (onnx.proto).
_MESSAGES = {
    "ModelProto": {7: "GraphProto", 20: "TrainingInfoProto", 25: "FunctionProto"},
    "TrainingInfoProto": {1: "GraphProto", 2: "GraphProto"},
    "FunctionProto": {7: "NodeProto", 11: "AttributeProto"},
    "GraphProto": {1: "NodeProto", 5: "TensorProto", 15: "SparseTensorProto"},
    "NodeProto": {5: "AttributeProto"},
    "AttributeProto": {
        5: "TensorProto",
        6: "GraphProto",
        10: "TensorProto",
        11: "GraphProto",
        22: "SparseTensorProto",
        23: "SparseTensorProto",
    },
    "SparseTensorProto": {1: "TensorProto", 2: "TensorProto"},
}
# Those of them that are not repeated: of two, a parser makes one, with the fields of both.
_SINGLE = {
    "ModelProto": {7},
    "TrainingInfoProto": {1, 2},
    "AttributeProto": {5, 6, 22},
    "SparseTensorProto": {1, 2},
}
# Fields of TensorProto, and of the pairs in its external_data.
_EXTERNAL_DATA, _DATA_LOCATION = 13, 14
_KEY, _VALUE = 1, 2
_MOST_VARINT_BYTES = 10


def refuse_foreign_weights(graph: Path, names: Collection[str]) -> None:
    """Refuse a graph that names other files than ``names`` as its weights, if ONNX Runtime would read them.

    Raises:
        EngineError: It does, or it is no graph.
    """
    if engine_refuses_them():
        return
    for name in weight_files(graph):
        if name not in names:
            raise EngineError(f"{graph} names {printable(name)} as its weights, which its bundle does not record")


def engine_refuses_them() -> bool:
    """Whether ONNX Runtime itself refuses weights outside a graph's directory."""
    import onnxruntime

    return tuple(map(int, onnxruntime.__version__.split(".")[:2])) >= (1, 24)


def weight_files(graph: Path) -> set[str]:
    """The files that hold weights of ``graph``, as it names them: wherever in it a tensor can be.

    A tensor whose data_location is not set holds its numbers itself, whatever else it says: ONNX Runtime before 1.24
    leaves the old file's name in the graphs that it writes.

    Raises:
        EngineError: It is no graph.
    """
    found: set[str] = set()
    pending: list[tuple[str, _Bytes]] = [("ModelProto", memoryview(graph.read_bytes()))]
    try:
        while pending:
            kind, content = pending.pop()
            fields = list(_fields(content))
            if kind == "TensorProto":
                if any(value != 0 for number, value in fields if number == _DATA_LOCATION):
                    found.update(_locations(fields))
                continue
            for number, inner in _MESSAGES[kind].items():
                parts = [value for held, value in fields if held == number and not isinstance(value, int)]
                if number in _SINGLE.get(kind, ()) and len(parts) > 1:
                    parts = [b"".join(parts)]
                pending.extend((inner, part) for part in parts)
    except ValueError as error:
        raise EngineError(f"{graph} is no ONNX graph") from error
    return found


def _locations(fields: Iterable[tuple[int, _Bytes | int]]) -> Iterator[str]:
    """The files that a tensor's external_data names."""
    for number, value in fields:
        if number == _EXTERNAL_DATA and not isinstance(value, int):
            pair = {key: bytes(part) for key, part in _fields(value) if not isinstance(part, int)}
            if pair.get(_KEY) == b"location":
                yield pair.get(_VALUE, b"").decode("utf-8", "surrogateescape")


def _fields(content: _Bytes) -> Iterator[tuple[int, _Bytes | int]]:
    """Number and value of each field of a message that is a number of any length, bytes, a string or a message.

    Raises:
        ValueError: It is no message.
    """
    place = 0
    while place < len(content):
        key, place = _varint(content, place)
        match key & 7:
            case 0:  # a number
                value, place = _varint(content, place)
                yield key >> 3, value
            case 1:  # a number of eight bytes
                place += 8
            case 2:  # bytes
                length, place = _varint(content, place)
                yield key >> 3, content[place : place + length]
                place += length
            case 5:  # a number of four bytes
                place += 4
            case _:
                raise ValueError
    if place > len(content):
        raise ValueError


def _varint(content: _Bytes, place: int) -> tuple[int, int]:
    value = 0
    for position, byte in enumerate(content[place : place + _MOST_VARINT_BYTES]):
        value |= (byte & 127) << 7 * position
        if byte < 128:
            return value & (1 << 64) - 1, place + position + 1
    raise ValueError
