"""The rendered images, and how batches of them are drawn."""

from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from training.augment import COLOUR_WORDS, Dice, augment
from training.concepts import Concept, load_concepts
from training.sources import SOURCES

GENERAL_SHARE = 0.15  # weight of a general icon set beside a coloured emoji set
MONOCHROME = ("fluent-emoji-high-contrast", "emojione-monotone")
MONOCHROME_SHARE = 0.25
MANNER_SHARES = (1.0, 1.0, 0.15)  # plain, outlined, drawn
MIRRORED_MEANING = (
    "arrow",
    "hand",
    "alphanum",
    "keycap",
    "math",
    "punctuation",
    "time",
    "country-flag",
    "subdivision",
    "zodiac",
    "currency",
    "person-activity",
    "light-video",
    "other-symbol",
    "av-symbol",
    "religion",
    "transport-sign",
    "warning",
    "geometric",
    "music",
)


@dataclass
class PictureSet:
    """Training pictures: uint8 RGBA (N, 96, 96, 4), their concepts (N,) and how often each is drawn."""

    pictures: np.ndarray
    concept: np.ndarray
    cumulative: np.ndarray
    colour_matters: np.ndarray
    flippable: np.ndarray

    def draw(self, batch: int, dice: np.random.Generator) -> np.ndarray:
        """Row numbers: concepts evenly, then styles evenly, then pictures of the style."""
        return np.searchsorted(self.cumulative, dice.random(batch)).clip(max=len(self.concept) - 1)

    def one_each(self, dice: np.random.Generator) -> np.ndarray:
        """One row number for every concept, in their order, drawn with the same weights."""
        share = np.diff(self.cumulative, prepend=0.0)
        with np.errstate(divide="ignore"):
            arrival = dice.exponential(size=len(share)) / share
        order = np.lexsort((arrival, self.concept))
        return order[np.unique(self.concept[order], return_index=True)[1]]

    def augmented(self, rows: np.ndarray, dice: Dice) -> Tensor:
        """Augmented pictures, float32 (batch, 3, 64, 64) in 0..1."""
        pixels = torch.from_numpy(self.pictures[rows])
        numbers = self.concept[rows]
        matters = torch.from_numpy(self.colour_matters[numbers])
        return augment(pixels, matters, torch.from_numpy(self.flippable[numbers]), dice)


def colour_is_meaning(concept: Concept) -> bool:
    """Whether another colour would make it another emoji: flags, and everything named after its colour."""
    words = set(concept.label["en"].lower().split())
    return concept.subgroup.endswith("flag") or bool(words & COLOUR_WORDS)


def load_pictures(folder: Path) -> tuple[PictureSet, list[Concept]]:
    """What `training.fetch` wrote."""
    concepts = load_concepts(folder / "concepts.json")
    index = np.load(folder / "pictures.npz")
    concept, style = index["concept"].astype(np.int64), index["style"].astype(np.int64)
    of_style = [
        GENERAL_SHARE if source.names == "label" else MONOCHROME_SHARE if source.style in MONOCHROME else 1.0
        for source in SOURCES
    ]
    share = np.array(of_style)[style] * np.array(MANNER_SHARES)[index["manner"]]
    share *= index["usable"]
    group = style * len(concepts) + concept
    share /= np.bincount(group, minlength=group.max() + 1)[group]
    share /= np.bincount(concept, share, len(concepts))[concept]
    pictures = np.load(folder / "pictures.npy", mmap_mode="r")
    flippable = [not concept.subgroup.startswith(MIRRORED_MEANING) for concept in concepts]
    return PictureSet(
        pictures,
        concept,
        np.cumsum(share) / share.sum(),
        np.array([colour_is_meaning(concept) for concept in concepts]),
        np.array(flippable),
    ), concepts
