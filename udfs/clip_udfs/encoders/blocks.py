"""open_clip's transformer blocks, run so that an engine does nothing but multiply.

Tokens of all rows are one matrix, so that each projection is one product with its bias and no activation is copied
between them. A vector is pooled from one token a row, so the last block follows only that token: the others matter
there as keys and values alone. The numbers are those of open_clip's own blocks.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional


class PooledBlocks(nn.Module):
    """The blocks of an open_clip ``Transformer``, up to the hidden state of one token a row."""

    def __init__(self, transformer: Any) -> None:
        """Wrap the blocks of ``transformer``, for which :func:`is_plain` must hold."""
        super().__init__()
        self.blocks = transformer.resblocks

    def forward(self, hidden: Tensor, pooled: Tensor, mask: Tensor | None = None) -> Tensor:
        """Run all blocks.

        Args:
            hidden: float, shape (rows, length, width).
            pooled: int64, shape (rows,): the position of each row's pooled token.
            mask: float, shape (length, length), added to the attention's scores; None for none.

        Returns:
            float, shape (rows, width).
        """
        rows, length, width = hidden.shape
        tokens = hidden.reshape(rows * length, width)
        *others, last = self.blocks
        for block in others:
            normal = block.ln_1(tokens)
            tokens = _finish(block, tokens, _attend(block.attn, normal, normal, rows, mask))
        normal = last.ln_1(tokens)
        place = torch.arange(rows, device=hidden.device) * length + pooled
        own = None if mask is None else mask[pooled].unsqueeze(1).unsqueeze(1)
        return _finish(last, tokens[place], _attend(last.attn, normal[place], normal, rows, own))


def is_plain(transformer: Any) -> bool:
    """True where the blocks are open_clip's ``ResidualAttentionBlock`` with PyTorch's self-attention, and none else."""
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


def _attend(attention: nn.MultiheadAttention, asking: Tensor, asked: Tensor, rows: int, mask: Tensor | None) -> Tensor:
    """Attention of (rows x n, width) ``asking`` on (rows x length, width) ``asked``, before its output projection."""
    weights, biases = attention.in_proj_weight.chunk(3), attention.in_proj_bias.chunk(3)
    heads, depth = attention.num_heads, attention.head_dim
    query, key, value = (
        functional.linear(tokens, weight, bias).reshape(rows, -1, heads, depth).transpose(1, 2)
        for tokens, weight, bias in zip((asking, asked, asked), weights, biases, strict=True)
    )
    scores = torch.matmul(query, key.transpose(2, 3)) * depth**-0.5
    if mask is not None:
        scores = scores + mask
    mixed = torch.matmul(torch.softmax(scores, dim=-1), value)
    return mixed.transpose(1, 2).reshape(-1, heads * depth)
