"""A gallery of one style, searched with labels and keywords."""

from collections.abc import Callable
from pathlib import Path

import numpy as np
import torch
from PIL import Image
from torch import Tensor

from training.augment import IMAGE_SIZE
from training.captions import tokenise
from training.concepts import Concept
from training.metrics import Figures, figures
from training.model import TrainableClip, Vocabulary, normalised

BATCH = 256


def load_gallery(path: Path) -> tuple[Tensor, np.ndarray]:
    """A gallery that `training.fetch` wrote, resized as open_clip's preprocessing does.

    Gives float32 (pictures, 3, 64, 64) in 0..1 and the concept numbers (pictures,).
    """
    stored = np.load(path)
    resized = [
        np.asarray(Image.fromarray(picture).resize((IMAGE_SIZE, IMAGE_SIZE), Image.Resampling.BICUBIC))
        for picture in stored["pictures"]
    ]
    return torch.from_numpy(np.stack(resized)).permute(0, 3, 1, 2).float() / 255, stored["concept"].astype(np.int64)


@torch.no_grad()
def encode_pictures(encode: Callable[[Tensor], Tensor], pictures: Tensor) -> np.ndarray:
    """Unit vectors, float32 (pictures, dim), of pictures in 0..1; `encode` takes normalised batches."""
    parts = [encode(normalised(part)) for part in pictures.split(BATCH)]
    return torch.cat(parts).numpy()


@torch.no_grad()
def encode_texts(model: TrainableClip, vocabulary: Vocabulary, texts: list[str]) -> np.ndarray:
    """Unit vectors, float32 (texts, dim)."""
    rows = torch.from_numpy(vocabulary.rows(tokenise(texts)))
    return torch.cat([model.encode_text(part) for part in rows.split(BATCH)]).numpy()


def evaluate(
    model: TrainableClip, vocabulary: Vocabulary, gallery: Path, concepts: list[Concept]
) -> dict[str, Figures]:
    """Figures of one style by language; the model must be in evaluation mode."""
    pictures, numbers = load_gallery(gallery)
    vectors = encode_pictures(model.encode_image, pictures)
    return figures(lambda texts: encode_texts(model, vocabulary, texts), vectors, numbers, concepts)
