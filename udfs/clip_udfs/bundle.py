"""The model bundle: a directory of plain files that ``manifest.json`` describes and vouches for.

Reading one runs no pickle and no code from the model. Opening it detects files that are missing, links, or of the wrong
size; what a worker then loads is compared with its SHA-256 by :func:`clip_udfs.integrity.vouched`.
"""

from __future__ import annotations

import stat
from dataclasses import dataclass
from pathlib import Path, PurePosixPath

from clip_udfs.errors import BundleError
from clip_udfs.integrity import PUT_BACK, read_regular
from clip_udfs.manifest import MANIFEST, FileRecord, Manifest

_MOST_MANIFEST_BYTES = 4 << 20


@dataclass(frozen=True)
class Bundle:
    """An opened bundle: where it is, and its manifest."""

    directory: Path
    manifest: Manifest

    @classmethod
    def open(cls, directory: Path) -> Bundle:
        """Read the manifest of ``directory`` and check that every file exists in full length.

        Raises:
            BundleError: The directory is not a bundle, or a file is missing, has the wrong length, or is a link.
        """
        path = directory / MANIFEST
        try:
            content = read_regular(path, _MOST_MANIFEST_BYTES)
        except OSError as error:
            raise BundleError(
                f"{directory} is not a model bundle: cannot read {MANIFEST}: {error.strerror}; "
                "make one with: clip-udfs build-model"
            ) from error
        bundle = cls(directory, Manifest.from_json(content, str(path)))
        for name, record in bundle.manifest.files.items():
            _check(directory, name, record)
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


def _check(directory: Path, name: str, record: FileRecord) -> None:
    """Refuse a file that is missing, not regular, reached through a link, or of the wrong length."""
    path = directory / name
    try:
        for parent in reversed(PurePosixPath(name).parents[:-1]):
            if not stat.S_ISDIR((directory / parent).lstat().st_mode):
                raise BundleError(f"bundle file {path} is reached through a link: put the file itself there")
        status = path.lstat()
    except OSError as error:
        raise BundleError(f"bundle file {path}: {error.strerror}: {PUT_BACK}") from error
    if not stat.S_ISREG(status.st_mode):
        raise BundleError(f"bundle file {path} is not a regular file: put the file itself there")
    if status.st_size != record.bytes:
        raise BundleError(
            f"bundle file {path} has {status.st_size} bytes, the manifest says {record.bytes}: {PUT_BACK}"
        )
