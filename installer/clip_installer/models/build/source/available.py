"""Lists open_clip's architectures, with their size, without downloading weights."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

from clip_installer.errors import MissingExtra
from clip_installer.models.build.source.model import quiet
from clip_udfs.functions import Tower

_FLOAT_BYTES = 4


@dataclass(frozen=True)
class Available:
    """An architecture that can be built.

    Attributes:
        name: open_clip's name.
        dimension: Length of its vectors.
        tags: Tags of pretrained weights that can be downloaded.
        weights: Bytes of each tower's float32 weights; None if unknown, because the text tower's configuration is on
            the Hugging Face hub.
    """

    name: str
    dimension: int
    tags: tuple[str, ...]
    weights: dict[Tower, int] | None


def available(part: str) -> Iterator[Available]:
    """Yield the architectures whose name contains ``part``, in open_clip's order; takes about a second for each.

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
        # The captioning half of CoCa does not contribute to vectors.
        if not parameter.startswith("text_decoder."):
            sizes["image" if parameter.startswith("visual.") else "text"] += tensor.numel() * _FLOAT_BYTES
    return sizes
