"""The verdict of check-model, from the numbers."""

from __future__ import annotations

from dataclasses import replace

import pytest

from clip_installer.tables.comparison import Comparison, judge

CAPTIONS = Comparison("captions", 100, 512, 512, 0.9999, 0.999, 1.0, 1.0)
PICTURES = replace(CAPTIONS, kind="images")


@pytest.mark.parametrize(
    ("changed", "code", "said"),
    [
        ({}, "same", "same model (cosine 0.9999)"),
        ({"median_cosine": 0.031}, "different", "not the same model (captions: cosine 0.03)"),
        ({"median_cosine": -0.2}, "different", "not the same model (captions: cosine -0.20)"),
        ({"stored_dimension": 768}, "different", "the table's vectors have 768 numbers, the functions' 512"),
        ({"stored_norm": 9.57}, "not_normalised", "vectors of length 9.570, the functions give 1.000"),
        ({"stored_norm": 1.004}, "same", "same model"),
    ],
)
def test_the_three_cases_are_told_apart(changed: dict[str, float], code: str, said: str) -> None:
    verdict = judge((replace(CAPTIONS, **changed),))
    assert verdict.code == code
    assert said in verdict.text


def test_pictures_may_have_been_compressed_again_since_but_captions_are_exact() -> None:
    assert judge((CAPTIONS, replace(PICTURES, median_cosine=0.97))).text == "same model (cosine 0.9700)"
    assert judge((CAPTIONS, replace(PICTURES, median_cosine=0.9))).code == "different"
    assert judge((replace(CAPTIONS, median_cosine=0.97), PICTURES)).code == "different"
