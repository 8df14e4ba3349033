"""PyTorch with open_clip: the engine for a GPU, and for models that cannot be exported."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from clip_udfs.bundle import TORCH_FOLDER, Bundle
from clip_udfs.encoders.packing import pack
from clip_udfs.errors import EngineError, one_line
from clip_udfs.functions import Tower

WEIGHTS = f"{TORCH_FOLDER}/open_clip_model.safetensors"
CONFIG = f"{TORCH_FOLDER}/open_clip_config.json"


class TorchEncoder:
    """A tower of an open_clip model, loaded from the bundle's safetensors (no pickle)."""

    def __init__(self, bundle: Bundle, tower: Tower, device: str | None, threads: int) -> None:
        """Load the tower to ``device`` (None: a GPU where there is one) with ``threads`` CPU threads (0: all).

        Raises:
            BundleError: The bundle was built without the torch engine's files.
            EngineError: torch or open_clip is not installed, the device is not there, or the weights do not fit.
        """
        bundle.file(WEIGHTS), bundle.file(CONFIG)
        try:
            import open_clip
            import torch
        except ImportError as error:
            raise EngineError(
                f"the torch engine needs the package {error.name}: pip install 'clickhouse-clip-udfs[torch]'"
            ) from error
        from clip_udfs.encoders.towers import ImageTower, TextTower, text_tower

        if threads:
            torch.set_num_threads(threads)
        chosen = device or ("cuda" if torch.cuda.is_available() else "cpu")
        try:
            self._device = torch.device(chosen)
            model = open_clip.create_model(f"local-dir:{bundle.directory / TORCH_FOLDER}").eval()
            module = ImageTower(model, bundle.manifest.image) if tower == "image" else text_tower(model)
            self._module = module.to(self._device).requires_grad_(False)
        except Exception as error:  # open_clip, safetensors and CUDA each raise their own
            raise EngineError(
                f"open_clip cannot load {bundle.directory / TORCH_FOLDER} on {chosen}: {one_line(error)}"
            ) from error
        self._packed = isinstance(module, TextTower)
        self._half = self._device.type == "cuda"

    def encode(self, batch: NDArray[Any]) -> NDArray[np.float32]:
        """See :class:`clip_udfs.encoders.Encoder`; on a GPU in half precision (autocast)."""
        import torch

        inputs = pack(batch).values() if self._packed else (batch,)
        try:
            with torch.inference_mode(), torch.autocast(self._device.type, torch.float16, enabled=self._half):
                vectors = self._module(*(self._moved(torch.from_numpy(one)) for one in inputs))
            return vectors.float().cpu().numpy()  # type: ignore[no-any-return]
        except Exception as error:  # as above
            raise EngineError(
                f"torch failed on a batch of {len(batch)} on {self._device}: {one_line(error)}"
            ) from error

    def _moved(self, tensor: Any) -> Any:
        """The tensor on the device; to a GPU from pinned memory, so that the copy does not hold the CPU up."""
        if self._device.type != "cuda":
            return tensor.to(self._device)
        return tensor.pin_memory().to(self._device, non_blocking=True)
