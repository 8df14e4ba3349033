"""Like ClickHouse's LAION guide: load the model, loop over the rows, print each vector as a list.

Started by ClickHouse as ``row_by_row.py text|path CHECKPOINT``; one row of TabSeparated in, one out.
"""

import sys

import open_clip
import torch
from PIL import Image

ARCHITECTURE = "ViT-B-32-quickgelu"


def main(kind: str, checkpoint: str) -> None:
    """Answer rows until the input ends."""
    model, _, preprocess = open_clip.create_model_and_transforms(ARCHITECTURE, pretrained=checkpoint)
    model.eval()
    tokenizer = open_clip.get_tokenizer(ARCHITECTURE)
    for line in sys.stdin:
        value = line.rstrip("\n")
        with torch.no_grad():
            if kind == "text":
                features = model.encode_text(tokenizer([value]))
            else:
                features = model.encode_image(preprocess(Image.open(value)).unsqueeze(0))
        sys.stdout.write(str(features[0].tolist()) + "\n")
        sys.stdout.flush()


if __name__ == "__main__":
    main(*sys.argv[1:])
