"""Weights that would silently produce wrong vectors are detected before anything is built."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import pytest
import torch

from clip_installer.cli import run
from clip_installer.commands.models.build_model import build_model
from clip_installer.errors import MissingExtra, ModelError
from clip_installer.models.build.source import activation
from clip_installer.models.build.source import model as sources
from clip_installer.models.build.source.activation import check_activation
from clip_installer.models.build.source.model import load_source
from clip_udfs.integrity import sha256
from tests.models.families import save

WRONG = (
    "ViT-B-32 computes GELU, but the tag 'openai' says QuickGELU: build ViT-B-32-quickgelu instead, or allow the "
    "mismatch with --any-activation"
)


def refusal(call: Callable[[], object]) -> str:
    with pytest.raises(ModelError) as caught:
        call()
    assert "\n" not in str(caught.value)
    return str(caught.value)


def test_a_tag_with_the_other_activation_is_refused_before_its_weights_are_downloaded(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr("open_clip.create_model", lambda *args, **options: pytest.fail("loaded"))
    assert refusal(lambda: load_source("ViT-B-32", "openai")) == WRONG


def checked(architecture: str, tag: str | None = None, file: Path | None = None, *, force: bool = False) -> list[str]:
    said: list[str] = []
    check_activation(architecture, tag, file, force=force, report=said.append)
    return said


def test_the_other_way_round() -> None:
    message = refusal(lambda: checked("ViT-B-32-quickgelu", "laion2b_s34b_b79k"))
    assert message.startswith("ViT-B-32-quickgelu computes QuickGELU, but the tag 'laion2b_s34b_b79k' says GELU: ")
    assert "build ViT-B-32 instead" in message


def test_a_mismatch_can_be_forced_and_is_then_reported() -> None:
    (line,) = checked("ViT-B-32", "openai", force=True)
    assert line == "ViT-B-32 computes GELU, but the tag 'openai' says QuickGELU; building anyway"


def test_a_matching_activation_is_not_reported() -> None:
    assert checked("ViT-B-32-quickgelu", "openai") == []
    assert checked("ViT-B-32", "laion2b_s34b_b79k") == []
    assert checked("ViT-B-32") == []  # random weights


def test_a_model_without_a_variant_of_the_other_activation_is_built_with_a_note() -> None:
    (line,) = checked("roberta-ViT-B-32", "laion2b_s12b_b32k")
    assert line.endswith("; building anyway")


@pytest.fixture
def checkpoint(tmp_path: Path) -> Path:
    """A file of weights of which nothing but the numbers is known."""
    return save(torch.nn.Linear(2, 2), tmp_path / "weights.safetensors")


def test_a_file_is_known_by_the_configuration_beside_it(checkpoint: Path) -> None:
    beside = checkpoint.with_name("open_clip_config.json")
    beside.write_text(json.dumps({"model_cfg": {"quick_gelu": True}}))
    assert f"but {beside} says QuickGELU: build ViT-B-32-quickgelu" in refusal(
        lambda: checked("ViT-B-32", None, checkpoint)
    )
    assert checked("ViT-B-32-quickgelu", None, checkpoint) == []


@pytest.mark.parametrize("content", ["", "[]", "{}", '{"model_cfg": 1}'])
def test_a_configuration_that_cannot_be_read_is_named(checkpoint: Path, content: str) -> None:
    beside = checkpoint.with_name("open_clip_config.json")
    beside.write_text(content)
    assert str(beside) in refusal(lambda: checked("ViT-B-32", None, checkpoint))


def test_a_file_that_open_clip_downloads_is_known_by_its_content(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "renamed.pt"
    path.write_bytes(b"weights")
    assert "does not say" in checked("ViT-B-32", None, path)[0]
    monkeypatch.setattr(activation, "downloads", lambda: iter([("ViT-B-32", "openai", sha256(path)[:8])]))
    message = refusal(lambda: checked("ViT-B-32", None, path))
    assert f"but the content of {path}, which is ViT-B-32/openai, says QuickGELU" in message


def test_open_clip_s_own_downloads_are_known() -> None:
    """open_clip's URLs for them contain their SHA-256 or its beginning."""
    marks = {(architecture, tag): mark for architecture, tag, mark in activation.downloads()}
    assert marks["ViT-B-32", "openai"].startswith("40d365715913c9da")
    assert marks["ViT-B-32", "laion400m_e32"] == "46683a32"


def test_the_assumption_about_an_unknown_file_is_reported(checkpoint: Path) -> None:
    (line,) = checked("ViT-B-32", None, checkpoint)
    assert "does not say whether its weights were trained with GELU or with QuickGELU" in line
    assert line.endswith("assuming GELU; for QuickGELU, build ViT-B-32-quickgelu")
    assert checked("ViT-B-16-SigLIP", None, checkpoint) == []  # there is no other


def test_similar_names_are_suggested() -> None:
    assert "no architecture 'vit-b-32' (did you mean ViT-B-32 or " in refusal(lambda: load_source("vit-b-32", "openai"))
    message = refusal(lambda: load_source("ViT-B-32-quickgelu", "open_ai"))
    assert "pretrained tag of ViT-B-32-quickgelu (did you mean openai?) (its tags: openai, " in message
    message = refusal(lambda: load_source("ViT-S-32", "laion400m_e32"))
    assert "(it has no tags; ViT-B-32, " in message
    assert message.endswith(" has that tag)")
    assert "did you mean" not in refusal(lambda: load_source("something else", "openai"))


def test_a_hugging_face_model_names_the_extra_that_it_needs(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sources, "find_spec", lambda name: None)
    with pytest.raises(MissingExtra) as caught:
        load_source("xlm-roberta-base-ViT-B-32", "random")
    assert str(caught.value) == (
        "xlm-roberta-base-ViT-B-32, which uses xlm-roberta-base from Hugging Face, needs the Python package "
        "transformers: pip install 'clickhouse-clip-udfs[hf]'"
    )


def test_the_command_says_it_and_leaves_nothing_behind(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    output = tmp_path / "bundle"
    with pytest.raises(SystemExit) as ended:
        run(build_model, "clip-udfs", ["--model", "ViT-B-32", "--pretrained", "openai", "--output", str(output)])
    assert ended.value.code == 1
    assert WRONG in capsys.readouterr().err
    assert list(tmp_path.iterdir()) == []
