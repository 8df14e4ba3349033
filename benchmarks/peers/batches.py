"""What a careful user would write: block headers, batches of 64, with open_clip or transformers.

Started by ClickHouse as ``batches.py open_clip|transformers text|path|bytes CHECKPOINT``.
"""

import json
import sys
from collections.abc import Callable
from io import BytesIO
from typing import Any

import open_clip
import torch
from PIL import Image

from benchmarks.peers.conversion import transformers_model
from benchmarks.peers.row_by_row import ARCHITECTURE
from clip_udfs.pipe.tab_separated import unescape

BATCH = 64


def main(library: str, kind: str, checkpoint: str) -> None:
    """Answer blocks until the input ends."""
    model, _, preprocess = open_clip.create_model_and_transforms(ARCHITECTURE, pretrained=checkpoint)
    model.eval()
    tokenizer = open_clip.get_tokenizer(ARCHITECTURE)
    encode = _encoder(library, kind, model, preprocess, tokenizer)
    while header := sys.stdin.buffer.readline():
        rows = [sys.stdin.buffer.readline()[:-1] for _ in range(int(header))]
        for start in range(0, len(rows), BATCH):
            with torch.inference_mode():
                vectors = encode([unescape(row) for row in rows[start : start + BATCH]])
            sys.stdout.write("".join(json.dumps(vector) + "\n" for vector in vectors.tolist()))
            sys.stdout.flush()


def _encoder(
    library: str, kind: str, model: Any, preprocess: Any, tokenizer: Any
) -> Callable[[list[bytes]], torch.Tensor]:
    def pixels(rows: list[bytes]) -> torch.Tensor:
        sources = [row.decode() if kind == "path" else BytesIO(row) for row in rows]
        return torch.stack([preprocess(Image.open(source)) for source in sources])

    def tokens(rows: list[bytes]) -> torch.Tensor:
        return tokenizer([row.decode() for row in rows])  # type: ignore[no-any-return]

    if library == "open_clip":
        if kind == "text":
            return lambda rows: model.encode_text(tokens(rows))  # type: ignore[no-any-return]
        return lambda rows: model.encode_image(pixels(rows))  # type: ignore[no-any-return]
    other = transformers_model(model.state_dict(), end_token=tokenizer.eot_token_id)
    if kind == "text":

        def texts(rows: list[bytes]) -> torch.Tensor:
            ids = tokens(rows)
            longest = int(ids.argmax(dim=1).max()) + 1  # what its processor does with padding=True
            found = other.text_model(input_ids=ids[:, :longest]).pooler_output
            return other.text_projection(found)  # type: ignore[no-any-return]

        return texts
    return lambda rows: other.visual_projection(  # type: ignore[no-any-return]
        other.vision_model(pixel_values=pixels(rows)).pooler_output
    )


if __name__ == "__main__":
    main(*sys.argv[1:])
