"""Exports the towers as ONNX graphs with external weights."""

from __future__ import annotations

from collections.abc import Mapping
from hashlib import blake2b
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from clip_installer.errors import ModelError
from clip_installer.models.build.source.model import SourceModel, quiet
from clip_udfs.encoders.onnx import INPUT, OUTPUT
from clip_udfs.encoders.packing import ENDS, ORIGINS, PLACES, POSITIONS, TOKENS, pack
from clip_udfs.encoders.prepared import MODEL
from clip_udfs.errors import one_line
from clip_udfs.manifest import TextManifest

if TYPE_CHECKING:
    import onnx
    import torch

_SHARED_ROWS = 0.5
_MIN_EXTERNAL_BYTES = 1024


def export_towers(source: SourceModel, directory: Path, manifest: TextManifest) -> None:
    """Write ``text.onnx`` and ``image.onnx``, each with its ``.onnx.data`` file, to ``directory``.

    Both accept any number of rows; the text tower accepts any length up to the context length
    if ``manifest`` allows it.

    Raises:
        ModelError: The exporter cannot express the model.
    """
    import torch

    from clip_udfs.encoders.torch_modules.towers import CausalTextTower, ImageTower, text_tower

    rows, nodes = torch.export.Dim("rows", min=1), torch.export.Dim("nodes", min=1)
    length = torch.export.Dim("length", min=2, max=manifest.context_length)
    tokens = source.tokenizer(["a cat", "a dog in the snow", "two"])
    tower = text_tower(source.model, manifest)
    if isinstance(tower, CausalTextTower):
        batch = pack(tokens[:, :9].numpy(), manifest.end_id)
        shapes = {TOKENS: (nodes,), POSITIONS: (nodes,), PLACES: (rows, length), ORIGINS: (nodes,), ENDS: (rows,)}
        text = {name: (torch.from_numpy(batch[name]), shape) for name, shape in shapes.items()}
    elif manifest.trim:
        text = {INPUT: (tokens[:, :9], (rows, length))}
    else:
        text = {INPUT: (tokens, (rows,))}
    _export(tower, text, directory, "text")
    pixels = torch.zeros(2, *source.image.size, 3, dtype=torch.uint8)
    _export(ImageTower(source.model, source.image), {INPUT: (pixels, (rows,))}, directory, "image")


def _export(
    module: torch.nn.Module,
    inputs: Mapping[str, tuple[torch.Tensor, tuple[torch.export.Dim, ...]]],
    directory: Path,
    tower: str,
) -> None:
    """Export ``module``; each input is an example and the names of its leading dynamic dimensions."""
    import torch

    try:
        with quiet(), torch.no_grad():
            program = torch.onnx.export(
                module.eval(),
                tuple(example for example, _ in inputs.values()),
                input_names=list(inputs),
                output_names=[OUTPUT],
                dynamic_shapes=tuple(dict(enumerate(shape)) for _, shape in inputs.values()),
                dynamo=True,
                verbose=False,
            )
    except Exception as error:  # the exporter raises many kinds
        reason = one_line(error)[:300]
        raise ModelError(f"the {tower} tower cannot be exported to ONNX ({reason})") from error
    assert program is not None
    _save(program.model_proto, directory / MODEL.format(tower=tower))


def _save(model: onnx.ModelProto, path: Path) -> None:
    import onnx

    _strip(model)
    _share_equal_rows(model)
    onnx.save_model(
        model,
        str(path),
        save_as_external_data=True,
        all_tensors_to_one_file=True,
        location=f"{path.name}.data",
        size_threshold=_MIN_EXTERNAL_BYTES,
    )


def _strip(model: onnx.ModelProto) -> None:
    """Remove the exporter's metadata: stack traces with paths of the build machine."""
    del model.metadata_props[:]
    model.doc_string = model.graph.doc_string = ""
    for part in (
        *model.graph.node,
        *model.graph.value_info,
        *model.graph.input,
        *model.graph.output,
        *model.graph.initializer,
    ):
        del part.metadata_props[:]
        part.doc_string = ""


def _share_equal_rows(model: onnx.ModelProto) -> None:
    """Deduplicate an embedding table with mostly identical rows (tokens that never occurred in training).

    ``Gather(table, ids)`` becomes ``Gather(rows, Gather(place, ids))`` with the distinct rows only. The results are
    bit-identical.
    """
    from onnx import helper, numpy_helper

    tables = {tensor.name: tensor for tensor in model.graph.initializer if len(tensor.dims) == 2}
    for position, node in enumerate(model.graph.node):
        if node.op_type != "Gather" or node.input[0] not in tables:
            continue
        table = numpy_helper.to_array(tables[node.input[0]])
        places: dict[bytes, int] = {}
        place = np.array([places.setdefault(blake2b(row).digest(), len(places)) for row in table], np.int32)
        if len(places) > _SHARED_ROWS * len(table):
            continue
        rows = table[np.unique(place, return_index=True)[1]]
        name = node.input[0]
        tables[name].CopyFrom(numpy_helper.from_array(rows, name))
        model.graph.initializer.append(numpy_helper.from_array(place, f"{name}.place"))
        lookup = helper.make_node("Gather", [f"{name}.place", node.input[1]], [f"{name}.row"], axis=0)
        node.input[1] = f"{name}.row"
        model.graph.node.insert(position, lookup)
        return
