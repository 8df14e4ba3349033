"""What ``--model`` may name."""

from __future__ import annotations

from pathlib import Path

import pytest

from clip_installer.errors import ModelError
from clip_installer.models import build as model_builder
from clip_installer.models.source import opened_model
from clip_udfs.bundle import Bundle
from tests.server_trees import make_bundle


def test_a_directory_or_a_built_in_model(tmp_path: Path) -> None:
    make_bundle(tmp_path / "mine", name="mine")
    with opened_model(str(tmp_path / "mine"), "onnx") as mine, opened_model("emoji", "onnx") as emoji:
        assert (mine.manifest.name, emoji.manifest.name) == ("mine", "emoji")
    with pytest.raises(ModelError, match="nothing: no such bundle directory"), opened_model("nothing", "onnx"):
        pass


@pytest.mark.parametrize("engine", ["onnx", "torch"])
def test_a_model_that_is_built_first_is_built_for_the_engine(monkeypatch: pytest.MonkeyPatch, engine: str) -> None:
    asked = []

    def build(architecture: str, pretrained: str, output: Path, **options: object) -> Bundle:
        asked.append((architecture, pretrained, options["engine"]))
        return make_bundle(output)

    monkeypatch.setattr(model_builder, "build_model", build)
    with opened_model("ViT-B-32/openai", engine) as bundle:
        scratch = bundle.directory
        assert scratch.is_dir()
    assert asked == [("ViT-B-32", "openai", engine)]
    assert not scratch.exists()
