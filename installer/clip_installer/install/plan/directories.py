"""The directories that a plan creates, takes over and removes."""

from __future__ import annotations

import os
import stat
from collections.abc import Iterable, Sequence
from pathlib import Path

from clip_installer.errors import ConfigurationError, ConflictError
from clip_installer.install.disk.disk import Disk
from clip_installer.install.disk.folder import is_private
from clip_installer.install.plan.plan import Step
from clip_installer.server.user import ServerUser, user_name


def missing_directories(disk: Disk, user: ServerUser, paths: Iterable[Path]) -> tuple[Path, ...]:
    """The directories above ``paths`` that do not exist yet, parents first.

    Raises:
        ConfigurationError: The server's data directory is among them, and would belong to another user.
    """
    config = disk.config
    missing: set[Path] = set()
    for path in paths:
        for directory in path.parents:
            if config.on_disk(directory).exists():
                break
            missing.add(directory)
    if config.path in missing and not config.is_staged and not user.is_current:
        raise ConfigurationError(
            f"the server's data directory {config.path} does not exist: start the server once, or create it with"
            f" install -d -o {user.name} {config.path}"
        )
    return tuple(sorted(missing, key=lambda directory: (len(directory.parts), str(directory))))


def adopted_directories(disk: Disk, steps: Sequence[Step]) -> tuple[Path, ...]:
    """Our directories in which something changes and which other users could change, parents first."""
    needed = dict.fromkeys(
        directory for step in steps if step.changes for directory in disk.places.directories(step.path)
    )
    adopted = []
    for directory in sorted(needed, key=lambda one: len(one.parts)):
        status = disk.status(directory)
        if status is None:
            continue
        if not stat.S_ISDIR(status.st_mode):
            raise ConflictError(f"{disk.here(directory)} is not a directory; move it away")
        if status.st_uid == os.geteuid() and is_private(status):
            continue
        if os.geteuid() not in (0, status.st_uid):
            raise ConflictError(
                f"{disk.here(directory)} belongs to {user_name(status.st_uid)}: run this command as that user"
            )
        adopted.append(directory)
    return tuple(adopted)


def is_our_own(disk: Disk, directory: Path) -> bool:
    """Whether ``directory`` belongs to one model, or to copies, and is not shared by all models."""
    state = disk.places.state
    below = disk.places.home in directory.parents or state in directory.parents
    return below and directory != state and directory not in state.parents
