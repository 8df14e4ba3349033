"""A batch of token sequences without what is there twice: padding, and beginnings that several texts share.

In a causal tower the state of a token depends on the tokens before it alone. So the start token of all texts is one
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
    """Number the distinct beginnings of the rows of ``batch``: each is a node, and a row is a path through nodes.

    Args:
        batch: int64, shape (rows, length): token ids. A row ends at its first end token, at which open_clip pools;
            what follows there is padding.
        end_id: Id of the end token.

    Returns:
        int64 arrays by the name of the graph's input. ``clip_input``: the nodes' tokens, shape (nodes,);
        ``clip_positions``: where in its text each node stands, (nodes,); ``clip_places``: the node of each token,
        (rows, length), 0 for padding; ``clip_origins``: for each node one index into the flat ``clip_places``,
        (nodes,); ``clip_ends``: each row's last node, (rows,).
    """
    rows, length = batch.shape
    stops = (batch == end_id).argmax(axis=1)
    places = np.zeros((rows, length), np.int64)
    base = int(batch.max(initial=0)) + 1
    before = np.zeros(rows, np.int64)
    origins: list[NDArray[np.int64]] = []
    count = 0
    for position in range(int(stops.max(initial=0)) + 1):
        (live,) = np.nonzero(stops >= position)
        _, first, node = np.unique(before[live] * base + batch[live, position], return_index=True, return_inverse=True)
        before[live] = node
        places[live, position] = count + node
        origins.append(live[first] * length + position)
        count += len(first)
    origin = np.concatenate(origins)
    return {
        TOKENS: batch.reshape(-1)[origin],
        POSITIONS: origin % length,
        PLACES: places,
        ORIGINS: origin,
        ENDS: places[np.arange(rows), stops],
    }
