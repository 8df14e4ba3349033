"""Golden values of a bundle: a text and a picture with the vectors that open_clip gave them."""

from __future__ import annotations

import base64
import json
import math
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from clip_udfs.bundle import GOLDEN
from clip_udfs.errors import BundleError

MIN_COSINE = 0.9999


@dataclass(frozen=True)
class Golden:
    """One text and one picture with their vectors.

    Attributes:
        text: The text.
        text_vector: Its unit vector.
        picture: Content of the picture's file.
        picture_vector: Its unit vector.
    """

    text: str
    text_vector: tuple[float, ...]
    picture: bytes
    picture_vector: tuple[float, ...]

    @classmethod
    def of(cls, bundle: Path) -> Golden:
        """Read the first golden text and picture of the bundle at ``bundle``.

        Raises:
            BundleError: The bundle has none.
        """
        try:
            values = json.loads((bundle / GOLDEN).read_bytes())
            text, picture = values["texts"][0], values["images"][0]
            return cls(
                text["text"],
                tuple(text["vector"]),
                base64.b64decode(picture["png_base64"]),
                tuple(picture["vector"]),
            )
        except (OSError, ValueError, KeyError, IndexError, TypeError) as error:
            raise BundleError(f"bundle {bundle} has no golden vectors: {error}; build it again") from error


def difference(vector: Sequence[float], golden: Sequence[float], *, normalized: bool) -> str | None:
    """What is wrong with ``vector`` where ``golden`` is right, in words; None where nothing is."""
    if len(vector) != len(golden):
        return f"{len(vector)} numbers instead of {len(golden)}"
    norm = math.sqrt(math.fsum(value * value for value in vector))
    if not math.isfinite(norm) or norm == 0 or (normalized and abs(norm - 1) > 1e-3):
        return f"a vector of length {norm:.4f} instead of 1"
    golden_norm = math.sqrt(math.fsum(value * value for value in golden))
    cosine = math.fsum(a * b for a, b in zip(vector, golden, strict=True)) / (norm * golden_norm)
    if cosine < MIN_COSINE:
        return f"a vector whose cosine with the model's own is {cosine:.5f}, below {MIN_COSINE}"
    return None
