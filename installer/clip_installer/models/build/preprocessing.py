"""open_clip's preprocessing as a bundle's manifest describes it."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from clip_udfs.manifest import ImageManifest

if TYPE_CHECKING:
    from open_clip.transform import PreprocessCfg


def image_of(module: Any) -> ImageManifest:
    """Describe the preprocessing of a loaded open_clip model."""
    import open_clip
    from open_clip.transform import PreprocessCfg

    return image_manifest(PreprocessCfg(**open_clip.get_model_preprocess_cfg(module)))


def image_manifest(config: PreprocessCfg) -> ImageManifest:
    """Describe open_clip's preprocessing ``config`` as open_clip applies it."""
    height, width = (config.size, config.size) if isinstance(config.size, int) else config.size
    # open_clip ignores the interpolation when it keeps the aspect ratio and the model's input is not square.
    forgotten = config.resize_mode == "shortest" and height != width
    return ImageManifest(
        size=(height, width),
        resize_mode=config.resize_mode,
        interpolation="bilinear" if config.interpolation == "bilinear" and not forgotten else "bicubic",
        fill_color=config.fill_color,
        mean=_channels(config.mean),
        std=_channels(config.std),
    )


def _channels(value: float | Sequence[float]) -> tuple[float, float, float]:
    red, green, blue = (value,) * 3 if isinstance(value, (int, float)) else value
    return red, green, blue
