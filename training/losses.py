"""The objectives of the training; all are means of cross entropies."""

import torch
from torch import Tensor
from torch.nn import functional as F

CONCEPT_SCALE = 20.0


def soft_cross_entropy(logits: Tensor, targets: Tensor) -> Tensor:
    """Cross entropy against distributions: float32 (rows, classes) both; rows of `targets` sum to one."""
    return -(targets * F.log_softmax(logits, -1)).sum(-1).mean()


def to_concepts(vectors: Tensor, concept_vectors: Tensor, targets: Tensor) -> Tensor:
    """Auxiliary softmax over the learned concept vectors.

    `vectors`: unit vectors (rows, dim); `concept_vectors`: (concepts, dim), normalised here; `targets`:
    concept numbers (rows,) or distributions (rows, concepts).
    """
    logits = CONCEPT_SCALE * vectors @ F.normalize(concept_vectors, dim=-1).T
    if targets.ndim == 1:
        return F.cross_entropy(logits, targets, label_smoothing=0.05)
    return soft_cross_entropy(logits, targets)


def multi_positive(images: Tensor, texts: Tensor, targets: Tensor, concepts: Tensor, scale: Tensor) -> Tensor:
    """InfoNCE in both directions where a caption may fit several pictures of the batch.

    `images`, `texts`: unit vectors (batch, dim), row i of both of one concept; `targets`: what each caption
    names, (batch, concepts); `concepts`: concept of each picture (batch,).
    """
    logits = scale * images @ texts.T
    fits = targets[:, concepts].T + 1e-6 * torch.eye(len(images))
    by_picture = fits / fits.sum(1, keepdim=True)
    by_text = fits.T / fits.sum(0)[:, None]
    return (soft_cross_entropy(logits, by_picture) + soft_cross_entropy(logits.T, by_text)) / 2
