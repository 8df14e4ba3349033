"""Quantises the matrix products of both towers to 8 bits."""

from __future__ import annotations

import tempfile
from pathlib import Path

from clip_installer.errors import ModelError
from clip_installer.models.build.source import quiet
from clip_udfs.encoders.prepared import MODEL, TOWERS
from clip_udfs.errors import one_line

_EXTERNAL_BYTES = 1024


def quantize_towers(directory: Path) -> None:
    """Replace ``text.onnx`` and ``image.onnx`` in ``directory``, and their weights, with quantised versions.

    Weights of matrix products become integers with one scale per output channel; activations are scaled dynamically,
    per batch. Weights use seven of the eight bits: with eight, the instructions of CPUs without VNNI saturate, and the
    same bundle would produce different vectors there.

    Raises:
        ModelError: ONNX Runtime cannot quantise a tower.
    """
    for tower in TOWERS:
        graph = directory / MODEL.format(tower=tower)
        try:
            with quiet(), tempfile.TemporaryDirectory(dir=directory) as scratch:
                quantized = Path(scratch) / graph.name
                _quantize(graph, quantized)
                for path in Path(scratch).glob(f"{graph.name}*"):
                    path.replace(directory / path.name)
        except Exception as error:  # onnx and ONNX Runtime raise many kinds
            reason = one_line(error)[:300]
            raise ModelError(f"the {tower} tower cannot be quantised ({reason}); build it as fp32") from error


def _quantize(graph: Path, target: Path) -> None:
    import onnx
    import onnxruntime
    from onnxruntime.quantization import QuantType, quantize_dynamic

    folded = target.with_name("folded.onnx")
    options = onnxruntime.SessionOptions()
    # Constant folding only: a weight sliced from a larger one becomes a constant here.
    options.graph_optimization_level = onnxruntime.GraphOptimizationLevel.ORT_ENABLE_BASIC
    options.optimized_model_filepath = str(folded)
    for name, value in (
        ("session.optimized_model_external_initializers_file_name", f"{folded.name}.data"),
        ("session.optimized_model_external_initializers_min_size_in_bytes", str(_EXTERNAL_BYTES)),
    ):
        options.add_session_config_entry(name, value)
    onnxruntime.InferenceSession(str(graph), options, providers=["CPUExecutionProvider"])
    model = onnx.load(str(folded))
    del model.graph.value_info[:]  # shapes of weights that folding transposed
    quantize_dynamic(
        model,
        target,
        op_types_to_quantize=["MatMul", "Gemm"],
        per_channel=True,
        reduce_range=True,
        weight_type=QuantType.QInt8,
        use_external_data_format=True,
        extra_options={"MatMulConstBOnly": True},
    )
