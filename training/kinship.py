"""Which concepts mean nearly the same: shared keywords, rare ones counting more."""

from collections import defaultdict

import numpy as np

from training.concepts import LANGUAGES, Concept


def kinship(concepts: list[Concept]) -> np.ndarray:
    """For every concept a distribution over the others that share words with it: float32 (concepts, concepts).

    Words are labels, keywords and the subgroup; a shared word weighs log(concepts / carriers), and the sums are
    squared, so that close relatives stand out. The diagonal is zero; a row sums to one, or to zero where a concept
    shares nothing.
    """
    carriers: dict[tuple[str, str], list[int]] = defaultdict(list)
    for number, concept in enumerate(concepts):
        words = {("", concept.subgroup)}
        for lang in LANGUAGES:
            words |= {(lang, word.lower()) for word in [concept.label[lang], *concept.keywords[lang]]}
        for word in words:
            carriers[word].append(number)
    shared = np.zeros((len(concepts), len(concepts)), np.float32)
    for members in carriers.values():
        shared[np.ix_(members, members)] += np.log(len(concepts) / len(members))
    np.fill_diagonal(shared, 0)
    shared **= 2
    return shared / np.maximum(shared.sum(1, keepdims=True), 1e-9)
