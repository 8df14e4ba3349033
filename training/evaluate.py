"""Figures of the shipped checkpoint, loaded like any user would: `python -m training.evaluate`."""

import json
from pathlib import Path

import click
import numpy as np
import open_clip
import torch

from training import paths
from training.concepts import load_concepts
from training.evaluation import BATCH, encode_pictures, load_gallery
from training.metrics import figures
from training.model import register_config


@torch.no_grad()
def text_vectors(model: open_clip.CLIP, texts: list[str]) -> np.ndarray:
    """Unit vectors, float32 (texts, 512), by open_clip's own tokenizer and text tower."""
    tokens = open_clip.SimpleTokenizer()(texts)
    return torch.cat([model.encode_text(part, normalize=True) for part in tokens.split(BATCH)]).numpy()


@click.command()
@click.option("--style", default="fxemoji", show_default=True, help="fxemoji is for choosing, openmoji is held out.")
@click.option("--data", type=click.Path(path_type=Path), default=paths.DATA)
@click.option("--checkpoint", type=click.Path(path_type=Path), default=paths.CHECKPOINT)
def main(style: str, data: Path, checkpoint: Path) -> None:
    """Print the figures of a style by language, in percent, as one JSON object."""
    model = open_clip.create_model(register_config(), pretrained=str(checkpoint)).eval()
    pictures, gallery = load_gallery(data / f"gallery-{style}.npz")
    vectors = encode_pictures(lambda batch: model.encode_image(batch, normalize=True), pictures)
    concepts = load_concepts(data / "concepts.json")
    found = figures(lambda texts: text_vectors(model, texts), vectors, gallery, concepts)
    shares = {lang: {name: round(100 * value, 1) for name, value in vars(row).items()} for lang, row in found.items()}
    click.echo(json.dumps({"style": style, "pictures": len(gallery), **shares}, indent=1))


if __name__ == "__main__":
    main()
