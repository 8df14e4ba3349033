"""Captions as tokens, and for each of them the distribution over the concepts that it names.

A caption is tied to concepts, not to pictures: "dog" is the label of one concept and a keyword of others, so
its target puts most of the weight on the first and shares the rest. Nothing ambiguous is ever a negative.
"""

import random
import re
from collections import defaultdict
from dataclasses import dataclass
from functools import cached_property

import numpy as np
import open_clip

from training.concepts import LANGUAGES, Concept
from training.metrics import KEYWORD_CARRIERS
from training.themes import PHRASES, TEMPLATES, THEMES

MAX_TOKENS = 24
LABEL_SHARE = 0.7  # of the target of a text that is one concept's label and a keyword of others
KINDS = ("label", "template", "keyword", "pair", "group", "synonym")
# Of the training of both towers, and of the text phase.
KIND_SHARES = (0.36, 0.14, 0.32, 0.08, 0.10, 0.0)
KIND_SHARES_OF_TEXT_PHASE = (0.34, 0.16, 0.26, 0.06, 0.08, 0.10)
PAIRS = 6
WORD = re.compile(r"[a-z][a-z' -]+")


@dataclass
class Captions:
    """All captions of the training.

    `tokens`: int64 (captions, MAX_TOKENS), CLIP token ids with 0 after the end. `targets`: per caption the
    concept numbers and weights that sum to one. `of`: caption numbers by (concept, language, kind). `number`:
    by text. `shares`: of the kinds, when captions are drawn.
    """

    tokens: np.ndarray
    targets: list[tuple[np.ndarray, np.ndarray]]
    of: dict[tuple[int, str, str], list[int]]
    number: dict[str, int]
    shares: tuple[float, ...] = KIND_SHARES

    def sample(self, concepts: np.ndarray, dice: np.random.Generator, chinese: float) -> np.ndarray:
        """One caption number for each concept number; int64 of the same shape."""
        languages = np.where(dice.random(len(concepts)) < chinese, "zh", "en")
        kinds = dice.choice(KINDS, len(concepts), p=self.shares)
        chosen = []
        for concept, lang, kind in zip(concepts.tolist(), languages.tolist(), kinds.tolist(), strict=True):
            options = self.of.get((concept, lang, kind)) or self.of[concept, lang, "label"]
            chosen.append(options[dice.integers(len(options))])
        return np.array(chosen)

    def sample_evenly(self, count: int, dice: np.random.Generator, chinese: float) -> np.ndarray:
        """Caption numbers, int64 (count,), each text of a kind as often as any other: no rare word is lost."""
        languages = np.where(dice.random(count) < chinese, "zh", "en")
        kinds = dice.choice(KINDS, count, p=self.shares)
        keys = zip(languages.tolist(), kinds.tolist(), strict=True)
        pools = [self.pools.get((lang, kind)) or self.pools[lang, "label"] for lang, kind in keys]
        return np.array([pool[dice.integers(len(pool))] for pool in pools])

    @cached_property
    def pools(self) -> dict[tuple[str, str], list[int]]:
        """By (language, kind) the numbers of all captions, each once."""
        pools: dict[tuple[str, str], set[int]] = defaultdict(set)
        for (_, lang, kind), numbers in self.of.items():
            pools[lang, kind].update(numbers)
        return {key: sorted(numbers) for key, numbers in pools.items()}

    def target_matrix(self, captions: np.ndarray, concepts: int) -> np.ndarray:
        """Dense targets, float32 (captions, concepts); rows sum to one."""
        dense = np.zeros((len(captions), concepts), np.float32)
        for row, caption in enumerate(captions):
            members, weights = self.targets[caption]
            dense[row, members] = weights
        return dense


class CaptionBuilder:
    """Collects texts, their targets and to which concept they belong."""

    def __init__(self, concepts: list[Concept]) -> None:
        """Work out which concepts carry each text as label or keyword."""
        self.concepts = concepts
        self.texts: dict[str, int] = {}
        self.targets: list[tuple[np.ndarray, np.ndarray]] = []
        self.of: dict[tuple[int, str, str], list[int]] = defaultdict(list)
        self.owners: dict[str, set[int]] = defaultdict(set)
        self.carriers: dict[str, set[int]] = defaultdict(set)
        for number, concept in enumerate(concepts):
            for lang in LANGUAGES:
                self.owners[concept.label[lang].lower()].add(number)
                for keyword in concept.keywords[lang]:
                    self.carriers[keyword.lower()].add(number)
        self.families: dict[str, set[int]] = defaultdict(set)
        for prefixes, names in THEMES.items():
            members = {number for number, concept in enumerate(concepts) if concept.subgroup.startswith(prefixes)}
            for lang in LANGUAGES:
                for name in names[lang]:
                    self.families[name] |= members
        for number, concept in enumerate(concepts):
            for lang in LANGUAGES:
                for name in concept.groups[lang]:
                    self.families[name].add(number)

    def weights(self, text: str) -> dict[int, float]:
        """The target of a label, a keyword or the name of a family."""
        owners = self.owners.get(text, set())
        carriers = (self.carriers.get(text, set()) | self.families.get(text, set())) - owners
        if not owners or not carriers:
            everyone = owners | carriers
            return dict.fromkeys(everyone, 1 / len(everyone))
        shared = dict.fromkeys(carriers, (1 - LABEL_SHARE) / len(carriers))
        return shared | dict.fromkeys(owners, LABEL_SHARE / len(owners))

    def add(self, text: str, weights: dict[int, float]) -> int:
        """Number of a caption; the first target given to a text stays."""
        if text not in self.texts:
            self.texts[text] = len(self.targets)
            members = np.array(sorted(weights), np.int64)
            self.targets.append((members, np.array([weights[m] for m in members], np.float32)))
        return self.texts[text]

    def add_concept(self, number: int, dice: random.Random) -> None:
        """All captions of one concept."""
        concept = self.concepts[number]
        for lang in LANGUAGES:
            label = concept.label[lang].lower()
            keywords = sorted({keyword.lower() for keyword in concept.keywords[lang]})
            self.of[number, lang, "label"] = [self.add(label, self.weights(label))]
            for word in [label, *dice.sample(keywords, min(3, len(keywords)))]:
                for template in dice.sample(TEMPLATES[lang], 4):
                    caption = self.add(template.format(word), self.weights(word))
                    self.of[number, lang, "template"].append(caption)
            self.of[number, lang, "keyword"] = [self.add(word, self.weights(word)) for word in keywords]
            for _ in range(PAIRS if len(keywords) > 1 else 0):
                first, second = dice.sample(keywords, 2)
                both = (self.carriers[first] | self.owners[first]) & (self.carriers[second] | self.owners[second])
                joined = f"{first} {second}" if lang == "en" else f"{first}{second}"
                self.of[number, lang, "pair"].append(self.add(joined, dict.fromkeys(both, 1 / len(both))))

    def add_families(self) -> None:
        """Names of groups and themes, each for every member."""
        for lang in LANGUAGES:
            for prefixes, names in THEMES.items():
                for concept, entry in enumerate(self.concepts):
                    if entry.subgroup.startswith(prefixes):
                        self.of[concept, lang, "group"] += [self.add(name, self.weights(name)) for name in names[lang]]
            for concept, entry in enumerate(self.concepts):
                self.of[concept, lang, "group"] += [self.add(name, self.weights(name)) for name in entry.groups[lang]]

    def learn_synonyms(self) -> None:
        """Words of another source are keywords too: those that are new, and those that mean much more there."""
        found: dict[str, set[int]] = defaultdict(set)
        for number, concept in enumerate(self.concepts):
            for word in map(str.lower, concept.synonyms):
                if WORD.fullmatch(word):
                    found[word].add(number)
        for word, members in found.items():
            known = sum(len(named.get(word, ())) for named in (self.owners, self.carriers, self.families))
            if not known or known < KEYWORD_CARRIERS <= len(members):
                self.carriers[word] |= members

    def add_text_phase(self, dice: random.Random) -> None:
        """English synonyms and plurals, phrases of words, and words with the name of a family ("wild animal")."""
        words = {number: sorted(self._words(number)) for number in range(len(self.concepts))}
        plurals = _single_tokens({f"{word}s" for found in words.values() for word in found if " " not in word})
        kinds = defaultdict(list)
        for name, members in self.families.items():
            noun = re.sub(r"^an? ", "", name)
            if WORD.fullmatch(noun) and " " not in noun:
                for number in members:
                    kinds[number].append((noun, members))
        for number, found in words.items():
            known = {keyword.lower() for keyword in self.concepts[number].keywords["en"]}
            synonyms = [word for word in found if word not in known]
            captions = [(word, self.weights(word)) for word in synonyms]
            captions += [(f"{word}s", self.weights(word)) for word in found if f"{word}s" in plurals]
            self.of[number, "en", "synonym"] = [self.add(*caption) for caption in captions]
            for word in dice.sample(found, min(6, len(found))):
                for phrase in dice.sample(PHRASES, 2):
                    caption = self.add(phrase.format(word), self.weights(word))
                    self.of[number, "en", "template"].append(caption)
                for noun, members in dice.sample(kinds[number], min(1, len(kinds[number]))):
                    both = members & (self.carriers[word] | self.owners[word])
                    caption = self.add(f"{word} {noun}", dict.fromkeys(both, 1 / len(both)))
                    self.of[number, "en", "pair"].append(caption)

    def _words(self, number: int) -> set[str]:
        """Keywords and synonyms that a concept carries."""
        concept = self.concepts[number]
        words = {word.lower() for word in (*concept.keywords["en"], *concept.synonyms)}
        return {word for word in words if number in self.carriers.get(word, set())}


def build_captions(concepts: list[Concept], seed: int = 0, *, text_phase: bool = False) -> Captions:
    """All captions of all concepts, tokenised as open_clip does; those of the text phase have further words."""
    dice = random.Random(seed)
    builder = CaptionBuilder(concepts)
    if text_phase:
        builder.learn_synonyms()
    for number in range(len(concepts)):
        builder.add_concept(number, dice)
    builder.add_families()
    if text_phase:
        builder.add_text_phase(dice)
    shares = KIND_SHARES_OF_TEXT_PHASE if text_phase else KIND_SHARES
    return Captions(tokenise(list(builder.texts)), builder.targets, dict(builder.of), builder.texts, shares)


def tokenise(texts: list[str]) -> np.ndarray:
    """Token ids, int64 (texts, MAX_TOKENS); longer texts are cut and still end with the end token."""
    tokeniser = open_clip.SimpleTokenizer(context_length=MAX_TOKENS)
    return tokeniser(texts).numpy()


def _single_tokens(words: set[str]) -> set[str]:
    """Those that CLIP has a token for, which only usual words have."""
    listed = sorted(words)
    return {word for word, row in zip(listed, tokenise(listed), strict=True) if np.count_nonzero(row) == 3}
