"""open_clip's two towers as modules with the package's own inputs: what is exported, and what the torch engine runs."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn

from clip_udfs.bundle import ImageManifest
from clip_udfs.encoders.blocks import FullRows, PackedRows, PooledBlocks, is_plain


class ImageTower(nn.Module):
    """Pixels as bytes to vectors: scaling to floats and the image encoder in one graph."""

    mean: Tensor
    std: Tensor

    def __init__(self, model: Any, image: ImageManifest) -> None:
        """Wrap ``model.visual`` of an open_clip model with the scaling of ``image``."""
        super().__init__()
        visual = model.visual
        self.visual = PlainVision(visual) if is_plain_vision(visual) else visual
        self.register_buffer("mean", torch.tensor(image.mean).view(1, 3, 1, 1), persistent=False)
        self.register_buffer("std", torch.tensor(image.std).view(1, 3, 1, 1), persistent=False)

    def forward(self, pixels: Tensor) -> Tensor:
        """Encode uint8 pixels, shape (rows, height, width, 3), to float vectors, shape (rows, dimension)."""
        scaled = pixels.permute(0, 3, 1, 2).to(self.mean.dtype) / 255
        return self.visual((scaled - self.mean) / self.std)  # type: ignore[no-any-return]


class PlainVision(nn.Module):
    """open_clip's ``VisionTransformer`` where it pools at the class token."""

    def __init__(self, visual: Any) -> None:
        """Wrap ``visual``, for which :func:`is_plain_vision` must hold."""
        super().__init__()
        self.visual = visual
        self.blocks = PooledBlocks(visual.transformer)

    def forward(self, pixels: Tensor) -> Tensor:
        """Encode scaled pixels, shape (rows, 3, height, width), to float vectors, shape (rows, dimension)."""
        hidden = self.visual._embeds(pixels)
        rows, length, width = hidden.shape
        layout = FullRows(rows, torch.arange(rows, device=hidden.device) * length)
        pooled = self.visual.ln_post(self.blocks(hidden.reshape(rows * length, width), layout))
        return pooled if self.visual.proj is None else pooled @ self.visual.proj  # type: ignore[no-any-return]


class TextTower(nn.Module):
    """The text tower of an open_clip ``CLIP``, for sequences of any length up to the context.

    open_clip's own ``encode_text`` adds all rows of the positional embedding and so takes full sequences only; cutting
    the padding off changes nothing where the mask is causal and the end token's position is pooled.
    """

    attn_mask: Tensor

    def __init__(self, model: Any) -> None:
        """Wrap the text half of ``model``."""
        super().__init__()
        self.token_embedding = model.token_embedding
        self.positional_embedding = model.positional_embedding
        self.blocks = PooledBlocks(model.transformer)
        self.ln_final = model.ln_final
        self.text_projection = model.text_projection
        self.register_buffer("attn_mask", model.attn_mask, persistent=False)

    def forward(self, tokens: Tensor, positions: Tensor, places: Tensor, origins: Tensor, ends: Tensor) -> Tensor:
        """Encode token ids, packed by :func:`clip_udfs.encoders.packing.pack`, to float vectors (rows, dimension)."""
        hidden = self.token_embedding(tokens) + self.positional_embedding[positions]
        length = places.shape[1]
        layout = PackedRows(positions, places, origins, ends)
        pooled = self.ln_final(self.blocks(hidden, layout, self.attn_mask[:length, :length]))
        if isinstance(self.text_projection, nn.Linear):
            return self.text_projection(pooled)  # type: ignore[no-any-return]
        return pooled @ self.text_projection  # type: ignore[no-any-return]


class FullLengthTextTower(nn.Module):
    """Any other text tower, on sequences that are padded to the whole context."""

    def __init__(self, model: Any) -> None:
        """Wrap ``encode_text`` of an open_clip model."""
        super().__init__()
        self.model = model

    def forward(self, tokens: Tensor) -> Tensor:
        """Encode int64 token ids, shape (rows, context), to float vectors, shape (rows, dimension)."""
        return self.model.encode_text(tokens)  # type: ignore[no-any-return]


def is_trimmable(model: Any) -> bool:
    """True where the text tower is causal, pools at the end token (argmax) and is a plain open_clip ``CLIP``."""
    return (
        hasattr(model, "token_embedding")
        and getattr(model, "attn_mask", None) is not None
        and getattr(model, "text_pool_type", None) == "argmax"
        and is_plain(model.transformer)
    )


def is_plain_vision(visual: Any) -> bool:
    """True where the image tower is open_clip's own ``VisionTransformer``, pooled at the class token."""
    return (
        type(visual).__name__ == "VisionTransformer"
        and hasattr(visual, "_embeds")
        and getattr(visual, "pool_type", None) == "tok"
        and visual.attn_pool is None
        and not visual.output_tokens
        and is_plain(visual.transformer)
    )


def text_tower(model: Any) -> nn.Module:
    """The text tower in the form that suits the model."""
    return TextTower(model) if is_trimmable(model) else FullLengthTextTower(model)
