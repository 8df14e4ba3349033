"""The model in the wheel can be rebuilt from the checkpoint in the repository, and equals open_clip's."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray

from clip_installer import resources
from clip_installer.models.build import build_model
from clip_installer.models.build.parity import TEXTS, distance, golden_pictures
from clip_installer.models.build.source.model import load_source
from clip_udfs.bundle import Bundle
from clip_udfs.encoders import open_encoder
from clip_udfs.images.preprocessing import decode
from clip_udfs.integrity import vouched
from clip_udfs.settings import WorkerSettings
from clip_udfs.text.tokenizer import Tokenizer

TRAINING = Path(__file__).parents[2] / "training"
MODEL = str(TRAINING / "emoji_clip.json")
CHECKPOINT = str(TRAINING / "checkpoint/emoji-clip.safetensors")
WORDS = (*TEXTS, "cat", "猫", "something to eat", "下雨", "a red heart", "king", "zebra crossing 123")


@pytest.fixture(scope="module")
def shipped() -> Bundle:
    return Bundle.open(resources.builtin_models() / "emoji")


def vectors(bundle: Bundle) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
    settings = WorkerSettings(bundle.directory)
    tokenizer = Tokenizer(bundle.file("tokenizer.json"), bundle.manifest.text)
    texts = open_encoder(settings, bundle, "text").encode(tokenizer.pad(tokenizer(WORDS)))
    pixels = np.stack([decode(content, bundle.manifest.image, 1 << 24) for content in golden_pictures()])
    return texts, open_encoder(settings, bundle, "image").encode(pixels)


def test_the_shipped_bundle_is_whole_small_and_says_that_it_is_a_demo(shipped: Bundle) -> None:
    with vouched(shipped.records(*shipped.manifest.files)):
        pass
    assert sum(record.bytes for record in shipped.manifest.files.values()) < 20e6
    assert "demo model" in shipped.manifest.notice
    assert shipped.manifest.dimension == 512


def test_rebuilt_from_the_checkpoint_it_is_the_same(shipped: Bundle, tmp_path: Path) -> None:
    rebuilt = build_model(MODEL, CHECKPOINT, tmp_path / "emoji")
    for ours, theirs in zip(vectors(rebuilt), vectors(shipped), strict=True):
        assert np.abs(ours - theirs).max() < 1e-5


def test_open_clip_gives_the_same_vectors_from_the_checkpoint(shipped: Bundle) -> None:
    source = load_source(MODEL, CHECKPOINT)
    texts, _ = vectors(shipped)
    parity = distance(texts, source.encode_texts(list(WORDS)).numpy())
    assert parity.min_cosine > 0.99999
    assert parity.max_difference < 1e-5
