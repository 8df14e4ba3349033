"""The worker's rendered configuration: one JSON file that the installer writes and the launcher names."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass, fields, replace
from pathlib import Path
from typing import Any

from clip_udfs.errors import SettingsError

ENGINES = ("onnx", "torch")
# The first is the default for installations, because the settings of a query change what TabSeparated means.
ROW_BINARY, TAB_SEPARATED = FORMATS = ("RowBinaryWithNamesAndTypes", "TabSeparated")
JPEG_DECODINGS = ("exact", "scaled")
# The decoders of these are bounded, and written in C except for run-length BMPs, which are limited in size.
DEFAULT_IMAGE_FORMATS = ("JPEG", "PNG", "WEBP", "GIF", "BMP", "TIFF", "AVIF")
# The others are rare; PPM is decoded partly in Python, and JPEG 2000 takes 28 bytes per pixel.
# HEIF needs the extra [heif].
IMAGE_FORMATS = (*DEFAULT_IMAGE_FORMATS, "PPM", "JPEG2000", "HEIF")
# Pillow never decodes more.
MOST_IMAGE_PIXELS = 178_956_970


@dataclass(frozen=True)
class WorkerSettings:
    """Everything that a worker must know and for which ClickHouse has no key.

    Attributes:
        bundle: Directory of the model bundle; in a file, a relative one is relative to the file.
        suffix: Suffix of the SQL names of this model's functions, '' for the default model.
        engine: ``onnx`` (ONNX Runtime on CPU) or ``torch`` (open_clip, on a GPU if there is one).
        device: Device for the torch engine, e.g. ``cuda:0``; None chooses.
        threads: Engine threads of one worker; 0 gives it all cores of the machine.
        format: ClickHouse format of the pool, one of :data:`FORMATS`.
        normalize: L2-normalise the vectors, as LAION's own are.
        image_roots: Directories that ``encode_image`` may read; the first one resolves relative paths.
        max_text_bytes: Longest text in bytes that is tokenized; longer ones are refused.
        max_image_bytes: Largest image file in bytes that is read; larger ones are refused.
        max_image_pixels: Largest image in pixels (width x height) that is decoded.
        max_image_seconds: CPU seconds that decoding one image may take.
        max_image_memory: Bytes of memory that decoding one image may take.
        image_formats: Formats that are read, by Pillow's names.
        jpeg_decoding: ``exact``, or ``scaled`` to decode large JPEGs at a fraction of their size.
        exif_orientation: Whether to turn images by their EXIF orientation before encoding.
        text_batch: Rows of one engine run of the text tower.
        image_batch: Rows of one engine run of the image tower.
        decode_threads: Processes that decode images beside the engine.
        text_cache: Texts whose vectors are cached for later queries.
    """

    bundle: Path
    suffix: str = ""
    engine: str = "onnx"
    device: str | None = None
    threads: int = 0
    format: str = ROW_BINARY
    normalize: bool = True
    image_roots: tuple[Path, ...] = ()
    max_text_bytes: int = 1_048_576
    max_image_bytes: int = 67_108_864
    max_image_pixels: int = 89_478_485
    max_image_seconds: int = 10
    max_image_memory: int = 1_610_612_736
    image_formats: tuple[str, ...] = DEFAULT_IMAGE_FORMATS
    jpeg_decoding: str = "exact"
    exif_orientation: bool = False
    text_batch: int = 12
    image_batch: int = 2
    decode_threads: int = 2
    text_cache: int = 4096

    def __post_init__(self) -> None:
        """Refuse values that could only fail later.

        Raises:
            SettingsError: Naming the key and the value.
        """
        if self.engine not in ENGINES:
            raise SettingsError(f"engine {self.engine!r} is not one of {', '.join(ENGINES)}")
        if self.format not in FORMATS:
            raise SettingsError(f"format {self.format!r} is not one of {', '.join(FORMATS)}: install again")
        if self.jpeg_decoding not in JPEG_DECODINGS:
            raise SettingsError(f"jpeg_decoding {self.jpeg_decoding!r} is not one of {', '.join(JPEG_DECODINGS)}")
        for name in (
            "max_text_bytes",
            "max_image_bytes",
            "max_image_pixels",
            "max_image_seconds",
            "max_image_memory",
            "text_batch",
            "image_batch",
            "decode_threads",
        ):
            if getattr(self, name) < 1:
                raise SettingsError(f"{name} is {getattr(self, name)}, it must be at least 1")
        if self.max_image_pixels > MOST_IMAGE_PIXELS:
            raise SettingsError(f"max_image_pixels is {self.max_image_pixels}, it can be {MOST_IMAGE_PIXELS} at most")
        unknown = [one for one in self.image_formats if one not in IMAGE_FORMATS]
        if unknown or not self.image_formats:
            shown = ", ".join(map(repr, unknown)) or "an empty list"
            raise SettingsError(f"image_formats has {shown}, expected some of {', '.join(IMAGE_FORMATS)}")
        for name in ("threads", "text_cache"):
            if getattr(self, name) < 0:
                raise SettingsError(f"{name} is {getattr(self, name)}, it must not be negative")

    def to_json(self) -> str:
        """The file's content: sorted-as-declared keys, indented, with a final newline."""
        values: dict[str, Any] = asdict(self)
        values["bundle"] = str(self.bundle)
        values["image_formats"] = list(self.image_formats)
        values["image_roots"] = [str(root) for root in self.image_roots]
        return json.dumps(values, indent=2, ensure_ascii=False) + "\n"

    @classmethod
    def from_mapping(cls, values: Mapping[str, Any], where: str) -> WorkerSettings:
        """Build settings from parsed JSON; ``where`` names the file in messages.

        Raises:
            SettingsError: A key is unknown, missing, or of the wrong type.
        """
        known = {field.name: field for field in fields(cls)}
        if unknown := sorted(set(values) - set(known)):
            raise SettingsError(f"{where}: unknown key {unknown[0]!r}; written by another version? Install again")
        if "bundle" not in values:
            raise SettingsError(f"{where}: key 'bundle' is missing; install again")
        arguments = dict(values)
        for name, value in values.items():
            expected: tuple[type, ...] = {
                "bundle": (str,),
                "suffix": (str,),
                "engine": (str,),
                "format": (str,),
                "jpeg_decoding": (str,),
                "normalize": (bool,),
                "exif_orientation": (bool,),
                "image_roots": (list,),
                "image_formats": (list,),
                "device": (str, type(None)),
            }.get(name, (int,))
            if not isinstance(value, expected) or (expected == (int,) and isinstance(value, bool)):
                raise SettingsError(f"{where}: {name} is {value!r}, expected {expected[0].__name__}")
        arguments["bundle"] = Path(values["bundle"])
        arguments["image_roots"] = tuple(Path(root) for root in values.get("image_roots", ()))
        if "image_formats" in values:
            arguments["image_formats"] = tuple(values["image_formats"])
        return cls(**arguments)

    @classmethod
    def load(cls, path: Path) -> WorkerSettings:
        """Read the settings from ``path``.

        Raises:
            SettingsError: The file cannot be read, is not JSON, or has a value that cannot work.
        """
        try:
            values = json.loads(path.read_bytes())
        except OSError as error:
            raise SettingsError(f"cannot read the worker's settings {path}: {error.strerror}") from error
        except ValueError as error:
            raise SettingsError(f"{path} is not JSON: {error}") from error
        if not isinstance(values, dict):
            raise SettingsError(f"{path}: expected a JSON object")
        settings = cls.from_mapping(values, str(path))
        return replace(settings, bundle=path.parent / settings.bundle)
