"""Carry a plan out: lock the server, change the files as one, undo everything when a step fails."""

from __future__ import annotations

import errno
import fcntl
import os
from collections.abc import Iterator
from contextlib import contextmanager
from hashlib import sha256
from pathlib import Path

from clip_installer.errors import ApplyError, ConflictError
from clip_installer.install.journal import recover
from clip_installer.install.placement import HOME, finds
from clip_installer.install.plan import Plan
from clip_installer.install.transaction import Delivery, Transaction, all_or_nothing
from clip_installer.server.config import ServerConfig


@contextmanager
def locked(config: ServerConfig) -> Iterator[str | None]:
    """Be the only installer of this server for the body, after undoing what a killed one left.

    The lock is on the configuration's directory itself, so that it leaves no file behind.

    Yields:
        What was recovered, in words, or None.

    Raises:
        ConflictError: Another installer is at work.
    """
    directory = config.on_disk(config.directory)
    handle = os.open(directory, os.O_RDONLY | os.O_DIRECTORY)
    try:
        try:
            fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError as error:
            if error.errno not in (errno.EWOULDBLOCK, errno.EACCES):
                raise ApplyError(f"cannot lock {directory}: {error.strerror}") from error
            raise ConflictError(f"another install-udfs is at work on {directory}; repeat when it has ended") from error
        yield recover(_journals(config))
    finally:
        os.close(handle)


def was_interrupted(config: ServerConfig) -> bool:
    """Whether a killed installer left something that the next one undoes."""
    return any(journal.exists() for journal in _journals(config))


@contextmanager
def applied(plan: Plan) -> Iterator[None]:
    """Make the plan's changes, run the body as their test, and keep them only if it succeeds.

    Raises:
        ApplyError: A change could not be made; everything is as it was.
    """
    if not plan.changed:
        yield
        return
    config = plan.config
    owner = (plan.user.uid, plan.user.gid) if plan.user.can_own and not plan.user.is_current else None
    deliveries = []
    for step in plan.steps:
        if not step.changes:
            continue
        target = config.on_disk(step.path)
        if step.wanted is not None:
            content: bytes | Path | None = step.wanted.content
            mode = step.wanted.mode
        else:
            content, mode = config.on_disk(step.source) if step.source else None, None
        deliveries.append(Delivery(target, content, mode, owner, fresh=step.action == "create"))
    obsolete = [config.on_disk(directory) for directory in plan.obsolete]
    places = [journal for journal in _journals(config) if journal.parent not in obsolete]
    transaction = Transaction(
        deliveries=deliveries,
        directories=[config.on_disk(directory) for directory in plan.directories],
        obsolete=obsolete,
        journal=next(journal for journal in places if journal.parent.is_dir()),
        hidden=lambda target, name: _hidden(config, target, name),
        owner=owner,
    )
    with all_or_nothing(transaction):
        yield


def _journals(config: ServerConfig) -> list[Path]:
    # The first install finds no directory of its own yet; another server's journal may lie beside ours.
    key = sha256(str(config.on_disk(config.main_file)).encode()).hexdigest()[:12]
    home = config.on_disk(config.user_scripts_path / HOME)
    return [place / f".clip-udfs-{key}.journal" for place in (home, *home.parents)]


def _hidden(config: ServerConfig, target: Path, name: str) -> Path:
    # Not always the target's own directory: a pattern such as functions/* would find any name in there.
    patterns = [str(config.on_disk(Path(pattern))) for pattern in config.function_globs]
    device = _device(target.parent)
    for directory in target.parents:
        candidate = directory / f".clip-udfs-{name}"
        if any(finds(pattern, candidate) for pattern in patterns):
            continue
        if _device(directory) != device:
            break
        return candidate
    raise ApplyError(f"every name beside {target} would be read as a function definition by the server")


def _device(directory: Path) -> int:
    existing = next(one for one in (directory, *directory.parents) if one.exists())
    return existing.stat().st_dev
