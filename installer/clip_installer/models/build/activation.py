"""GELU or QuickGELU: what the numbers of a checkpoint do not say.

With the wrong one a model loads without complaint and gives vectors that are quietly wrong.
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Iterator
from pathlib import Path

from clip_installer.errors import ModelError
from clip_installer.models.build.weights import FOLDER_CONFIG
from clip_udfs.bundle import sha256

_TWIN = "-quickgelu"
# open_clip's addresses of the older weights carry their SHA-256, or the beginning of it.
_HASH_IN_ADDRESS = re.compile(r"/([0-9a-f]{64})/|-([0-9a-f]{8})\.pt$")


def check_activation(
    architecture: str, tag: str | None, file: Path | None, *, force: bool, report: Callable[[str], None]
) -> None:
    """Compare the activation that an architecture computes with the one that its weights were trained with.

    The tag says that, or the ``open_clip_config.json`` beside a file, or that the file is one that open_clip
    downloads. Where nobody says it, and open_clip has the architecture with either, that is reported.

    Args:
        architecture: open_clip's name, already registered.
        tag: The tag that the weights were asked for by; None for a file alone.
        file: The checkpoint; None for random weights.
        force: Report what is wrong instead of refusing it.
        report: Called with a line where something may be wrong.

    Raises:
        ModelError: They differ, and open_clip has the architecture with the other activation.
    """
    import open_clip

    if tag is None and file is None:
        return
    computed = _is_quick(open_clip.get_model_config(architecture))
    twin = _twin(architecture)
    trained, said_by = _trained(architecture, tag, file)
    if trained is None and twin is not None:
        report(
            f"{file} does not say whether its weights were trained with GELU or QuickGELU, as OpenAI's were and what "
            f"was made from them: taken for {_named(computed)}; for {_named(not computed)} build {twin}"
        )
    if trained in (None, computed):
        return
    wrong = f"{architecture} computes {_named(computed)}, but {said_by} says {_named(not computed)}"
    if not force and twin is not None:
        raise ModelError(f"{wrong}: build {twin} instead, or allow it with --any-activation")
    report(f"{wrong}; built all the same")


def _trained(architecture: str, tag: str | None, file: Path | None) -> tuple[bool | None, str]:
    """Whether the weights were trained with QuickGELU, and who says so; None where nobody does."""
    import open_clip

    if tag is not None:
        return _is_quick(open_clip.get_pretrained_cfg(architecture, tag)), f"the tag {tag!r}"
    assert file is not None
    beside = file.with_name(FOLDER_CONFIG)
    if beside.is_file():
        try:
            return _is_quick(json.loads(beside.read_bytes())["model_cfg"]), str(beside)
        except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
            raise ModelError(f"{beside} is not a configuration of open_clip's: remove it, or mend it") from error
    if file.suffix == ".pt":
        digest = sha256(file)
        for name, known, mark in downloads():
            if digest.startswith(mark):
                quick = _is_quick(open_clip.get_pretrained_cfg(name, known))
                return quick, f"the content of {file}, which is {name}/{known},"
    return None, ""


def downloads() -> Iterator[tuple[str, str, str]]:
    """Architecture, tag and (beginning of the) SHA-256 of each checkpoint whose address in open_clip carries it."""
    import open_clip

    for architecture, tag in open_clip.list_pretrained():
        for whole, beginning in _HASH_IN_ADDRESS.findall(open_clip.get_pretrained_cfg(architecture, tag)["url"]):
            yield architecture, tag, whole or beginning


def _is_quick(config: dict[str, object]) -> bool:
    return bool(config.get("quick_gelu", False))


def _named(quick: bool) -> str:
    return "QuickGELU" if quick else "GELU"


def _twin(architecture: str) -> str | None:
    """The same architecture with the other activation, where open_clip has it."""
    import open_clip

    twin = architecture.removesuffix(_TWIN) if architecture.endswith(_TWIN) else architecture + _TWIN
    return twin if twin in open_clip.list_models() else None
