"""GELU or QuickGELU: a checkpoint's tensors do not reveal which one it was trained with.

With the wrong activation, a model loads without complaint and produces subtly wrong vectors.
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Iterator
from pathlib import Path

from clip_installer.errors import ModelError
from clip_installer.models.build.source.weights import FOLDER_CONFIG
from clip_udfs.integrity import sha256

_TWIN = "-quickgelu"
# open_clip's URLs of older weights contain their SHA-256 or a prefix of it.
_HASH_IN_ADDRESS = re.compile(r"/([0-9a-f]{64})/|-([0-9a-f]{8})\.pt$")


def check_activation(
    architecture: str, tag: str | None, file: Path | None, *, force: bool, report: Callable[[str], None]
) -> None:
    """Compare the activation of an architecture with the one that its weights were trained with.

    The training activation comes from the tag, from the ``open_clip_config.json`` next to a file, or from the SHA-256
    of a file that open_clip downloads. If it is unknown and open_clip has both variants, that is reported.

    Args:
        architecture: open_clip's name, already registered.
        tag: The requested tag; None for a file alone.
        file: The checkpoint; None for random weights.
        force: Report a mismatch instead of refusing it.
        report: Called with one line about anything that may be wrong.

    Raises:
        ModelError: The activations differ, and open_clip has the architecture with the other one.
    """
    import open_clip

    if tag is None and file is None:
        return
    computed = _is_quick(open_clip.get_model_config(architecture))
    twin = _twin(architecture)
    trained, said_by = _trained(architecture, tag, file)
    if trained is None and twin is not None:
        report(
            f"{file} does not say whether its weights were trained with GELU or with QuickGELU (like OpenAI's and "
            f"models derived from them): assuming {_named(computed)}; for {_named(not computed)}, build {twin}"
        )
    if trained in (None, computed):
        return
    wrong = f"{architecture} computes {_named(computed)}, but {said_by} says {_named(not computed)}"
    if not force and twin is not None:
        raise ModelError(f"{wrong}: build {twin} instead, or allow the mismatch with --any-activation")
    report(f"{wrong}; building anyway")


def _trained(architecture: str, tag: str | None, file: Path | None) -> tuple[bool | None, str]:
    """Whether the weights were trained with QuickGELU, and the source of that fact; None if it is unknown."""
    import open_clip

    if tag is not None:
        return _is_quick(open_clip.get_pretrained_cfg(architecture, tag)), f"the tag {tag!r}"
    assert file is not None
    beside = file.with_name(FOLDER_CONFIG)
    if beside.is_file():
        try:
            return _is_quick(json.loads(beside.read_bytes())["model_cfg"]), str(beside)
        except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
            raise ModelError(f"{beside} is not a valid open_clip configuration: fix or remove it") from error
    if file.suffix == ".pt":
        digest = sha256(file)
        for name, known, mark in downloads():
            if digest.startswith(mark):
                quick = _is_quick(open_clip.get_pretrained_cfg(name, known))
                return quick, f"the content of {file}, which is {name}/{known},"
    return None, ""


def downloads() -> Iterator[tuple[str, str, str]]:
    """Architecture, tag and SHA-256 (or a prefix) of each checkpoint whose URL in open_clip contains it."""
    import open_clip

    for architecture, tag in open_clip.list_pretrained():
        for whole, beginning in _HASH_IN_ADDRESS.findall(open_clip.get_pretrained_cfg(architecture, tag)["url"]):
            yield architecture, tag, whole or beginning


def _is_quick(config: dict[str, object]) -> bool:
    return bool(config.get("quick_gelu", False))


def _named(quick: bool) -> str:
    return "QuickGELU" if quick else "GELU"


def _twin(architecture: str) -> str | None:
    """The same architecture with the other activation, if open_clip has it."""
    import open_clip

    twin = architecture.removesuffix(_TWIN) if architecture.endswith(_TWIN) else architecture + _TWIN
    return twin if twin in open_clip.list_models() else None
