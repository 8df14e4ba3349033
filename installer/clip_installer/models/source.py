"""Resolves ``--model`` to an open bundle: a directory, a built-in model, or one built on the spot."""

from __future__ import annotations

import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

from clip_installer import resources
from clip_installer.errors import MissingExtra, ModelError
from clip_udfs.bundle import Bundle
from clip_udfs.errors import printable
from clip_udfs.manifest import TORCH_FOLDER, is_plain_name

BUILTIN_MODEL = "emoji"


@contextmanager
def opened_model(model: str, engine: str, report: Callable[[str], None] = lambda line: None) -> Iterator[Bundle]:
    """Open the bundle that ``model`` names; one built on the spot exists until the ``with`` block ends.

    Args:
        model: A bundle's directory, the name of a built-in model, or ``ARCH/TAG`` of open_clip.
        engine: The engine to build for, ``onnx`` or ``torch``.
        report: Called with one line for each step of a build.

    Raises:
        ModelError: It names none of these, cannot be built, or its name cannot be used in a ClickHouse command.
        BundleError: The directory is not a complete bundle.
    """
    directory = Path(model)
    builtin = resources.builtin_models() / model
    if directory.is_dir():
        yield _runnable(_checked(Bundle.open(directory.absolute())), engine)
    elif is_plain_name(model) and builtin.is_dir():
        yield _checked(Bundle.open(builtin))
    elif model.count("/") == 1 and all(model.split("/")) and not directory.parent.is_dir():
        with tempfile.TemporaryDirectory(prefix="clip-udfs-model-") as scratch:
            yield _checked(_built(model, engine, Path(scratch) / "bundle", report))
    else:
        raise ModelError(
            f"--model {model}: no such bundle directory or built-in model (built in:"
            f" {', '.join(builtin_names()) or 'none'}); build one with: clip-udfs build-model"
        )


def _built(model: str, engine: str, output: Path, report: Callable[[str], None]) -> Bundle:
    from clip_installer.models.build import build_model

    architecture, pretrained = model.split("/")
    try:
        return build_model(architecture, pretrained, output, engine=engine, report=report)
    except MissingExtra as error:
        raise ModelError(
            f"--model {model} must be built first, but {error}; or build it on another machine with clip-udfs"
            f" build-model --model {architecture} --pretrained {pretrained} --output DIR, copy DIR here and use"
            " --model DIR"
        ) from error


def builtin_names() -> list[str]:
    """Names of the models that the package ships, sorted."""
    folder = resources.builtin_models()
    return sorted(path.name for path in folder.iterdir() if path.is_dir()) if folder.is_dir() else []


def _runnable(bundle: Bundle, engine: str) -> Bundle:
    parts = {name.partition("/")[0] for name in bundle.manifest.files}
    if engine == "onnx" and TORCH_FOLDER in parts and "text.onnx" not in parts:
        raise ModelError(
            f"bundle {bundle.directory} supports only the torch engine: install it with --engine torch, or build it"
            " again with --engine onnx"
        )
    return bundle


def _checked(bundle: Bundle) -> Bundle:
    name = bundle.manifest.name
    if not is_plain_name(name):
        raise ModelError(
            f"bundle {bundle.directory}: a model cannot be called {printable(name)!r}: use letters, digits, '.', '_'"
            " and '-', and none of manifest.json, installed.json and replaced (clip-udfs build-model --name)"
        )
    return bundle
