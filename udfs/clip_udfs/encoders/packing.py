"""A batch of token sequences without redundancy: no padding, and prefixes shared by several texts only once.

In a causal tower, the state of a token depends only on the tokens before it. So the start token of all texts is one
node, "a photo of a" of many prompts is computed once, and nothing is computed for padding.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

TOKENS, POSITIONS, PLACES, ORIGINS, ENDS = PACKED_INPUTS = (
    "clip_input",
    "clip_positions",
    "clip_places",
    "clip_origins",
    "clip_ends",
)


def pack(batch: NDArray[np.int64], end_id: int) -> dict[str, NDArray[np.int64]]:
    """Number the distinct prefixes of the rows of ``batch``: each is a node, and a row is a path through nodes.

    Args:
        batch: int64, shape (rows, length): token ids. A row ends at its first end token, at which open_clip pools;
            what follows there is padding.
        end_id: Id of the end token.

    Returns:
        int64 arrays by the name of the graph's input. ``clip_input``: the nodes' tokens, shape (nodes,);
        ``clip_positions``: the position of each node in its text, (nodes,); ``clip_places``: the node of each token,
        (rows, length), 0 for padding; ``clip_origins``: for each node one index into the flat ``clip_places``,
        (nodes,); ``clip_ends``: each row's last node, (rows,).
    """
    rows, length = batch.shape
    stops = (batch == end_id).argmax(axis=1)
    # In lexicographic order, a prefix that the previous row does not have is in none of the rows above.
    order = np.lexsort(batch.T[::-1])
    ordered = batch[order]
    live = np.arange(length) <= stops[order, np.newaxis]
    fresh = live.copy()
    fresh[1:] &= np.logical_or.accumulate(ordered[1:] != ordered[:-1], axis=1)
    nodes = np.where(fresh, np.cumsum(fresh).reshape(rows, length) - 1, 0)
    places = np.empty((rows, length), np.int64)
    places[order] = np.where(live, np.maximum.accumulate(nodes, axis=0), 0)
    origin = (order[:, np.newaxis] * length + np.arange(length))[fresh]
    return {
        TOKENS: batch.reshape(-1)[origin],
        POSITIONS: origin % length,
        PLACES: places,
        ORIGINS: origin,
        ENDS: places[np.arange(rows), stops],
    }
