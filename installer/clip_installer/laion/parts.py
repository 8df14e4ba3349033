"""The published layout: the three files of a part, and whether they belong together."""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

from clip_installer.errors import ImportRefused
from clip_installer.laion.metadata import MetadataFile
from clip_installer.laion.npy import VectorFile

ROWS_OF_A_PART = 1_000_000_000
_LARGEST_PART = 2**63 // ROWS_OF_A_PART - 1
_ENDS = 65_536
# clip-retrieval pads with zeros to the digits of its number of partitions.
MOST_DIGITS = 6


@dataclass(frozen=True)
class PartFiles:
    """Paths of one part's files, relative to the source in the published layout.

    Attributes:
        images: Vectors of the images.
        metadata: Addresses, captions and the rest.
        texts: Vectors of the captions; None if the source has none.
    """

    images: Path
    metadata: Path
    texts: Path | None

    @classmethod
    def published(cls, number: int, digits: int = 1) -> PartFiles:
        """The layout of LAION's servers: a folder for each kind; numbers have at least ``digits`` digits."""
        name = f"{number:0{digits}d}"
        return cls(
            Path("img_emb") / f"img_emb_{name}.npy",
            Path("metadata") / f"metadata_{name}.parquet",
            Path("text_emb") / f"text_emb_{name}.npy",
        )

    @classmethod
    def layouts(cls, number: int) -> list[PartFiles]:
        """All names that a part can have: LAION's, and clip-retrieval's zero-padded ones; with and without folders."""
        digits = range(len(str(number)), max(MOST_DIGITS, len(str(number))) + 1)
        padded = [cls.published(number, count) for count in digits]
        return [layout for published in padded for layout in (published, published.flat())]

    def flat(self) -> PartFiles:
        """The same names without folders, as the guide's script leaves them."""
        return self._each(lambda path: Path(path.name))

    def below(self, folder: Path) -> PartFiles:
        """The same files below ``folder``."""
        return self._each(lambda path: folder / path)

    def without_texts(self) -> PartFiles:
        """The same part, without vectors of captions."""
        return PartFiles(self.images, self.metadata, None)

    def all(self) -> tuple[Path, ...]:
        """The paths, the smallest file first."""
        return (self.metadata, self.images) if self.texts is None else (self.metadata, self.images, self.texts)

    def _each(self, change: Callable[[Path], Path]) -> PartFiles:
        return PartFiles(change(self.images), change(self.metadata), self.texts and change(self.texts))


@dataclass(frozen=True)
class Part:
    """One part whose files agree.

    Attributes:
        number: Its number in the published names.
        images: Vectors of the images.
        texts: Vectors of the captions; those of the images if the source has none.
        metadata: Addresses, captions and the rest.
    """

    number: int
    images: VectorFile
    texts: VectorFile
    metadata: MetadataFile

    @classmethod
    def open(cls, number: int, files: PartFiles) -> Part:
        """Open the files and compare what their headers say.

        Raises:
            ImportRefused: A file is not what it should be, or they do not have the same number of rows.
        """
        images = VectorFile.open(files.images)
        texts = VectorFile.open(files.texts) if files.texts is not None else images
        metadata = MetadataFile.open(files.metadata)
        if not images.rows == texts.rows == metadata.rows:
            raise ImportRefused(
                f"part {number}: the files do not belong together: {images.rows} rows in {images.path.name},"
                f" {texts.rows} in {texts.path.name}, {metadata.rows} in {metadata.path.name}"
            )
        if images.dimension != texts.dimension:
            raise ImportRefused(
                f"part {number}: the vectors are of different models: {images.dimension} numbers in"
                f" {images.path.name}, {texts.dimension} in {texts.path.name}"
            )
        if images.rows > ROWS_OF_A_PART:
            raise ImportRefused(f"part {number}: {images.rows} rows; the ids of a part allow {ROWS_OF_A_PART}")
        return cls(number, images, texts, metadata)

    @property
    def has_texts(self) -> bool:
        """Whether captions have their own vectors."""
        return self.texts is not self.images

    @property
    def rows(self) -> int:
        """Number of rows."""
        return self.images.rows

    @property
    def dimension(self) -> int:
        """Numbers in each vector."""
        return self.images.dimension

    @property
    def first_id(self) -> int:
        """``id`` of the part's first row; the others follow by position."""
        return first_id(self.number)

    def check(self, batch_rows: int) -> None:
        """Read all of the files once, so that nothing is imported of a part that cannot be finished.

        Raises:
            ImportRefused: A Parquet page is damaged, or a vector has no direction.
        """
        with ThreadPoolExecutor(3, thread_name_prefix="check") as threads:
            checks = [
                threads.submit(self.metadata.check, batch_rows),
                *(threads.submit(file.check, batch_rows) for file in dict.fromkeys((self.images, self.texts))),
            ]
        for check in checks:
            check.result()

    def fingerprint(self) -> str:
        """Digest that tells these files from others of the same name, computed from their sizes and both ends."""
        digest = hashlib.sha256()
        for path in dict.fromkeys((self.images.path, self.texts.path, self.metadata.path)):
            size = path.stat().st_size
            with path.open("rb") as stream:
                digest.update(f"{size}\n".encode() + stream.read(_ENDS))
                stream.seek(max(0, size - _ENDS))
                digest.update(stream.read(_ENDS))
        return digest.hexdigest()[:32]


def first_id(number: int) -> int:
    """``id`` of the first row of part ``number``: in decimal, the part followed by nine digits of position."""
    return number * ROWS_OF_A_PART


def parse_parts(text: str) -> list[int]:
    """Part numbers of e.g. ``0-9`` or ``0,3,7-9``, in order, each once.

    Raises:
        ValueError: Something is neither a number nor a range; the message names it.
    """
    numbers: set[int] = set()
    for item in text.split(","):
        first, dash, last = item.strip().partition("-")
        if not first.isdecimal() or (dash and not last.isdecimal()):
            raise ValueError(f"{item.strip()!r} is neither a part nor a range; expected e.g. 0-9 or 0,3,7-9")
        start, stop = int(first), int(last or first)
        if start > stop or stop > _LARGEST_PART:
            raise ValueError(f"{item.strip()!r} is not a range of parts from 0 to {_LARGEST_PART}")
        numbers.update(range(start, stop + 1))
    return sorted(numbers)
