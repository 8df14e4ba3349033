"""PyTorch with open_clip: the engine for a GPU, and for models that cannot be exported."""

from __future__ import annotations

import json
import sys
from typing import Any

import numpy as np
from numpy.typing import NDArray

from clip_udfs.bundle import Bundle
from clip_udfs.encoders.packing import pack
from clip_udfs.errors import EngineError, one_line
from clip_udfs.functions import Tower
from clip_udfs.manifest import TEXT_CONFIG_FOLDER, TORCH_FOLDER

WEIGHTS = f"{TORCH_FOLDER}/open_clip_model.safetensors"
CONFIG = f"{TORCH_FOLDER}/open_clip_config.json"
# Packages that open_clip imports wherever they are installed, and the part of a configuration that needs them.
_OPTIONAL = {"timm": ("vision_cfg", "timm_model_name"), "transformers": ("text_cfg", "hf_model_name")}


class TorchEncoder:
    """A tower of an open_clip model, loaded from the bundle's safetensors (no pickle)."""

    parallel_batches = 1

    def __init__(self, bundle: Bundle, tower: Tower, device: str | None, threads: int) -> None:
        """Load the tower to ``device`` (None: a GPU if there is one) with ``threads`` CPU threads (0: all).

        Raises:
            BundleError: The bundle was built without the torch engine's files.
            EngineError: torch or open_clip is not installed, the device does not exist, or the weights do not fit.
        """
        bundle.file(WEIGHTS), bundle.file(CONFIG)
        try:
            import open_clip
            import torch
        except ImportError as error:
            raise EngineError(
                f"the torch engine needs the package {error.name}: pip install 'clickhouse-clip-udfs[torch]'"
            ) from error
        from clip_udfs.encoders.torch_modules.towers import CausalTextTower, ImageTower, text_tower
        from clip_udfs.encoders.torch_modules.unfilled import Unfilled

        if threads:
            torch.set_num_threads(threads)
        folder, manifest = bundle.directory / TORCH_FOLDER, bundle.manifest
        chosen = device or ("cuda" if torch.cuda.is_available() else "cpu")
        try:
            self._device = torch.device(chosen)
            with Unfilled():
                model = open_clip.create_model(f"local-dir:{folder}", **_overrides(bundle)).eval()
            module = ImageTower(model, manifest.image) if tower == "image" else text_tower(model, manifest.text)
            self._module = module.to(self._device).requires_grad_(False)
        except Exception as error:  # open_clip, safetensors and CUDA each raise their own
            raise EngineError(f"open_clip cannot load {folder} on {chosen}: {one_line(error)}") from error
        self._packed = isinstance(module, CausalTextTower)
        self._end_id = manifest.text.end_id
        self._half = self._device.type == "cuda"

    def encode(self, batch: NDArray[Any], *, exclusive: bool = True) -> NDArray[np.float32]:
        """See :class:`clip_udfs.encoders.Encoder`; in half precision (autocast) on a GPU."""
        import torch

        inputs = pack(batch, self._end_id).values() if self._packed else (batch,)
        try:
            with torch.inference_mode(), torch.autocast(self._device.type, torch.float16, enabled=self._half):
                vectors = self._module(*(self._moved(torch.from_numpy(one)) for one in inputs))
            return vectors.float().cpu().numpy()  # type: ignore[no-any-return]
        except Exception as error:  # as above
            raise EngineError(
                f"torch failed on a batch of {len(batch)} on {self._device}: {one_line(error)}"
            ) from error

    def _moved(self, tensor: Any) -> Any:
        """The tensor on the device; copied to a GPU from pinned memory, so that the copy does not block the CPU."""
        if self._device.type != "cuda":
            return tensor.to(self._device)
        return tensor.pin_memory().to(self._device, non_blocking=True)


def leave_out_unused(bundle: Bundle) -> None:
    """Let open_clip do without the packages that no tower of this model is made of: a third of what it imports.

    The rest of the process cannot import them either, so only a process that serves one model may call this.

    Raises:
        BundleError: The bundle was built without the torch engine's files.
    """
    config = _model_config(bundle)
    for package, (part, key) in _OPTIONAL.items():
        if key not in config[part]:
            sys.modules[package] = None  # type: ignore[assignment]


def _overrides(bundle: Bundle) -> dict[str, Any]:
    """The configuration of a Hugging Face text tower, if the bundle has one, so that no hub is asked for it."""
    folder = bundle.directory / TORCH_FOLDER
    if not (folder / TEXT_CONFIG_FOLDER).is_dir():
        return {}
    text = _model_config(bundle)["text_cfg"]
    place = str((folder / TEXT_CONFIG_FOLDER).absolute())
    return {"text_cfg": {**text, "hf_model_name": place, "hf_model_pretrained": False}}


def _model_config(bundle: Bundle) -> dict[str, Any]:
    """open_clip's configuration of the model."""
    return json.loads(bundle.file(CONFIG).read_bytes())["model_cfg"]  # type: ignore[no-any-return]
