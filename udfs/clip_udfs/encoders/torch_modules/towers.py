"""open_clip's two towers as modules with the package's own inputs: what is exported, and what the torch engine runs."""

from __future__ import annotations

from copy import copy
from dataclasses import replace
from typing import Any

import torch
from torch import Tensor, nn

from clip_udfs.encoders.torch_modules.transformer import FullRows, PackedRows, PooledBlocks, is_plain
from clip_udfs.manifest import ImageManifest, TextManifest


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
        return _vectors(self.visual((scaled - self.mean) / self.std))


class PlainVision(nn.Module):
    """open_clip's ``VisionTransformer`` with pooling at the class token."""

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


class CausalTextTower(nn.Module):
    """open_clip's own causal text tower, for packed sequences of any length up to the context.

    open_clip's ``encode_text`` adds all rows of the positional embedding, so it accepts only full sequences. Leaving
    out the padding changes nothing if no token sees later tokens and the vector is pooled before it.
    """

    attn_mask: Tensor

    def __init__(self, text: Any) -> None:
        """Wrap ``text``, a ``CLIP`` or a ``TextTransformer`` for which :func:`is_causal` must hold."""
        super().__init__()
        self.token_embedding = text.token_embedding
        self.positional_embedding = text.positional_embedding
        self.blocks = PooledBlocks(text.transformer)
        self.ln_final = text.ln_final
        self.text_projection = text.text_projection
        self.register_buffer("attn_mask", text.attn_mask, persistent=False)

    def forward(self, tokens: Tensor, positions: Tensor, places: Tensor, origins: Tensor, ends: Tensor) -> Tensor:
        """Encode token ids, packed by :func:`clip_udfs.encoders.packing.pack`, to float vectors (rows, dimension)."""
        hidden = self.token_embedding(tokens) + self.positional_embedding[positions]
        length = places.shape[1]
        layout = PackedRows(positions, places, origins, ends)
        pooled = self.ln_final(self.blocks(hidden, layout, self.attn_mask[:length, :length]))
        if self.text_projection is None:
            return pooled  # type: ignore[no-any-return]
        if isinstance(self.text_projection, nn.Linear):
            return self.text_projection(pooled)  # type: ignore[no-any-return]
        return pooled @ self.text_projection  # type: ignore[no-any-return]


class TextTower(nn.Module):
    """Any other text tower of open_clip that is a separate module, unchanged."""

    def __init__(self, text: Any) -> None:
        """Wrap ``text``, which open_clip calls with token ids."""
        super().__init__()
        self.text = text

    def forward(self, tokens: Tensor) -> Tensor:
        """Encode int64 token ids, shape (rows, length), to float vectors, shape (rows, dimension)."""
        return _vectors(self.text(tokens))


class TextHalf(nn.Module):
    """The text half of an open_clip ``CLIP``, which keeps it among its own modules and accepts only full sequences."""

    def __init__(self, model: Any) -> None:
        """Wrap ``model`` without its image tower."""
        super().__init__()
        self.model = copy(model)
        self.model._modules = {name: part for name, part in model._modules.items() if name != "visual"}

    def forward(self, tokens: Tensor) -> Tensor:
        """Encode int64 token ids, shape (rows, context), to float vectors, shape (rows, dimension)."""
        return self.model.encode_text(tokens)  # type: ignore[no-any-return]


def text_tower(model: Any, manifest: TextManifest) -> nn.Module:
    """The text tower of an open_clip model, wrapped to suit it and the sequences that ``manifest`` describes."""
    text = _text_of(model)
    if manifest.trim and is_causal(text):
        return CausalTextTower(text)
    return TextHalf(model) if text is model else TextTower(text)


def trimmed(model: Any, manifest: TextManifest) -> TextManifest:
    """The manifest of a tokenizer, with ``trim`` set if padding can be cut off the text tower's sequences.

    This holds for Hugging Face's towers, which mask padding, and for causal ones that pool at the end token,
    ``end_id``.
    """
    text = _text_of(model)
    if manifest.framing == "clips":
        return manifest
    if type(text).__name__ == "HFTextEncoder":
        return replace(manifest, trim=text.config.pad_token_id == manifest.pad_id)
    if not is_causal(text):
        return manifest
    end_id = manifest.end_id if _pool_type(text) == "argmax" else _end_id(text)
    if manifest.framing == "clip":
        return replace(manifest, trim=manifest.end_id == end_id)
    return replace(manifest, trim=end_id not in (-1, manifest.pad_id, manifest.blank_id), end_id=end_id)


def is_causal(text: Any) -> bool:
    """Whether ``text`` is open_clip's own transformer, masked causally and pooled at the end token."""
    return (
        type(text).__name__ in ("CLIP", "TextTransformer")
        and text.attn_mask is not None
        and getattr(text, "cls_emb", None) is None
        and _pool_type(text) in ("argmax", "eos")
        and is_plain(text.transformer)
    )


def is_plain_vision(visual: Any) -> bool:
    """Whether the image tower is open_clip's own ``VisionTransformer``, pooled at the class token."""
    return (
        type(visual).__name__ == "VisionTransformer"
        and hasattr(visual, "_embeds")
        and getattr(visual, "pool_type", None) == "tok"
        and visual.attn_pool is None
        and not visual.output_tokens
        and is_plain(visual.transformer)
    )


def _text_of(model: Any) -> Any:
    """The module that holds the text tower's parts: ``model`` itself if it is a plain ``CLIP``."""
    return getattr(model, "text", model)


def _pool_type(text: Any) -> str:
    return str(text.text_pool_type if hasattr(text, "text_pool_type") else text.pool_type)


def _end_id(text: Any) -> int:
    return int(text.text_eos_id if hasattr(text, "text_eos_id") else text.eos_id)


def _vectors(output: Any) -> Tensor:
    """The vectors of a tower that may also return its tokens, as CoCa's do."""
    return output[0] if isinstance(output, tuple) else output  # type: ignore[no-any-return]
