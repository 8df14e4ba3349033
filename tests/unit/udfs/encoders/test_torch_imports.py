"""What a worker with the torch engine lets open_clip import."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from types import ModuleType, SimpleNamespace

import pytest

from clip_udfs.encoders.torch import leave_out_unused

PACKAGES = ("timm", "transformers")


@pytest.mark.parametrize(
    ("vision", "text", "needed"),
    [
        ({"layers": 12}, {"layers": 12}, set()),
        ({"timm_model_name": "vit_base_patch16_siglip_224"}, {"hf_tokenizer_name": "x"}, {"timm"}),
        ({"layers": 12}, {"hf_model_name": "xlm-roberta-base"}, {"transformers"}),
        ({"timm_model_name": "x"}, {"hf_model_name": "y"}, {"timm", "transformers"}),
    ],
)
def test_only_what_the_towers_are_made_of_can_be_imported(
    vision: dict[str, object],
    text: dict[str, object],
    needed: set[str],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    config = tmp_path / "config.json"
    config.write_text(json.dumps({"model_cfg": {"vision_cfg": vision, "text_cfg": text}}))
    for package in PACKAGES:
        monkeypatch.setitem(sys.modules, package, ModuleType(package))
    leave_out_unused(SimpleNamespace(file=lambda name: config))
    assert {package for package in PACKAGES if sys.modules[package]} == needed
