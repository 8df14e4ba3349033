"""A few steps of the training on tiny synthetic images: it resumes, and open_clip can load the result."""

import json
import logging
import subprocess
import sys
from pathlib import Path

import click
import numpy as np
import open_clip
import pytest
import torch
from click.testing import CliRunner

from training import evaluate, refine, train
from training.captions import build_captions
from training.concepts import Concept, write_concepts
from training.losses import multi_positive
from training.metrics import keyword_precision, recall_at
from training.model import register_config

ROOT = Path(__file__).resolve().parents[2]
SHAPES = ("square", "bar", "frame", "cross", "dot", "stripe")


def concepts() -> list[Concept]:
    """Six shapes that share the keyword "thing"."""
    return [
        Concept(
            hexcode=f"1F60{number}",
            emoji=chr(0x1F600 + number),
            label={"en": name, "zh": f"形{number}"},
            keywords={"en": ["thing", "square"], "zh": ["东西"]},
            groups={"en": ["shapes", "geometric"], "zh": ["形状", "几何"]},
            subgroup="geometric",
            synonyms=["figure", "thing", f"{name}-like"],
        )
        for number, name in enumerate(SHAPES)
    ]


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """What `training.fetch` would write: 24 random pictures for training, a gallery of six."""
    folder = tmp_path_factory.mktemp("data")
    dice = np.random.default_rng(0)
    write_concepts(concepts(), folder / "concepts.json")
    pictures = dice.integers(0, 256, (24, 96, 96, 4), dtype=np.uint8)
    np.save(folder / "pictures.npy", np.minimum(pictures, pictures[..., 3:]))
    np.savez(
        folder / "pictures.npz",
        style=np.arange(24, dtype=np.int16) % 2,
        concept=np.arange(24, dtype=np.int16) % 6,
        manner=np.arange(24, dtype=np.int8) % 3,
        usable=np.ones(24, bool),
    )
    gallery = dice.integers(0, 256, (6, 112, 112, 3), dtype=np.uint8)
    np.savez(folder / "gallery-fxemoji.npz", pictures=gallery, concept=np.arange(6, dtype=np.int16))
    return folder


def run(command: click.Command, *arguments: str) -> str:
    """Run a training command in this process; answers what it printed."""
    result = CliRunner().invoke(command, arguments, catch_exceptions=False)
    assert result.exit_code == 0, result.output
    return result.stdout


def train_apart(*arguments: str) -> None:
    """Train in processes of their own, as several workers do."""
    command = [sys.executable, "-m", "training.train", *arguments, "--workers", "2"]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr


def test_a_few_steps_train_resume_refine_and_evaluate(
    data: Path, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO)
    checkpoint = tmp_path / "out" / "emoji-clip.safetensors"
    common = ("--data", str(data), "--run", str(tmp_path / "run"), "--output", str(checkpoint))
    train_apart(*common, "--steps", "2", "--every", "2", "--batch", "8")
    assert checkpoint.exists()
    run(train.main, *common, "--steps", "3", "--every", "3", "--batch", "8", "--workers", "1")
    assert "going on at step 2" in caplog.text
    assert "step 3 fxemoji zh recall_1=" in caplog.text
    before = checkpoint.read_bytes()
    run(refine.main, *common, "--steps", "2", "--rounds", "1", "--threads", "1")
    assert checkpoint.read_bytes() != before
    found = json.loads(run(evaluate.main, "--data", str(data), "--checkpoint", str(checkpoint)))
    assert found["pictures"] == 6
    assert 0 <= found["en"]["recall_1"] <= found["en"]["recall_5"] <= found["en"]["recall_10"] == 100

    model = open_clip.create_model(register_config(), pretrained=str(checkpoint)).eval()
    with torch.no_grad():
        vectors = model.encode_text(open_clip.SimpleTokenizer()(["square", "thing", "figure", "zebra", "violin"]))
    assert vectors.shape == (5, 512)
    assert not torch.equal(vectors[2], vectors[3]), "a word of the text phase is known"
    assert torch.equal(vectors[3], vectors[4]), "words that never occurred are one"
    rows = torch.unique(model.token_embedding.weight, dim=0)
    assert len(rows) < 1000, "tokens that never occur share one row"


def test_a_caption_never_counts_what_it_also_names_as_wrong() -> None:
    captions = build_captions(concepts())
    members, weights = captions.targets[captions.number["square"]]
    assert dict(zip(members.tolist(), weights.round(3).tolist(), strict=True)) == pytest.approx(
        {0: 0.7} | dict.fromkeys(range(1, 6), 0.06)
    )
    assert captions.target_matrix(np.array([captions.number["thing"]]), 6) == pytest.approx(np.full((1, 6), 1 / 6))


def test_the_text_phase_learns_words_that_were_not_known_and_leaves_the_others_as_they_were() -> None:
    before, after = build_captions(concepts()), build_captions(concepts(), text_phase=True)
    assert "figure" not in before.number
    everyone, one = after.targets[after.number["figure"]], after.targets[after.number["cross-like"]]
    assert (everyone[0].tolist(), one[0].tolist()) == ([0, 1, 2, 3, 4, 5], [3])
    for text, number in before.number.items():
        assert after.number[text] == number
        assert [part.tolist() for part in after.targets[number]] == [part.tolist() for part in before.targets[number]]
    assert any("figure" in text.split() and text != "figure" for text in after.number), "phrases have it too"
    drawn = after.sample_evenly(5000, np.random.default_rng(0), chinese=0.5)
    assert {after.number["figure"], after.number["cross-like"]} <= set(drawn.tolist())


def test_pictures_that_fit_the_same_caption_are_no_rivals() -> None:
    images = torch.eye(4)[[0, 0, 1, 2]]
    targets = torch.tensor([[1.0, 0, 0], [1.0, 0, 0], [0, 1.0, 0], [0, 0, 1.0]])
    right = multi_positive(images, images, targets, torch.tensor([0, 0, 1, 2]), torch.tensor(50.0))
    assert right == pytest.approx(np.log(2) / 2, abs=1e-3), "two of four rows have two equal answers"


def test_recall_and_keyword_precision_of_a_known_ranking() -> None:
    similarity = np.array([[0.9, 0.1, 0.5], [0.8, 0.7, 0.1], [0.3, 0.2, 0.1]], np.float32)
    assert recall_at(similarity, np.arange(3), 1) == pytest.approx(1 / 3)
    assert recall_at(similarity, np.arange(3), 2) == pytest.approx(2 / 3)
    assert keyword_precision(similarity, [{0, 2}, {2}, {0}], depth=2) == pytest.approx((1 + 0 + 0.5) / 3)
