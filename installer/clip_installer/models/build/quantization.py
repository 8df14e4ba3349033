"""Quantises the matrix products of both towers to 8 bits, weights and activations, with scales fixed in the bundle."""

from __future__ import annotations

import tempfile
from collections.abc import Callable, Iterator, Mapping
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from clip_installer.errors import ModelError
from clip_installer.models.build.calibration import Feed, samples
from clip_installer.models.build.source.model import quiet
from clip_udfs.encoders.prepared import MODEL, TOWERS
from clip_udfs.errors import one_line
from clip_udfs.manifest import ImageManifest, TextManifest

_EXTERNAL_BYTES = 1024


# What DynamicQuantizeLinear leaves to be computed, and QuantizeLinear has as constants.
_LEVELS = 255


def quantize_towers(directory: Path, text: TextManifest, image: ImageManifest) -> None:
    """Replace ``text.onnx`` and ``image.onnx`` in ``directory``, and their weights, with quantised versions.

    Weights of matrix products become integers with one scale per output channel. Activations get one scale for each
    product, from the range that they have for the samples of :mod:`clip_installer.models.build.calibration`; so a row's
    vector does not depend on the rows encoded with it. Weights use seven of the eight bits: with eight, the
    instructions of CPUs without VNNI saturate, and the same bundle would produce different vectors there.

    Args:
        directory: The bundle's directory, with ``tokenizer.json``.
        text: How texts become token ids.
        image: How pictures become pixels.

    Raises:
        ModelError: ONNX Runtime cannot quantise a tower.
    """
    for tower in TOWERS:
        graph = directory / MODEL.format(tower=tower)
        try:
            with quiet(), tempfile.TemporaryDirectory(dir=directory) as scratch:
                quantized = Path(scratch) / graph.name
                _quantize(graph, quantized, partial(samples, tower, directory, text, image))
                for path in Path(scratch).glob(f"{graph.name}*"):
                    path.replace(directory / path.name)
        except Exception as error:  # onnx and ONNX Runtime raise many kinds
            reason = one_line(error)[:300]
            raise ModelError(f"the {tower} tower cannot be quantised ({reason}); build it as fp32") from error


def _quantize(graph: Path, target: Path, feeds: Callable[[bool], Iterator[Feed]]) -> None:
    import onnx
    from onnxruntime.quantization import QuantType, quantize_dynamic

    folded = _folded(graph, target.with_name("folded.onnx"))
    model = onnx.load(str(folded))
    del model.graph.value_info[:]  # shapes of weights that folding transposed
    dynamic = target.with_name("dynamic.onnx")
    quantize_dynamic(
        model,
        dynamic,
        op_types_to_quantize=["MatMul", "Gemm"],
        per_channel=True,
        reduce_range=True,
        weight_type=QuantType.QInt8,
        use_external_data_format=True,
        extra_options={"MatMulConstBOnly": True},
    )
    quantized = onnx.load(str(dynamic))
    names = {node.input[0] for node in quantized.graph.node if node.op_type == "DynamicQuantizeLinear"}
    _fix_scales(quantized, _ranges(folded, sorted(names), feeds))
    onnx.save_model(
        quantized,
        str(target),
        save_as_external_data=True,
        location=f"{target.name}.data",
        size_threshold=_EXTERNAL_BYTES,
    )


def _folded(graph: Path, target: Path) -> Path:
    """Write ``graph`` with its constants folded: a weight sliced from a larger one becomes a constant here."""
    import onnxruntime

    options = onnxruntime.SessionOptions()
    options.graph_optimization_level = onnxruntime.GraphOptimizationLevel.ORT_ENABLE_BASIC
    options.optimized_model_filepath = str(target)
    for name, value in (
        ("session.optimized_model_external_initializers_file_name", f"{target.name}.data"),
        ("session.optimized_model_external_initializers_min_size_in_bytes", str(_EXTERNAL_BYTES)),
    ):
        options.add_session_config_entry(name, value)
    onnxruntime.InferenceSession(str(graph), options, providers=["CPUExecutionProvider"])
    return target


def _ranges(graph: Path, names: list[str], feeds: Callable[[bool], Iterator[Feed]]) -> dict[str, tuple[float, float]]:
    """The smallest and the largest number of each of the graph's tensors ``names`` for the samples ``feeds``."""
    import onnx
    import onnxruntime

    model = onnx.load(str(graph), load_external_data=False)
    known = {one.name for one in model.graph.output}
    model.graph.output.extend(onnx.helper.make_empty_tensor_value_info(name) for name in names if name not in known)
    probe = graph.with_name("probe.onnx")
    onnx.save_model(model, str(probe))
    options = onnxruntime.SessionOptions()
    options.graph_optimization_level = onnxruntime.GraphOptimizationLevel.ORT_DISABLE_ALL
    session = onnxruntime.InferenceSession(str(probe), options, providers=["CPUExecutionProvider"])
    seen: dict[str, tuple[float, float]] = dict.fromkeys(names, (0.0, 0.0))
    for feed in feeds(len(session.get_inputs()) > 1):
        values: list[NDArray[np.float32]] = session.run(names, feed)
        for name, value in zip(names, values, strict=True):
            least, most = seen[name]
            seen[name] = min(least, float(value.min())), max(most, float(value.max()))
    return seen


def _fix_scales(model: Any, ranges: Mapping[str, tuple[float, float]]) -> None:
    """Let each product take its activations' scale from ``ranges``, and not from the batch at hand."""
    from onnx import helper, numpy_helper

    nodes = []
    for node in model.graph.node:
        if node.op_type != "DynamicQuantizeLinear":
            nodes.append(node)
            continue
        quantized, scale, zero = node.output
        least, most = ranges[node.input[0]]
        step = np.float32(max(most - least, float(np.finfo(np.float32).tiny) * _LEVELS) / _LEVELS)
        model.graph.initializer.extend(
            (
                numpy_helper.from_array(np.array(step), scale),
                numpy_helper.from_array(np.array(round(-least / float(step)), np.uint8), zero),
            )
        )
        nodes.append(helper.make_node("QuantizeLinear", [node.input[0], scale, zero], [quantized]))
    del model.graph.node[:]
    model.graph.node.extend(nodes)
