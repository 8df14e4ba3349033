"""A bundle's vectors equal open_clip's with the same weights, at the size that LAION was made with."""

from __future__ import annotations

import random
from io import BytesIO
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from clip_installer.models.build import RANDOM, build_model
from clip_installer.models.build.source.model import SourceModel, load_source
from clip_udfs.bundle import Bundle
from clip_udfs.encoders import open_encoder
from clip_udfs.images.preprocessing import decode
from clip_udfs.settings import WorkerSettings
from clip_udfs.text.tokenizer import Tokenizer
from tests.models.pictures import corpus

ARCHITECTURE = "ViT-B-32-quickgelu"
pytestmark = pytest.mark.filterwarnings("ignore:Palette images with Transparency")


@pytest.fixture(scope="module")
def source() -> SourceModel:
    import torch

    torch.manual_seed(11)
    return load_source(ARCHITECTURE, RANDOM)


@pytest.fixture(scope="module")
def bundle(source: SourceModel, tmp_path_factory: pytest.TempPathFactory) -> Bundle:
    """Built from a checkpoint file of ``source``'s weights, as a user builds a fine-tuned model."""
    from safetensors.torch import save_file

    place = tmp_path_factory.mktemp("vit")
    save_file(
        {name: tensor.contiguous() for name, tensor in source.model.state_dict().items()},
        place / "weights.safetensors",
    )
    return build_model(ARCHITECTURE, str(place / "weights.safetensors"), place / "bundle")


def texts(count: int) -> list[str]:
    """Captions of every length from none to far beyond the context, in several scripts, with markup and mojibake."""
    words = (
        "a photo of",
        "cat",
        "DOG",
        "Straße",
        "naïve",
        "猫と犬",
        "一只狗",
        "кошка",
        "😀",
        "&amp;",
        "<b>x</b>",
        "12,345.6",
        "it's",
        "http://example.org/a.jpg?x=1",
        "cafÃ©",
        "...",
        "\t",
        "\n",
        "ﬁne",
        "“quoted”",
        "$19.99",
        "antidisestablishment",
    )
    choose = random.Random(5)
    return ["", " ", *(" ".join(choose.choices(words, k=choose.randint(1, 60))) for _ in range(count - 2))]


def assert_equal(ours: np.ndarray, theirs: np.ndarray) -> None:
    ours = ours / np.linalg.norm(ours, axis=1, keepdims=True)
    assert (ours * theirs).sum(axis=1).min() > 0.99999
    assert np.abs(ours - theirs).max() < 1e-4
    assert np.std(theirs, axis=0).max() > 1e-3, "the rows must differ for this to mean anything"


def test_texts(source: SourceModel, bundle: Bundle) -> None:
    tokenizer = Tokenizer(bundle.file("tokenizer.json"), bundle.manifest.text)
    encoder = open_encoder(WorkerSettings(bundle.directory), bundle, "text")
    values = texts(80)
    tokens = tokenizer(values)
    order = sorted(range(len(values)), key=lambda index: len(tokens[index]))
    for start in range(0, len(order), 64):
        chosen = order[start : start + 64]
        ours = encoder.encode(tokenizer.pad([tokens[index] for index in chosen]))
        assert_equal(ours, source.encode_texts([values[index] for index in chosen]).numpy())


def test_pictures(source: SourceModel, bundle: Bundle) -> None:
    encoder = open_encoder(WorkerSettings(bundle.directory), bundle, "image")
    contents = list(corpus().values())[::3]
    assert len(contents) == 40
    for start in range(0, len(contents), 20):
        chosen = contents[start : start + 20]
        pixels = np.stack([decode(content, bundle.manifest.image, 1 << 24) for content in chosen])
        theirs = source.encode_images([Image.open(BytesIO(content)) for content in chosen]).numpy()
        assert_equal(encoder.encode(pixels), theirs)


def test_the_bundle_carries_no_path_of_the_machine_that_built_it(bundle: Bundle) -> None:
    for name in ("text.onnx", "image.onnx", "manifest.json"):
        content = (bundle.directory / name).read_bytes()
        assert str(Path.cwd()).encode() not in content
        assert b"site-packages" not in content
