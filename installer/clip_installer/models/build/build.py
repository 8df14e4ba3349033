"""Builds a bundle: loads the model, exports it, compares it with open_clip, then moves it into place."""

from __future__ import annotations

import shutil
import tempfile
from collections.abc import Callable
from dataclasses import replace
from importlib.metadata import version
from pathlib import Path

from clip_installer.errors import ModelError
from clip_installer.models.build.source.model import RANDOM, SourceModel, load_source
from clip_udfs.bundle import Bundle
from clip_udfs.integrity import sha256
from clip_udfs.manifest import FLOAT32, INT8, MANIFEST, TOKENIZER, TORCH_FOLDER, FileRecord, Manifest

_PACKAGES = (
    "clickhouse-clip-udfs",
    "open_clip_torch",
    "torch",
    "onnx",
    "onnxruntime",
    "tokenizers",
    "pillow",
)

__all__ = ["RANDOM", "build_model"]


def build_model(
    model: str,
    pretrained: str,
    output: Path,
    *,
    name: str | None = None,
    engine: str = "auto",
    precision: str = FLOAT32,
    min_cosine: float | None = None,
    any_activation: bool = False,
    notice: str = "",
    report: Callable[[str], None] = lambda line: None,
) -> Bundle:
    """Build a bundle from an open_clip model.

    Args:
        model: An open_clip architecture, a JSON file with a custom configuration, or a folder from the Hugging Face
            hub.
        pretrained: An open_clip tag, a checkpoint file, ``TAG=FILE``, or ``random``; '' for a folder.
        output: The directory to create; it must not exist or must be empty.
        name: Name of the bundle; None derives it from architecture and tag.
        engine: ``onnx`` exports, ``torch`` keeps open_clip's weights for the torch engine, ``both`` does both, and
            ``auto`` exports if possible and otherwise falls back to ``torch``.
        precision: ``fp32``, or ``int8`` for quantised weights, which only the ONNX engine supports.
        min_cosine: The smallest accepted cosine between an ``int8`` tower and open_clip; None for the default.
        any_activation: Build with weights that are known to have been trained with a different activation.
        notice: A sentence to show wherever the model is listed.
        report: Called with one line for each step.

    Returns:
        The finished bundle.

    Raises:
        MissingExtra: open_clip is not installed.
        ModelError: The model cannot be loaded or exported, differs from open_clip's, or ``output`` is not empty.
    """
    if output.exists() and (not output.is_dir() or any(output.iterdir())):
        raise ModelError(f"{output} already exists; choose another directory, or remove it first")
    if precision == INT8 and engine not in ("auto", "onnx"):
        raise ModelError(f"int8 requires the onnx engine, not {engine}; omit --engine")
    report(f"loading {model} {pretrained}".rstrip())
    source = load_source(model, pretrained, any_activation=any_activation, report=report)
    output.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(prefix=f".{output.name}.", dir=output.parent) as scratch:
        directory = Path(scratch) / "bundle"
        directory.mkdir()
        named = name or source.name + (f"-{INT8}" if precision == INT8 else "")
        bundle = _assemble(source, directory, named, engine, precision, min_cosine, notice, report)
        if output.exists():
            output.rmdir()
        shutil.move(directory, output)
    return Bundle(output, bundle.manifest)


def _assemble(
    source: SourceModel,
    directory: Path,
    name: str,
    engine: str,
    precision: str,
    min_cosine: float | None,
    notice: str,
    report: Callable[[str], None],
) -> Bundle:
    from clip_installer.models.build.export import export_towers
    from clip_installer.models.build.parity import MIN_COSINE_INT8, compare, of_bundle, of_open_clip
    from clip_installer.models.build.quantization import quantize_towers
    from clip_installer.models.build.token_check import check_tokens
    from clip_installer.models.build.tokenizer_file import write_tokenizer
    from clip_installer.models.build.torch_weights import write_weights
    from clip_udfs.encoders.torch_modules.towers import trimmed

    text = trimmed(source.model, write_tokenizer(source.tokenizer, directory / TOKENIZER))
    check_tokens(source, directory / TOKENIZER, text)
    if engine != "torch":
        report("exporting the towers")
        try:
            export_towers(source, directory, text)
        except ModelError as error:
            if engine != "auto" or precision == INT8:
                raise ModelError(f"{error}; the torch engine can run it: build with --engine torch") from error
            report(f"{error}: building the bundle for the torch engine")
            for path in directory.glob("*.onnx*"):
                path.unlink()
            engine = "torch"
    if precision == INT8:
        report("quantising the towers")
        quantize_towers(directory, text, source.image)
    if engine in ("torch", "both"):
        report("writing the weights for the torch engine")
        write_weights(source, directory / TORCH_FOLDER)
    manifest = Manifest(
        name=name,
        architecture=source.architecture,
        pretrained=source.pretrained,
        dimension=int(source.encode_texts([""]).shape[1]),
        text=text,
        image=source.image,
        notice=notice,
        versions={package: version(package) for package in _PACKAGES},
        files=_records(directory),
        precision=precision,
        logit_scale=source.logit_scale,
        logit_bias=source.logit_bias,
    )
    golden = expected = of_open_clip(source)
    least = MIN_COSINE_INT8 if min_cosine is None else min_cosine
    for chosen in {"auto": ("onnx",), "both": ("onnx", "torch")}.get(engine, (engine,)):
        report(f"comparing the {chosen} engine with open_clip")
        found = of_bundle(Bundle(directory, manifest), chosen)
        distances = compare(found, expected, precision, least)
        for tower, parity in distances.items():
            report(
                f"  {tower}: {parity.rows} rows, cosine >= {parity.min_cosine:.7f}, "
                f"largest difference {parity.max_difference:.1e}"
            )
        if precision == INT8:
            golden = found
            manifest = replace(manifest, cosine={tower: parity.min_cosine for tower, parity in distances.items()})
    golden.write(directory)
    manifest = replace(manifest, files=_records(directory))
    (directory / MANIFEST).write_text(manifest.to_json(), encoding="utf-8")
    return Bundle.open(directory)


def _records(directory: Path) -> dict[str, FileRecord]:
    files = [path for path in sorted(directory.rglob("*")) if path.is_file()]
    for path in files:
        path.chmod(0o644)  # weights are written with mode 0600; the server's user must be able to read them
    return {str(path.relative_to(directory)): FileRecord(path.stat().st_size, sha256(path)) for path in files}
