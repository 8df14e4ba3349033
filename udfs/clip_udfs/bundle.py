"""The model bundle: a directory of plain files that ``manifest.json`` describes and vouches for.

Reading one runs no pickle and no code of the model's. A file that is missing or of another size is noticed when the
bundle is opened; what a worker then loads is compared with its SHA-256 by :func:`vouched`.
"""

from __future__ import annotations

import hashlib
import json
import mmap
from collections.abc import Iterator, Mapping
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import asdict, dataclass, field
from pathlib import Path, PurePosixPath

from clip_udfs.errors import BundleError

FORMAT_VERSION = 1
MANIFEST = "manifest.json"
GOLDEN = "golden.json"
TOKENIZER = "tokenizer.json"
TORCH_FOLDER = "torch"
TEXT_CONFIG_FOLDER = "text"  # in it, of a text tower of Hugging Face's
FLOAT32, INT8 = PRECISIONS = ("fp32", "int8")

# Whatever is parsed (graph, tokenizer, configuration) is smaller and is hashed before its parser sees it. What is
# larger is weights, plain numbers: they are hashed while the rest is loaded, which hides the time it takes.
_HASHED_MEANWHILE = 32 << 20
_PUT_BACK = "put the file back, for an installed bundle with: install-udfs --force"


@dataclass(frozen=True)
class TextManifest:
    """How texts become token ids.

    Attributes:
        clean: Cleaning before the tokenizer: ``lower``, ``whitespace`` or ``canonicalize``.
        context_length: Tokens of the tower's longest sequence, start and end token included.
        start_id: Id of the start token; -1 where ``framing`` puts none.
        end_id: Id of the end token; -1 where ``framing`` puts none.
        pad_id: Id that fills a sequence up.
        trim: True where padding may be cut off a batch: the tower masks it, or pools before it and is causal.
        framing: Who puts tokens around a text: ``clip`` (start and end, of open_clip's own tokenizer), ``template``
            (``tokenizer.json`` itself), or ``clips`` (start and end, and ``last_id`` after the padding).
        last_id: Id in the last place of every sequence; -1 where ``framing`` puts none.
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
    """How a decoded picture becomes the tower's input, in open_clip's terms.

    Attributes:
        size: (height, width) of the input in pixels.
        resize_mode: ``shortest`` (then centre crop), ``squash``, or ``longest`` (then pad).
        interpolation: ``bicubic`` or ``bilinear``.
        fill_color: Grey level, 0-255, of the padding of ``longest``.
        mean: Mean of each channel (RGB, 0-1) that is subtracted; done by the engine.
        std: Standard deviation of each channel by which is divided; done by the engine.
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
        image: How pictures become pixels.
        notice: A sentence that must be said wherever the model is offered; '' for none.
        versions: Versions of the packages that built the bundle.
        files: Every other file of the bundle by its path relative to the directory.
        precision: ``fp32``, or ``int8`` for graphs with quantised weights.
        cosine: For ``int8``, the smallest cosine of each tower's vectors with open_clip's float32 ones, as measured
            when the bundle was built; empty for ``fp32``, whose vectors are open_clip's.
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

    def to_json(self) -> str:
        """The content of ``manifest.json``."""
        return json.dumps({"format_version": FORMAT_VERSION, **asdict(self)}, indent=2, ensure_ascii=False) + "\n"

    @classmethod
    def from_json(cls, content: bytes, where: str) -> Manifest:
        """Parse ``manifest.json``; ``where`` names it in messages.

        Raises:
            BundleError: It is not JSON, written by a newer version, or lacks something.
        """
        try:
            values = json.loads(content)
            version = values.pop("format_version")
        except (ValueError, KeyError, AttributeError, TypeError) as error:
            raise BundleError(f"{where} is not a bundle manifest: {error}") from error
        if version != FORMAT_VERSION:
            newer = isinstance(version, int) and version > FORMAT_VERSION
            raise BundleError(
                f"{where} has format version {version!r}, this package reads {FORMAT_VERSION}: "
                + ("upgrade clickhouse-clip-udfs" if newer else "build the bundle again")
            )
        try:
            values["text"] = TextManifest(**values["text"])
            image = values["image"]
            values["image"] = ImageManifest(
                **{
                    **image,
                    "size": tuple(image["size"]),
                    "mean": tuple(image["mean"]),
                    "std": tuple(image["std"]),
                }
            )
            values["files"] = {name: FileRecord(**record) for name, record in values["files"].items()}
            manifest = cls(**values)
        except (TypeError, KeyError, AttributeError) as error:
            raise BundleError(f"{where} is not a complete bundle manifest: {error}") from error
        if manifest.precision not in PRECISIONS:
            raise BundleError(f"{where} has precision {manifest.precision!r}: upgrade clickhouse-clip-udfs")
        for name in manifest.files:
            if PurePosixPath(name).is_absolute() or ".." in PurePosixPath(name).parts:
                raise BundleError(f"{where} names the file {name!r}, which is outside the bundle: do not use it")
        return manifest


@dataclass(frozen=True)
class Bundle:
    """An opened bundle: where it is, and its manifest."""

    directory: Path
    manifest: Manifest

    @classmethod
    def open(cls, directory: Path) -> Bundle:
        """Read the manifest of ``directory`` and check that every file is there in its full length.

        Raises:
            BundleError: The directory is not a bundle, or a file is missing or of another length.
        """
        path = directory / MANIFEST
        try:
            content = path.read_bytes()
        except OSError as error:
            raise BundleError(
                f"{directory} is not a model bundle: cannot read {MANIFEST}: {error.strerror}; "
                "make one with: clip-udfs build-model"
            ) from error
        bundle = cls(directory, Manifest.from_json(content, str(path)))
        for name, record in bundle.manifest.files.items():
            try:
                size = (directory / name).stat().st_size
            except OSError as error:
                raise BundleError(f"bundle file {directory / name}: {error.strerror}: {_PUT_BACK}") from error
            if size != record.bytes:
                raise BundleError(
                    f"bundle file {directory / name} has {size} bytes, the manifest says {record.bytes}: {_PUT_BACK}"
                )
        return bundle

    def file(self, name: str) -> Path:
        """Path of one of the bundle's files.

        Raises:
            BundleError: The bundle has no such file.
        """
        if name not in self.manifest.files:
            raise BundleError(f"bundle {self.directory} has no {name}: build it again with the engine that needs it")
        return self.directory / name

    def records(self, *names: str) -> dict[Path, FileRecord]:
        """Path and record of each of ``names``, for :func:`vouched`.

        Raises:
            BundleError: The bundle has no such file.
        """
        return {self.file(name): self.manifest.files[name] for name in names}


class Digests:
    """SHA-256 of files; of large ones computed in a thread of its own from the moment that they are named."""

    def __init__(self, files: Mapping[Path, FileRecord]) -> None:
        """Begin with the large ones of ``files``."""
        self._thread = ThreadPoolExecutor(1, thread_name_prefix="hash")
        self._begun: dict[Path, Future[str]] = {}
        self.begin(files)

    def begin(self, files: Mapping[Path, FileRecord]) -> None:
        """Have the large ones of ``files`` hashed that were not named before."""
        for path in _large(files):
            if path not in self._begun:
                self._begun[path] = self._thread.submit(_sha256_at_once, path)

    def of(self, path: Path) -> str:
        """The digest of a file in hexadecimal, when it is there.

        Raises:
            OSError: The file could not be read.
        """
        begun = self._begun.get(path)
        return sha256(path) if begun is None else begun.result()


@contextmanager
def vouched(files: Mapping[Path, FileRecord], digests: Digests | None = None) -> Iterator[None]:
    """Compare ``files`` with their SHA-256: the small ones before the body loads them, the large ones while it does.

    Args:
        files: What each must be.
        digests: Those that were begun before.

    Raises:
        BundleError: A file was altered or cannot be read; also where the body failed, as that is then the reason.
    """
    digests = digests or Digests({})
    digests.begin(files)
    large = _large(files)
    _compare({path: record for path, record in files.items() if path not in large}, digests)
    try:
        yield
    finally:
        _compare(large, digests)


def _large(files: Mapping[Path, FileRecord]) -> dict[Path, FileRecord]:
    return {path: record for path, record in files.items() if record.bytes > _HASHED_MEANWHILE}


def _compare(files: Mapping[Path, FileRecord], digests: Digests) -> None:
    for path, record in files.items():
        try:
            digest = digests.of(path)
        except OSError as error:
            raise BundleError(f"bundle file {path}: {error.strerror}: {_PUT_BACK}") from error
        if digest != record.sha256:
            raise BundleError(f"bundle file {path} was altered: its SHA-256 is not the recorded one: {_PUT_BACK}")


def _sha256_at_once(path: Path) -> str:
    """:func:`sha256` in one call, which does not wait for the interpreter while others import, parse and load.

    Like the engine, which maps the same file, it would not survive that somebody truncates it meanwhile.
    """
    with path.open("rb") as file, mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) as content:
        return hashlib.sha256(content).hexdigest()


def sha256(path: Path) -> str:
    """SHA-256 of a file in hexadecimal, read in constant memory."""
    digest = hashlib.sha256()
    with path.open("rb") as file:
        while chunk := file.read(1 << 20):
            digest.update(chunk)
    return digest.hexdigest()
