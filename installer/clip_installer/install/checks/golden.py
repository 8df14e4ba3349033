"""Golden values of a bundle: a few texts and images with the model's vectors."""

from __future__ import annotations

import base64
import json
import math
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from clip_udfs.errors import BundleError, one_line
from clip_udfs.integrity import read_regular
from clip_udfs.manifest import FLOAT32, GOLDEN, INT8, MANIFEST, Manifest

# Quantised towers used to scale the activations of a batch together, so a vector may depend a little on its neighbours.
MIN_COSINE = {FLOAT32: 0.9999, INT8: 0.99}
_NORM_TOLERANCE = 1e-3
_SHOWN = 40
_MOST_BYTES = 32 << 20


@dataclass(frozen=True)
class Sample:
    """One golden value.

    Attributes:
        name: What a message calls it.
        value: The function's argument: a text in UTF-8, or the content of an image file.
        vector: The model's unit vector for it.
        min_cosine: The smallest accepted cosine with it.
    """

    name: str
    value: bytes
    vector: tuple[float, ...]
    min_cosine: float = MIN_COSINE[FLOAT32]


@dataclass(frozen=True)
class Golden:
    """The golden texts and images of a bundle, at least one of each."""

    texts: tuple[Sample, ...]
    pictures: tuple[Sample, ...]

    @classmethod
    def of(cls, bundle: Path) -> Golden:
        """Read the golden values of the bundle at ``bundle``.

        Raises:
            BundleError: It has none, or none of its own dimension.
        """
        try:
            values = json.loads(read_regular(bundle / GOLDEN, _MOST_BYTES))
            content = read_regular(bundle / MANIFEST, _MOST_BYTES)
            manifest = Manifest.from_json(content, str(bundle / MANIFEST))
            least = MIN_COSINE[manifest.precision]
            texts = tuple(_text(entry, least) for entry in values["texts"])
            pictures = tuple(_picture(number, entry, least) for number, entry in enumerate(values["images"], 1))
        except (OSError, ValueError, KeyError, TypeError, AttributeError, OverflowError, RecursionError) as error:
            raise BundleError(f"bundle {bundle} has no golden vectors: {one_line(error)}; build it again") from error
        if not texts or not pictures:
            raise BundleError(f"bundle {bundle} has no golden vectors of a text and an image; build it again")
        for sample in (*texts, *pictures):
            if len(sample.vector) != manifest.dimension:
                raise BundleError(
                    f"bundle {bundle}: its golden vector of {sample.name} has {len(sample.vector)} numbers, its"
                    f" manifest says {manifest.dimension}; build it again"
                )
        return cls(texts, pictures)


def deviation(answers: Sequence[Sequence[float]], samples: Sequence[Sample], *, normalized: bool) -> str | None:
    """What is wrong with ``answers``, a function's vectors for ``samples``; None if nothing is."""
    if len(answers) != len(samples):
        return f"{len(answers)} answers for {len(samples)} values"
    wrong = [
        f"{said} for {sample.name}"
        for vector, sample in zip(answers, samples, strict=True)
        if (said := difference(vector, sample.vector, normalized=normalized, least=sample.min_cosine))
    ]
    if not wrong:
        return None
    return wrong[0] if len(samples) == 1 else f"{wrong[0]} ({len(wrong)} of {len(samples)} golden values differ)"


def difference(
    vector: Sequence[float],
    golden: Sequence[float],
    *,
    normalized: bool,
    least: float = MIN_COSINE[FLOAT32],
) -> str | None:
    """What is wrong with ``vector``, whose cosine with ``golden`` must be at ``least``; None if nothing is."""
    if len(vector) != len(golden):
        return f"{len(vector)} numbers instead of {len(golden)}"
    norm = _norm(vector)
    if not math.isfinite(norm) or norm == 0 or (normalized and abs(norm - 1) > _NORM_TOLERANCE):
        return f"a vector of length {norm:.4f} instead of 1"
    cosine = math.fsum(a * b for a, b in zip(vector, golden, strict=True)) / (norm * _norm(golden))
    if cosine < least:
        return f"a vector whose cosine with the model's own is {cosine:.5f}, below {least},"
    return None


def precision_loss(manifest: Manifest) -> str | None:
    """How close a quantised bundle's vectors are to the model's in float32, in words; None for any other bundle."""
    if manifest.precision == FLOAT32:
        return None
    cosines = " and ".join(f"{cosine:.4f} ({tower})" for tower, cosine in manifest.cosine.items())
    return f"{manifest.precision}: its vectors had a cosine of {cosines} or more with {FLOAT32} when it was built"


def _text(entry: Any, least: float) -> Sample:
    text = entry["text"]
    shown = text if len(text) <= _SHOWN else f"{text[:_SHOWN]}…"
    return Sample(f"the text {shown!r}", text.encode(), _vector(entry), least)


def _picture(number: int, entry: Any, least: float) -> Sample:
    return Sample(f"golden image {number}", base64.b64decode(entry["png_base64"]), _vector(entry), least)


def _vector(entry: Any) -> tuple[float, ...]:
    vector = tuple(float(number) for number in entry["vector"])
    if not abs(_norm(vector) - 1) < _NORM_TOLERANCE:
        raise ValueError(f"one of them has the length {_norm(vector):.4f} instead of 1")
    return vector


def _norm(vector: Sequence[float]) -> float:
    return math.sqrt(math.fsum(value * value for value in vector))
