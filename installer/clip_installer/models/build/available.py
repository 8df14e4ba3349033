"""The architectures of open_clip, with their size before any weight is fetched."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

from clip_installer.errors import MissingExtra
from clip_installer.models.build.source import quiet
from clip_udfs.functions import Tower

_FLOAT_BYTES = 4


@dataclass(frozen=True)
class Available:
    """An architecture that can be built.

    Attributes:
        name: open_clip's name.
        dimension: Length of its vectors.
        tags: Pretrained weights that can be fetched for it.
        weights: Bytes of each tower's weights as float32; None where that cannot be told here, as the configuration of
            its text tower is on the Hugging Face hub.
    """

    name: str
    dimension: int
    tags: tuple[str, ...]
    weights: dict[Tower, int] | None


def available(part: str) -> Iterator[Available]:
    """The architectures with ``part`` in their name, in open_clip's order; about a second for each.

    Raises:
        MissingExtra: open_clip is not installed.
    """
    try:
        import open_clip
    except ImportError as error:
        raise MissingExtra(error.name or "open_clip_torch", "torch", "the list of open_clip's models") from error
    for name in open_clip.list_models():
        if part.lower() in name.lower():
            tags = tuple(open_clip.list_pretrained_tags_by_model(name))
            config = open_clip.get_model_config(name)
            yield Available(name, int(config["embed_dim"]), tags, _weights(name, config))


def _weights(name: str, config: dict[str, Any]) -> dict[Tower, int] | None:
    import open_clip
    import torch

    if "hf_model_name" in config["text_cfg"]:
        return None
    with quiet(), torch.device("meta"):
        model = open_clip.create_model(name, device="meta")
    sizes: dict[Tower, int] = {"text": 0, "image": 0}
    for parameter, tensor in model.named_parameters():
        # The captioning half of CoCa makes no vector.
        if not parameter.startswith("text_decoder."):
            sizes["image" if parameter.startswith("visual.") else "text"] += tensor.numel() * _FLOAT_BYTES
    return sizes
