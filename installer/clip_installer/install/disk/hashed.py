"""The files of an installed bundle, hashed in place, and the record that lets workers start faster."""

from __future__ import annotations

import os
import time
from collections.abc import Mapping
from dataclasses import dataclass
from hashlib import sha256
from pathlib import Path, PurePosixPath

from clip_installer.errors import ApplyError
from clip_installer.install.disk.disk import Disk
from clip_udfs.verified import Identity, Verified, VerifiedFiles

_CHUNK = 1 << 20
# Some file systems record times in steps of two seconds, most in steps of some milliseconds.
_LONGEST_STEP, _POLL = 3.0, 0.005


@dataclass(frozen=True)
class HashedFiles:
    """Files of a bundle to hash in place and record.

    Attributes:
        directory: The bundle's directory, as the server sees it.
        digests: The SHA-256 that each must have, by its path relative to the directory.
    """

    directory: Path
    digests: Mapping[str, str]

    def are_recorded(self, disk: Disk) -> bool:
        """Whether the record beside the bundle has exactly these files as they are now."""
        found = VerifiedFiles.beside(disk.here(self.directory))
        return found.files.keys() == self.digests.keys() and all(
            found.holds(found.directory / name, digest) for name, digest in self.digests.items()
        )

    def record(self, disk: Disk, clock: int) -> bytes:
        """Hash the files and return the content of the record.

        Args:
            disk: Where they are.
            clock: Descriptor of a file in the same file system, to tell the time by.

        Raises:
            ApplyError: A file does not have its SHA-256.
        """
        files = {}
        now = self._later(disk, clock)
        for name, digest in self.digests.items():
            path = self.directory / PurePosixPath(name)
            with disk.folder(path.parent) as folder, folder.reading(path.name) as handle:
                identity = Identity.of(os.fstat(handle))
                if _digest(handle) != digest or Identity.of(os.fstat(handle)) != identity:
                    raise ApplyError(f"{disk.here(path)} changed while it was being installed: run the command again")
            if identity.changed_ns < now:
                files[name] = Verified(digest, identity)
        return VerifiedFiles(self.directory, files).to_json().encode()

    def _later(self, disk: Disk, clock: int) -> int:
        """A file-system time after the last change of every file, in nanoseconds.

        Within the same step of the file system's clock, a file could change once more and look unchanged.
        """
        statuses = (disk.status(self.directory / PurePosixPath(name)) for name in self.digests)
        latest = max((status.st_ctime_ns for status in statuses if status is not None), default=0)
        given_up = time.monotonic() + _LONGEST_STEP
        while (now := os.fstat(clock).st_ctime_ns) <= latest and time.monotonic() < given_up:
            time.sleep(_POLL)
            os.utime(clock)
        return now


def _digest(handle: int) -> str:
    found = sha256()
    while chunk := os.read(handle, _CHUNK):
        found.update(chunk)
    return found.hexdigest()
