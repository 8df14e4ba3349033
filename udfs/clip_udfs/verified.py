"""``verified.json``: which files of an installed bundle the installer hashed, and what the file system said of them.

A worker need not hash a file that has not changed since it was hashed. Whatever a program writes to a file updates its
change time (``ctime``), which no program can set; a copy, a restored backup and a replaced file also have another
inode. So different content cannot have the same :class:`Identity`, unless somebody works below the file system: on the
raw device, or with the clock set back to the exact nanosecond.
"""

from __future__ import annotations

import json
import os
import stat
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import NamedTuple

from clip_udfs.errors import BundleError
from clip_udfs.integrity import regular_file

VERIFIED = "verified.json"
FORMAT_VERSION = 1
_MOST_BYTES = 4 << 20
_OTHERS_WRITE = stat.S_IWGRP | stat.S_IWOTH
# There is no record, or none that this version wrote.
_UNREADABLE = (OSError, ValueError, KeyError, TypeError, AttributeError, RecursionError, BundleError)


class Identity(NamedTuple):
    """Tells a file's content from any other under the same name.

    Attributes:
        device: Number of the file system.
        inode: Number of the file in it.
        bytes: Length.
        modified_ns: Time of the last change of the content, in nanoseconds.
        changed_ns: Time of the last change of anything, including name and permissions; only the kernel sets it.
    """

    device: int
    inode: int
    bytes: int
    modified_ns: int
    changed_ns: int

    @classmethod
    def of(cls, status: os.stat_result) -> Identity:
        """That of the file with ``status``."""
        return cls(status.st_dev, status.st_ino, status.st_size, status.st_mtime_ns, status.st_ctime_ns)


class Verified(NamedTuple):
    """A hashed file: its SHA-256 in hexadecimal, and its identity at that time."""

    sha256: str
    identity: Identity


@dataclass(frozen=True)
class VerifiedFiles:
    """The files of a bundle that were hashed when it was installed.

    Attributes:
        files: Each by its path relative to the bundle's directory.
        directory: The bundle's directory.
    """

    directory: Path
    files: Mapping[str, Verified] = field(default_factory=dict)

    @classmethod
    def beside(cls, bundle: Path) -> VerifiedFiles:
        """Read the record beside the directory ``bundle``.

        Returns:
            The record; an empty one if there is none, it is damaged, or others could have written it.
        """
        try:
            with regular_file(bundle.parent / VERIFIED) as handle:
                status = os.fstat(handle)
                if status.st_uid not in (0, bundle.stat().st_uid) or status.st_mode & _OTHERS_WRITE:
                    return cls(bundle)
                with os.fdopen(os.dup(handle), "rb") as file:
                    return cls(bundle, _parsed(file.read(_MOST_BYTES)))
        except _UNREADABLE:
            return cls(bundle)

    def holds(self, path: Path, sha256: str) -> bool:
        """Whether the file at ``path`` had this SHA-256 and has not changed since."""
        try:
            verified = self.files.get(str(path.relative_to(self.directory)))
            if verified is None or verified.sha256 != sha256:
                return False
            status = path.lstat()
        except (OSError, ValueError):
            return False
        return stat.S_ISREG(status.st_mode) and Identity.of(status) == verified.identity

    def to_json(self) -> str:
        """The content of ``verified.json``."""
        files = {name: {"sha256": one.sha256, **one.identity._asdict()} for name, one in self.files.items()}
        return json.dumps({"format_version": FORMAT_VERSION, "files": files}, indent=2) + "\n"


def _parsed(content: bytes) -> dict[str, Verified]:
    values = json.loads(content)
    if values["format_version"] != FORMAT_VERSION:
        return {}
    return {
        name: Verified(str(one["sha256"]), Identity(*(int(one[key]) for key in Identity._fields)))
        for name, one in values["files"].items()
    }
