"""What tests of all kinds share: a small random model as a bundle."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

import pytest

from clip_installer.install.disk import STATE_VARIABLE

pytest.register_assert_rewrite("tests.behaviours")

TINY_CLIP = Path(__file__).parent / "models" / "tiny-clip.json"


def pytest_addoption(parser: pytest.Parser) -> None:
    """The one option that these tests add."""
    text = "Put what the commands of README and docs print into the pages, instead of comparing."
    parser.addoption("--write-outputs", action="store_true", help=text)


@pytest.fixture(autouse=True, scope="session")
def installers_state(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """Keep what install-udfs writes below /var/lib for root out of this machine; the commands that tests start too."""
    place = tmp_path_factory.mktemp("state")
    os.environ[STATE_VARIABLE] = str(place)
    yield place
    del os.environ[STATE_VARIABLE]


@pytest.fixture(scope="session")
def tiny_bundle(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A bundle of a two-layer CLIP with random weights, 512 dimensions, for both engines."""
    import torch

    from clip_installer.models.build import RANDOM, build_model

    torch.manual_seed(7)
    return build_model(str(TINY_CLIP), RANDOM, tmp_path_factory.mktemp("models") / "tiny", engine="both").directory


@pytest.fixture(scope="session")
def small_bundle(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A bundle of a one-layer CLIP with random weights, 256 dimensions."""
    import torch

    from clip_installer.models.build import RANDOM, build_model

    torch.manual_seed(8)
    config = TINY_CLIP.with_name("tiny-clip-256.json")
    return build_model(str(config), RANDOM, tmp_path_factory.mktemp("models") / "small").directory
