"""An open_clip model, loaded from a name, a tag or a file, with the preprocessing and tokenizer that belong to it."""

from __future__ import annotations

import logging
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from clip_installer.errors import MissingExtra, ModelError
from clip_udfs.bundle import ImageManifest
from clip_udfs.errors import one_line

if TYPE_CHECKING:
    import torch

RANDOM = "random"


@dataclass(frozen=True)
class SourceModel:
    """A loaded open_clip model.

    Attributes:
        architecture: open_clip's name of the architecture.
        pretrained: Tag, or name of the checkpoint file; '' for random weights.
        model: The open_clip module in evaluation mode, float32, on the CPU.
        preprocess: open_clip's own transform from a Pillow image to a float tensor (3, height, width).
        tokenizer: open_clip's own tokenizer.
        image: The preprocessing as the bundle's manifest says it.
    """

    architecture: str
    pretrained: str
    model: Any
    preprocess: Any
    tokenizer: Any
    image: ImageManifest

    def encode_texts(self, texts: list[str]) -> torch.Tensor:
        """Normalised vectors of ``texts`` as open_clip computes them, float32 (rows, dimension)."""
        import torch

        with torch.inference_mode():
            return self.model.encode_text(self.tokenizer(texts), normalize=True)  # type: ignore[no-any-return]

    def encode_images(self, pictures: list[Any]) -> torch.Tensor:
        """Normalised vectors of Pillow images as open_clip computes them, float32 (rows, dimension)."""
        import torch

        with torch.inference_mode():
            batch = torch.stack([self.preprocess(picture) for picture in pictures])
            return self.model.encode_image(batch, normalize=True)  # type: ignore[no-any-return]


@contextmanager
def quiet() -> Iterator[None]:
    """Keep open_clip's and the exporter's remarks off the terminal; errors still raise."""
    previous = logging.root.manager.disable
    logging.disable(logging.WARNING)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            yield
    finally:
        logging.disable(previous)


def load_source(model: str, pretrained: str) -> SourceModel:
    """Load an open_clip model.

    Args:
        model: An architecture of open_clip, or a JSON file with a configuration of one's own.
        pretrained: A tag of open_clip for it (downloaded once), a checkpoint file, or ``random``.

    Raises:
        MissingExtra: open_clip is not installed.
        ModelError: The architecture or tag is unknown, or the weights cannot be had or do not fit.
    """
    try:
        import open_clip
    except ImportError as error:
        raise MissingExtra(error.name or "open_clip_torch", "torch", "building a model") from error
    architecture = _register(model)
    if architecture not in open_clip.list_models():
        raise ModelError(f"open_clip has no architecture {architecture!r}; its names: clip-udfs build-model --list")
    weights = _weights(architecture, pretrained)
    try:
        with quiet():
            module, _, preprocess = open_clip.create_model_and_transforms(architecture, pretrained=weights)
            tokenizer = open_clip.get_tokenizer(architecture)
    except Exception as error:  # open_clip, torch, safetensors and the hub client raise their own
        raise ModelError(f"open_clip cannot load {architecture} with {pretrained}: {one_line(error)[:400]}") from error
    return SourceModel(
        architecture,
        "" if weights is None else Path(weights).name,
        module.eval(),
        preprocess,
        tokenizer,
        _image_manifest(module),
    )


def _register(model: str) -> str:
    import open_clip

    if not model.endswith(".json"):
        return model
    path = Path(model)
    if not path.is_file():
        raise ModelError(f"there is no model configuration {path}")
    open_clip.add_model_config(path)
    return path.stem


def _weights(architecture: str, pretrained: str) -> str | None:
    import open_clip

    if pretrained == RANDOM:
        return None
    tags = open_clip.list_pretrained_tags_by_model(architecture)
    if Path(pretrained).is_file() or pretrained in tags:
        return pretrained
    known = f"its tags: {', '.join(tags)}" if tags else "it has no tags"
    raise ModelError(f"{pretrained!r} is neither a file nor a pretrained tag of {architecture} ({known})")


def _image_manifest(module: Any) -> ImageManifest:
    import open_clip

    config = open_clip.get_model_preprocess_cfg(module)
    size = config["size"]
    height, width = (size, size) if isinstance(size, int) else size
    return ImageManifest(
        size=(height, width),
        resize_mode=config["resize_mode"],
        interpolation="bilinear" if config["interpolation"] == "bilinear" else "bicubic",
        fill_color=config["fill_color"],
        mean=tuple(config["mean"]),
        std=tuple(config["std"]),
    )
