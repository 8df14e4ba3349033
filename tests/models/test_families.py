"""Every family of models that open_clip holds is built, exported, and gives open_clip's vectors with both engines."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
import torch
from torch import nn

from clip_installer.errors import ModelError
from clip_installer.models.build import build_model
from clip_installer.models.source import opened_model
from tests.models.families import FAMILIES, Family, measure, page_rows, write_config

pytestmark = pytest.mark.filterwarnings("ignore")  # timm's, torch's and the exporter's about one another
BY_NAME = {family.name: family for family in FAMILIES}


@pytest.mark.parametrize("family", FAMILIES, ids=lambda family: family.name)
def test_a_family_gives_open_clip_s_vectors(family: Family, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    result = measure(family, tmp_path)
    for engine, towers in result.engines.items():
        for tower, parity in towers.items():
            assert parity.min_cosine > 0.99999, (engine, tower)
            assert parity.max_difference < 1e-4, (engine, tower)
    assert facts(result.row(family)) == facts(page_rows()[family.name])


def facts(row: str) -> str:
    """A row of the table without the digits that differ from machine to machine."""
    return re.sub(r"\d\.?\d*e-\d+|[01]\.\d{7}", "…", row)


def test_the_page_names_the_families_that_are_tested() -> None:
    assert list(page_rows()) == [family.name for family in FAMILIES]


class Undecided(nn.LayerNorm):
    """A layer that looks at the numbers before it decides what to compute, which no graph can express."""

    def forward(self, hidden: torch.Tensor) -> torch.Tensor:
        return super().forward(hidden) * 2 if hidden.abs().sum() > 0 else hidden


def test_what_cannot_be_exported_is_built_for_the_torch_engine(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    import open_clip

    config = write_config(BY_NAME["ViT, GELU"], tmp_path)
    create = open_clip.create_model

    def with_a_branch(*args: object, **options: object) -> nn.Module:
        model = create(*args, **options)
        model.visual.ln_pre.__class__ = Undecided
        return model

    monkeypatch.setattr(open_clip, "create_model", with_a_branch)
    monkeypatch.setattr("open_clip.factory.create_model", with_a_branch)
    said: list[str] = []
    bundle = build_model(str(config), "random", tmp_path / "bundle", report=said.append)
    (line,) = [line for line in said if "cannot be exported" in line]
    assert line.startswith("the image tower cannot be exported to ONNX (")
    assert line.endswith("): building the bundle for the torch engine")
    assert "\n" not in line
    assert not [name for name in bundle.manifest.files if ".onnx" in name]
    assert "torch/open_clip_model.safetensors" in bundle.manifest.files
    with opened_model(str(bundle.directory), "torch") as opened:
        assert opened.manifest == bundle.manifest
    alone = "supports only the torch engine: install it with --engine torch"
    with pytest.raises(ModelError, match=alone), opened_model(str(bundle.directory), "onnx"):
        pass
    with pytest.raises(ModelError, match=r"the image tower cannot be exported to ONNX .* with --engine torch"):
        build_model(str(config), "random", tmp_path / "other", engine="onnx")
    assert not (tmp_path / "other").exists()
