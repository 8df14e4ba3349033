"""open_clip's transformer blocks, arranged so that an engine does little but multiply.

The tokens of all rows form one matrix, so each projection is one product with its bias. A vector is pooled from one
token per row, so the last block computes only that token; the others matter there only as keys and values. The results
equal those of open_clip's own blocks.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Protocol

import torch
from torch import Tensor, nn
from torch.nn import functional


class Layout(Protocol):
    """How the tokens of a batch, one matrix, form rows.

    Attributes:
        pooled: int64, shape (rows,): the token of each row that its vector is pooled from.
    """

    pooled: Tensor

    def as_rows(self, tokens: Tensor) -> Tensor:
        """Bring (tokens, width) into (rows, length, width)."""

    def as_tokens(self, rows: Tensor) -> Tensor:
        """Bring (rows, length, width) back into (tokens, width)."""

    def pooled_positions(self) -> Tensor:
        """int64, shape (rows,): the position of each pooled token in its row."""


@dataclass(frozen=True)
class FullRows:
    """``rows`` rows of equal length, one after the other, pooled at their first token."""

    rows: int
    pooled: Tensor

    def as_rows(self, tokens: Tensor) -> Tensor:
        """See :class:`Layout`."""
        return tokens.reshape(self.rows, -1, tokens.shape[-1])

    def as_tokens(self, rows: Tensor) -> Tensor:
        """See :class:`Layout`."""
        return rows.reshape(-1, rows.shape[-1])

    def pooled_positions(self) -> Tensor:
        """See :class:`Layout`."""
        return torch.zeros_like(self.pooled)


@dataclass(frozen=True)
class PackedRows:
    """Rows that share tokens, as :func:`clip_udfs.encoders.packing.pack` numbers them."""

    positions: Tensor
    places: Tensor
    origins: Tensor
    pooled: Tensor

    def as_rows(self, tokens: Tensor) -> Tensor:
        """See :class:`Layout`; padding is filled with any token, which the causal mask hides."""
        return tokens[self.places]

    def as_tokens(self, rows: Tensor) -> Tensor:
        """See :class:`Layout`."""
        return rows.reshape(-1, rows.shape[-1])[self.origins]

    def pooled_positions(self) -> Tensor:
        """See :class:`Layout`."""
        return self.positions[self.pooled]


class PooledBlocks(nn.Module):
    """The blocks of an open_clip ``Transformer``, up to the hidden state of one token per row."""

    def __init__(self, transformer: Any) -> None:
        """Wrap the blocks of ``transformer``, for which :func:`is_plain` must hold."""
        super().__init__()
        self.blocks = transformer.resblocks

    def forward(self, hidden: Tensor, layout: Layout, mask: Tensor | None = None) -> Tensor:
        """Run all blocks.

        Args:
            hidden: float, shape (tokens, width).
            layout: Which tokens make up a row.
            mask: float, shape (length, length), added to the attention's scores; None for none.

        Returns:
            float, shape (rows, width).
        """
        *others, last = self.blocks
        for block in others:
            hidden = _finish(block, hidden, layout.as_tokens(_attend(block, hidden, layout, mask)))
        return _finish(last, hidden[layout.pooled], _attend_pooled(last, hidden, layout, mask))


def is_plain(transformer: Any) -> bool:
    """Whether all blocks are open_clip's ``ResidualAttentionBlock`` with PyTorch's self-attention."""
    blocks = list(getattr(transformer, "resblocks", ()))
    return bool(blocks) and all(
        type(block).__name__ == "ResidualAttentionBlock"
        and not hasattr(block, "ln_1_kv")
        and isinstance(block.attn, nn.MultiheadAttention)
        and block.attn.in_proj_weight is not None
        and block.attn.in_proj_bias is not None
        and block.attn.bias_k is None
        and not block.attn.add_zero_attn
        for block in blocks
    )


def _finish(block: Any, tokens: Tensor, attended: Tensor) -> Tensor:
    tokens = tokens + block.ls_1(block.attn.out_proj(attended))
    return tokens + block.ls_2(block.mlp(block.ln_2(tokens)))  # type: ignore[no-any-return]


def _attend(block: Any, hidden: Tensor, layout: Layout, mask: Tensor | None) -> Tensor:
    """Attention among all tokens of a row: float (rows, length, width), before its output projection."""
    attention = block.attn
    projected = functional.linear(block.ln_1(hidden), attention.in_proj_weight, attention.in_proj_bias)
    query, key, value = _heads(layout.as_rows(projected), 3, attention)
    return _mix(query, key, value, mask)


def _attend_pooled(block: Any, hidden: Tensor, layout: Layout, mask: Tensor | None) -> Tensor:
    """Attention of each row's pooled token to its row: float (rows, width), before its output projection."""
    attention, width = block.attn, hidden.shape[-1]
    normal = block.ln_1(hidden)
    weight, bias = attention.in_proj_weight, attention.in_proj_bias
    asking = functional.linear(normal[layout.pooled], weight[:width], bias[:width]).unsqueeze(1)
    asked = layout.as_rows(functional.linear(normal, weight[width:], bias[width:]))
    (query,) = _heads(asking, 1, attention)
    key, value = _heads(asked, 2, attention)
    own = None if mask is None else mask[layout.pooled_positions()].unsqueeze(1).unsqueeze(1)
    return _mix(query, key, value, own).squeeze(1)


def _heads(rows: Tensor, parts: int, attention: nn.MultiheadAttention) -> tuple[Tensor, ...]:
    """Split (rows, length, parts x width) into ``parts`` tensors (rows, heads, length, depth)."""
    heads, depth = attention.num_heads, attention.head_dim
    return rows.reshape(rows.shape[0], -1, parts, heads, depth).permute(2, 0, 3, 1, 4).unbind(0)


def _mix(query: Tensor, key: Tensor, value: Tensor, mask: Tensor | None) -> Tensor:
    scores = torch.matmul(query, key.transpose(2, 3)) * query.shape[-1] ** -0.5
    if mask is not None:
        scores = scores + mask
    mixed = torch.matmul(torch.softmax(scores, dim=-1), value).transpose(1, 2)
    return mixed.reshape(mixed.shape[0], mixed.shape[1], -1)
