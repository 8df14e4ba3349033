"""Figures of a retrieval: from vectors and captions to recall and keyword precision."""

from collections import defaultdict
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from training.concepts import LANGUAGES, Concept

KEYWORD_CARRIERS = 5


@dataclass(frozen=True)
class Figures:
    """Shares in 0..1 for one language: label recall, and how much of the top 5 carries a keyword."""

    recall_1: float
    recall_5: float
    recall_10: float
    keyword_top_5: float


def recall_at(similarity: np.ndarray, wanted: np.ndarray, depth: int) -> float:
    """Share of rows of (texts, pictures) whose wanted column is among the `depth` most similar."""
    own = similarity[np.arange(len(wanted)), wanted]
    return float(((similarity > own[:, None]).sum(1) < depth).mean())


def keyword_precision(similarity: np.ndarray, carriers: list[set[int]], depth: int = 5) -> float:
    """Mean share of the `depth` most similar pictures that carry the keyword of the row."""
    top = np.argsort(-similarity, 1, kind="stable")[:, :depth].tolist()
    return float(np.mean([len(carrier.intersection(row)) / depth for row, carrier in zip(top, carriers, strict=True)]))


def keywords_of(concepts: list[Concept], gallery: np.ndarray, lang: str) -> dict[str, set[int]]:
    """Rows of the pictures that carry a keyword (or label), for keywords with at least five of them."""
    carriers: dict[str, set[int]] = defaultdict(set)
    for row, number in enumerate(gallery.tolist()):
        for keyword in {*concepts[number].keywords[lang], concepts[number].label[lang]}:
            carriers[keyword].add(row)
    return {keyword: rows for keyword, rows in sorted(carriers.items()) if len(rows) >= KEYWORD_CARRIERS}


def figures(
    encode_texts: Callable[[list[str]], np.ndarray],
    pictures: np.ndarray,
    gallery: np.ndarray,
    concepts: list[Concept],
) -> dict[str, Figures]:
    """Figures by language.

    `encode_texts`: texts to unit vectors (texts, dim); `pictures`: unit vectors of the gallery, float32
    (pictures, dim); `gallery`: concept number of each picture.
    """
    answer = {}
    for lang in LANGUAGES:
        labels = encode_texts([concepts[number].label[lang] for number in gallery.tolist()]) @ pictures.T
        keywords = keywords_of(concepts, gallery, lang)
        tagged = encode_texts(list(keywords)) @ pictures.T
        order = np.arange(len(gallery))
        recalls = [recall_at(labels, order, depth) for depth in (1, 5, 10)]
        answer[lang] = Figures(*recalls, keyword_precision(tagged, list(keywords.values())))
    return answer
