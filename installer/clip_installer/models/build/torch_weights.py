"""Writes weights for the torch engine in open_clip's ``local-dir`` layout: a configuration and safetensors."""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING, Any

from clip_installer.models.build.source.model import SourceModel
from clip_udfs.manifest import TEXT_CONFIG_FOLDER

if TYPE_CHECKING:
    import torch


def write_weights(source: SourceModel, folder: Path) -> None:
    """Write the configuration and weights of ``source`` to the new directory ``folder``.

    For a Hugging Face text tower, its configuration is included, so that loading it does not contact the hub.
    """
    import open_clip
    from safetensors.torch import save_file

    folder.mkdir()
    config = {
        "model_cfg": open_clip.get_model_config(source.architecture),
        "preprocess_cfg": open_clip.get_model_preprocess_cfg(source.model),
    }
    (folder / "open_clip_config.json").write_text(json.dumps(config, indent=2) + "\n", encoding="utf-8")
    text = getattr(source.model, "text", None)
    if type(text).__name__ == "HFTextEncoder":
        text.config.save_pretrained(folder / TEXT_CONFIG_FOLDER)  # type: ignore[union-attr]
    save_file(_apart(source.model.state_dict()), folder / "open_clip_model.safetensors")


def _apart(tensors: dict[str, Any]) -> dict[str, torch.Tensor]:
    """Copies of tensors that share memory, which safetensors does not allow; tied weights are written twice."""
    seen: set[int] = set()
    apart = {}
    for name, tensor in tensors.items():
        place = tensor.untyped_storage().data_ptr()
        apart[name] = tensor.clone().contiguous() if place in seen else tensor.contiguous()
        seen.add(place)
    return apart
