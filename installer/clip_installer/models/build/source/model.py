"""Loads an open_clip model by name, tag or file, with its preprocessing and tokenizer."""

from __future__ import annotations

import json
import logging
import re
import tempfile
import warnings
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager, redirect_stdout
from dataclasses import dataclass
from importlib.util import find_spec
from io import StringIO
from pathlib import Path
from typing import TYPE_CHECKING, Any

from clip_installer.errors import MissingExtra, ModelError
from clip_installer.models.build.preprocessing import image_of
from clip_installer.models.build.source.activation import check_activation
from clip_installer.models.build.source.hub import hub, hub_answers_or_is_off, is_out_of_reach
from clip_installer.models.build.source.weights import (
    FOLDER_CONFIG,
    RANDOM,
    find_weights,
    folder_weights,
    like,
    misfit,
    readable,
)
from clip_udfs.errors import one_line
from clip_udfs.manifest import ImageManifest

if TYPE_CHECKING:
    import torch

_CHECKPOINTS = (".safetensors", ".bin", ".pth", ".pt", ".npz")

__all__ = ["RANDOM", "SourceModel", "load_source", "quiet"]


@dataclass(frozen=True)
class SourceModel:
    """A loaded open_clip model.

    Attributes:
        architecture: open_clip's name of the architecture.
        pretrained: Tag, or name of the checkpoint file or of the folder; '' for random weights.
        model: The open_clip module in evaluation mode, float32, on the CPU.
        preprocess: open_clip's own transform from a Pillow image to a float tensor (3, height, width).
        tokenizer: open_clip's own tokenizer.
        image: The preprocessing as recorded in the bundle's manifest.
    """

    architecture: str
    pretrained: str
    model: Any
    preprocess: Any
    tokenizer: Any
    image: ImageManifest

    @property
    def name(self) -> str:
        """A name for the bundle, from architecture and weights, using only characters that are safe in a command."""
        weights = Path(self.pretrained)
        stem = weights.stem if weights.suffix in _CHECKPOINTS else weights.name
        parts = [self.architecture] if stem == self.architecture else [self.architecture, stem or RANDOM]
        return re.sub(r"[^A-Za-z0-9._-]+", "-", "-".join(parts))

    @property
    def logit_scale(self) -> float:
        """The factor of the cosines in the model's own probabilities."""
        return float(self.model.logit_scale.detach().exp())

    @property
    def logit_bias(self) -> float | None:
        """What is added to them; None for a model that was trained with a softmax."""
        bias = getattr(self.model, "logit_bias", None)
        return None if bias is None else float(bias.detach())

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
    """Suppress log messages, warnings and prints of open_clip and the exporter; errors still raise.

    A print would come before the JSON that ``--json`` promises.
    """
    previous = logging.root.manager.disable
    logging.disable(logging.WARNING)
    try:
        with warnings.catch_warnings(), redirect_stdout(StringIO()):
            warnings.simplefilter("ignore")
            yield
    finally:
        logging.disable(previous)


def load_source(
    model: str,
    pretrained: str,
    *,
    any_activation: bool = False,
    report: Callable[[str], None] = lambda line: None,
) -> SourceModel:
    """Load an open_clip model.

    Args:
        model: An open_clip architecture, a JSON file with a custom configuration, or a folder from the Hugging Face
            hub that contains ``open_clip_config.json`` and the weights.
        pretrained: An open_clip tag (downloaded once), a checkpoint file, ``TAG=FILE``, or ``random``; '' for a folder.
        any_activation: Load weights that are known to have been trained with a different activation.
        report: Called with one line about anything that may be wrong with the request.

    Raises:
        MissingExtra: open_clip, or the Hugging Face package that the model needs, is not installed.
        ModelError: The architecture or tag is unknown, or the weights are unavailable or do not fit.
    """
    try:
        import open_clip
    except ImportError as error:
        raise MissingExtra(error.name or "open_clip_torch", "torch", "building a model") from error
    if Path(model).is_dir():
        return _load_folder(_snapshot(Path(model)), pretrained)
    architecture = _register(model)
    if architecture not in open_clip.list_models():
        raise ModelError(
            f"open_clip has no architecture {architecture!r}{like(architecture, open_clip.list_models())}"
            ", and no folder has that name; to list the architectures: clip-udfs models --available"
        )
    if not pretrained:
        raise ModelError(f"--pretrained is missing: give a tag of {architecture}, a checkpoint file, or {RANDOM}")
    _need_transformers(architecture)
    asked = pretrained.partition("=")[0]
    tag = asked if asked in open_clip.list_pretrained_tags_by_model(architecture) else None
    if tag == pretrained:
        check_activation(architecture, tag, None, force=any_activation, report=report)  # before it is downloaded
    weights = find_weights(architecture, pretrained)
    if tag != pretrained:
        check_activation(architecture, tag, weights.file, force=any_activation, report=report)
    with _in_words(architecture, weights.file), ExitStack() as stack:
        scratch = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="clip-udfs-weights-")))
        file = None if weights.file is None else readable(weights.file, scratch)
        loaded = stack.enter_context(_tag_of_file(architecture, weights.tag, file))
        # Do not download weights for a Hugging Face text tower: they would be replaced, or random ones were requested.
        module, _, preprocess = open_clip.create_model_and_transforms(
            architecture, pretrained=loaded, pretrained_text=False
        )
        tokenizer = open_clip.get_tokenizer(architecture)
    return SourceModel(architecture, weights.name, module.eval(), preprocess, tokenizer, image_of(module))


def _load_folder(folder: Path, pretrained: str) -> SourceModel:
    import open_clip

    if pretrained:
        raise ModelError(f"--pretrained {pretrained} does not apply here: the folder {folder} contains the weights")
    architecture = _register_folder(folder)
    _need_transformers(architecture)
    weights, place = folder_weights(folder), f"local-dir:{folder}"
    with _in_words(architecture, weights):
        module, _, preprocess = open_clip.create_model_and_transforms(place)
        tokenizer = open_clip.get_tokenizer(place)
    return SourceModel(architecture, _name_of(folder), module.eval(), preprocess, tokenizer, image_of(module))


def _snapshot(folder: Path) -> Path:
    """``folder``, or its ``main`` revision if it is an entry of the huggingface_hub cache."""
    main = folder / "refs" / "main"
    return folder / "snapshots" / main.read_text(encoding="utf-8").strip() if main.is_file() else folder


def _name_of(folder: Path) -> str:
    """The folder's name; NAME for a revision in the huggingface_hub cache, ``models--OWNER--NAME/snapshots/…``."""
    path = folder.resolve()
    return path.parents[1].name.rpartition("--")[2] if path.parent.name == "snapshots" else path.name


def _register_folder(folder: Path) -> str:
    """Register the folder's configuration with open_clip, unless an architecture already has it; return its name."""
    import open_clip

    path = folder / FOLDER_CONFIG
    try:
        config = json.loads(path.read_bytes())["model_cfg"]
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise ModelError(
            f"open_clip cannot load the folder {folder}: its {FOLDER_CONFIG} is missing or invalid; if it contains a"
            f" checkpoint, use --model ARCHITECTURE --pretrained {folder}/FILE"
        ) from error
    for architecture in open_clip.list_models():
        if open_clip.get_model_config(architecture) == config:
            return str(architecture)
    with tempfile.TemporaryDirectory(prefix="clip-udfs-config-") as scratch:
        named = Path(scratch) / f"{_name_of(folder)}.json"
        named.write_text(json.dumps(config), encoding="utf-8")
        open_clip.add_model_config(named)
    return named.stem


@contextmanager
def _tag_of_file(architecture: str, tag: str | None, file: Path | None) -> Iterator[str | None]:
    """The value that makes open_clip load ``file`` with the image preprocessing of ``tag``."""
    import open_clip

    if tag is None or file is None:
        yield None if file is None else str(file)
        return
    config = open_clip.get_pretrained_cfg(architecture, tag)  # the registry's own entry
    config["file"] = str(file)
    try:
        yield tag
    finally:
        del config["file"]


@contextmanager
def _in_words(architecture: str, file: Path | None) -> Iterator[None]:
    """Load quietly, without waiting for an unreachable hub, and report failures on one line."""
    try:
        with quiet(), _hub_for(architecture):
            yield
    except Exception as error:  # open_clip, torch, safetensors, transformers and the hub client raise their own
        if is_out_of_reach(error):
            missing = " and ".join(_from_hub(architecture)) or "a file from the Hugging Face hub"
            raise ModelError(
                f"{architecture} needs {missing}, which is not on this machine, and {hub()} cannot be reached; build"
                " the bundle on a machine with a network and copy it here, or copy that machine's"
                " ~/.cache/huggingface and set HF_HOME to it"
            ) from error
        what = f"{architecture} with {file}" if file else architecture
        raise ModelError(f"open_clip cannot load {what}: {misfit(error) or one_line(error)[:400]}") from error


@contextmanager
def _hub_for(architecture: str) -> Iterator[None]:
    if not _from_hub(architecture):
        yield
        return
    with hub_answers_or_is_off():
        yield


def _from_hub(architecture: str) -> list[str]:
    """The Hugging Face repositories that provide the architecture's tokenizer and text tower configuration."""
    import open_clip

    text = open_clip.get_model_config(architecture)["text_cfg"]
    return sorted({text[key] for key in ("hf_model_name", "hf_tokenizer_name") if text.get(key)})


def _register(model: str) -> str:
    import open_clip

    if not model.endswith(".json"):
        return model
    path = Path(model)
    if not path.is_file():
        raise ModelError(f"model configuration {path} does not exist")
    open_clip.add_model_config(path)
    return path.stem


def _need_transformers(architecture: str) -> None:
    """Refuse a model with a Hugging Face text tower or tokenizer if ``transformers`` is not installed."""
    import open_clip

    text = open_clip.get_model_config(architecture)["text_cfg"]
    name = text.get("hf_model_name") or text.get("hf_tokenizer_name")
    if name and find_spec("transformers") is None:
        raise MissingExtra("transformers", "hf", f"{architecture}, which uses {name} from Hugging Face,")
