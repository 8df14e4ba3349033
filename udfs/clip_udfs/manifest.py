"""``manifest.json`` of a model bundle, parsed and validated."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from pathlib import PurePosixPath

from clip_udfs.document import Document
from clip_udfs.errors import BundleError, printable

FORMAT_VERSION = 1
MANIFEST = "manifest.json"
GOLDEN = "golden.json"
TOKENIZER = "tokenizer.json"
TORCH_FOLDER = "torch"
TEXT_CONFIG_FOLDER = "text"  # in it, for a Hugging Face text tower
FLOAT32, INT8 = PRECISIONS = ("fp32", "int8")

_CLEANING = ("lower", "whitespace", "canonicalize")
_FRAMING = ("clip", "template", "clips")
_RESIZING = ("shortest", "squash", "longest")
_INTERPOLATION = ("bicubic", "bilinear")
_MOST_BYTES = 4 << 20
_MOST_FILES = 10_000
_MOST_FILE_BYTES = 1 << 44
_MOST_DIMENSION = 1 << 16
_MOST_TOKENS = 1 << 20
_MOST_PIXELS = 1 << 14
# A model's name is also a directory's name, and part of a command, which ClickHouse splits at spaces.
_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,127}")
_RESERVED_NAMES = frozenset({MANIFEST, "installed.json", "replaced"})
# Each part of a file's path: no hidden file, nothing with a special meaning to a shell, a terminal or a file system.
_PART = re.compile(r"[A-Za-z0-9_][A-Za-z0-9._-]{0,200}")


@dataclass(frozen=True)
class TextManifest:
    """How texts become token ids.

    Attributes:
        clean: Cleaning before the tokenizer: ``lower``, ``whitespace`` or ``canonicalize``.
        context_length: Tokens of the tower's longest sequence, start and end token included.
        start_id: Id of the start token; -1 if ``framing`` adds none.
        end_id: Id of the end token; -1 if ``framing`` adds none.
        pad_id: Id that pads a sequence.
        trim: Whether padding may be cut off a batch: the tower masks it, or pools before it and is causal.
        framing: What adds tokens around a text: ``clip`` (start and end, as open_clip's own tokenizer does),
            ``template`` (``tokenizer.json`` itself), or ``clips`` (start and end, and ``last_id`` after the padding).
        last_id: Id in the last place of every sequence; -1 if ``framing`` adds none.
        blank_id: Id that is replaced by 0, for models that were trained without separators; -1 for none.
    """

    clean: str
    context_length: int
    start_id: int
    end_id: int
    pad_id: int
    trim: bool
    framing: str = "clip"
    last_id: int = -1
    blank_id: int = -1


@dataclass(frozen=True)
class ImageManifest:
    """How a decoded image becomes the tower's input, in open_clip's terms.

    Attributes:
        size: (height, width) of the input in pixels.
        resize_mode: ``shortest`` (then centre crop), ``squash``, or ``longest`` (then pad).
        interpolation: ``bicubic`` or ``bilinear``.
        fill_color: Grey level, 0-255, of the padding of ``longest``.
        mean: Mean of each channel (RGB, 0-1), subtracted by the engine.
        std: Standard deviation of each channel; the engine divides by it.
    """

    size: tuple[int, int]
    resize_mode: str
    interpolation: str
    fill_color: int
    mean: tuple[float, float, float]
    std: tuple[float, float, float]


@dataclass(frozen=True)
class FileRecord:
    """A file of the bundle: its length in bytes and its SHA-256 in hexadecimal."""

    bytes: int
    sha256: str


@dataclass(frozen=True)
class Manifest:
    """What ``manifest.json`` says.

    Attributes:
        name: Name of the bundle, e.g. ``ViT-B-32-quickgelu-openai``; also that of its directory once installed.
        architecture: open_clip architecture.
        pretrained: open_clip tag or the name of the checkpoint file; '' for random weights.
        dimension: Length of the vectors.
        text: How texts become token ids.
        image: How images become pixels.
        notice: A sentence to show wherever the model is listed; '' for none.
        versions: Versions of the packages that built the bundle.
        files: Every other file of the bundle by its path relative to the directory.
        precision: ``fp32``, or ``int8`` for graphs with quantised weights.
        cosine: For ``int8``, the smallest cosine of each tower's vectors with open_clip's float32 ones, as measured
            when the bundle was built; empty for ``fp32``, whose vectors are open_clip's.
        logit_scale: Factor of the cosines in the model's own probabilities, as it was trained; None in older bundles.
        logit_bias: Added to them in models trained with a sigmoid (SigLIP); None for a softmax.
    """

    name: str
    architecture: str
    pretrained: str
    dimension: int
    text: TextManifest
    image: ImageManifest
    notice: str
    versions: Mapping[str, str]
    files: Mapping[str, FileRecord]
    precision: str = FLOAT32
    cosine: Mapping[str, float] = field(default_factory=dict)
    logit_scale: float | None = None
    logit_bias: float | None = None

    def to_json(self) -> str:
        """The content of ``manifest.json``."""
        return json.dumps({"format_version": FORMAT_VERSION, **asdict(self)}, indent=2, ensure_ascii=False) + "\n"

    @classmethod
    def from_json(cls, content: bytes, where: str) -> Manifest:
        """Parse ``manifest.json``; ``where`` names it in messages.

        Raises:
            BundleError: It is not JSON, was written by another version, lacks a key, or has an impossible value.
        """
        values = Document.parse(content, where, BundleError, most=_MOST_BYTES)
        _refuse_other_version(values)
        values.only("format_version", *cls.__dataclass_fields__)
        return cls(
            name=values.text("name", most=200),
            architecture=values.text("architecture", most=1000),
            pretrained=values.text("pretrained", most=4096),
            dimension=values.integer("dimension", 1, _MOST_DIMENSION),
            text=_text(values.object("text")),
            image=_image(values.object("image")),
            notice=values.text("notice", most=1000),
            versions=values.mapping("versions", 100, lambda inner, key: inner.text(key, most=200)),
            files=values.mapping("files", _MOST_FILES, _file),
            precision=_precision(values),
            cosine=values.mapping("cosine", 10, lambda inner, key: inner.number(key, -1, 1.001), {}),
            logit_scale=_optional(values, "logit_scale", 0, 10_000),
            logit_bias=_optional(values, "logit_bias", -1000, 1000),
        )


def is_plain_name(name: str) -> bool:
    """Whether a model can be called ``name``, which becomes a directory and part of a ClickHouse command."""
    return _NAME.fullmatch(name) is not None and name not in _RESERVED_NAMES


def _refuse_other_version(values: Document) -> None:
    version = values.raw("format_version")
    if version != FORMAT_VERSION or isinstance(version, bool):
        newer = isinstance(version, int) and version > FORMAT_VERSION
        shown = printable(repr(version))[:40]
        values.refuse(
            f"has format version {shown}, this package reads {FORMAT_VERSION}: "
            + ("upgrade clickhouse-clip-udfs" if newer else "build the bundle again")
        )


def _optional(values: Document, key: str, low: float, high: float) -> float | None:
    return None if values.raw(key, None) is None else values.number(key, low, high)


def _precision(values: Document) -> str:
    precision = values.text("precision", FLOAT32, most=100)
    if precision not in PRECISIONS:
        values.refuse(f"has precision {precision!r}: upgrade clickhouse-clip-udfs")
    return precision


def _text(values: Document) -> TextManifest:
    values.only(*TextManifest.__dataclass_fields__)
    return TextManifest(
        clean=values.choice("clean", _CLEANING),
        context_length=values.integer("context_length", 1, _MOST_TOKENS),
        start_id=values.integer("start_id", -1, _MOST_TOKENS),
        end_id=values.integer("end_id", -1, _MOST_TOKENS),
        pad_id=values.integer("pad_id", 0, _MOST_TOKENS),
        trim=values.flag("trim"),
        framing=values.choice("framing", _FRAMING, "clip"),
        last_id=values.integer("last_id", -1, _MOST_TOKENS, -1),
        blank_id=values.integer("blank_id", -1, _MOST_TOKENS, -1),
    )


def _image(values: Document) -> ImageManifest:
    values.only(*ImageManifest.__dataclass_fields__)
    height, width = values.numbers("size", 2, 1, _MOST_PIXELS)
    if not isinstance(height, int) or not isinstance(width, int):
        values.refuse("has a size that is no whole number of pixels")
    red, green, blue = values.numbers("mean", 3, -1000, 1000)
    deviations = values.numbers("std", 3, -1000, 1000)
    if 0 in deviations:
        values.refuse("has std = 0, by which nothing can be divided")
    return ImageManifest(
        size=(height, width),
        resize_mode=values.choice("resize_mode", _RESIZING),
        interpolation=values.choice("interpolation", _INTERPOLATION),
        fill_color=values.integer("fill_color", 0, 255),
        mean=(red, green, blue),
        std=(deviations[0], deviations[1], deviations[2]),
    )


def _file(values: Document, name: str) -> FileRecord:
    path = PurePosixPath(name)
    if path.is_absolute() or ".." in path.parts:
        values.refuse(f"names the file {printable(name)!r}, which is outside the bundle: do not use it")
    if str(path) != name or name == MANIFEST or not all(_PART.fullmatch(part) for part in path.parts):
        values.refuse(f"names the file {printable(name)!r}, which no bundle has: do not use it")
    record = values.object(name)
    record.only(*FileRecord.__dataclass_fields__)
    return FileRecord(
        bytes=record.integer("bytes", 0, _MOST_FILE_BYTES), sha256=record.text("sha256", pattern="[0-9a-f]{64}")
    )
