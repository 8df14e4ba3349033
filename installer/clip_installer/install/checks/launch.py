"""Start a launcher as ClickHouse would: as its user, with no environment, speaking the pool protocol."""

from __future__ import annotations

import os
import stat
import sys
from collections.abc import Iterator, Sequence
from pathlib import Path

import numpy as np

from clip_installer.errors import CheckFailed, ConflictError
from clip_installer.install.disk.folder import Folder, is_private
from clip_installer.server.user import ServerUser, user_name
from clip_udfs.errors import printable
from clip_udfs.pipe.row_binary import header, string
from clip_udfs.pipe.tab_separated import escape
from clip_udfs.settings import ROW_BINARY, WorkerSettings


def answers(
    launcher: Path, function: str, values: Sequence[bytes], settings: WorkerSettings, user: ServerUser
) -> list[list[float]]:
    """The vectors that the worker of ``function`` returns for one block of ``values``.

    Raises:
        CheckFailed: The worker does not start or does not answer; the text is its own last line.
    """
    binary = settings.format == ROW_BINARY
    rows = b"".join(string(one) if binary else escape(one) + b"\n" for one in values)
    begin = header("value", "String") if binary else b""
    refuse_changeable_program(launcher, user)
    completed = user.run([str(launcher), function], b"%d\n" % len(values) + begin + rows)
    if completed.returncode != 0:
        raise CheckFailed(last_line(completed.stderr) or f"exit status {completed.returncode}")
    try:
        return list(_row_binary(completed.stdout) if binary else _tab_separated(completed.stdout))
    except ValueError as error:
        raise CheckFailed(f"not a vector: {completed.stdout[:80]!r}") from error


def refuse_changeable_program(program: Path, user: ServerUser) -> None:
    """Refuse to start ``program`` as root if anybody else could have replaced it.

    The interpreter that runs this command is exempt: root has already chosen it.

    Raises:
        CheckFailed: Others can; the message names what they can change, and the way out.
    """
    if os.geteuid() != 0 or user.uid != 0 or os.path.realpath(program) == os.path.realpath(sys.executable):
        return
    try:
        for path in (program, Path(os.path.realpath(program))):
            with Folder.opened(path.parent, private=True) as folder:
                status = folder.status(path.name)
            if status is not None and not is_private(status):
                raise ConflictError(f"{path} can be changed by {user_name(status.st_uid)}")
    except (ConflictError, OSError) as error:
        raise CheckFailed(
            f"{program} is not started as root: {error}; name the user that ClickHouse runs as with --user, or install"
            " where only root can write"
        ) from error


def closed_directory(path: Path, user: ServerUser) -> Path | None:
    """The first directory on the way to ``path``, or to its link's target, that ``user`` may not enter."""
    for way in (path, Path(os.path.realpath(path))):
        for directory in reversed(way.parents):
            try:
                status = directory.stat()
            except OSError:
                return directory
            if user.uid != 0 and not _may_enter(status, user):
                return directory
    return None


def last_line(output: bytes) -> str:
    """The last line of a program's output that is not blank, safe to show; '' where there is none."""
    lines = [line for line in output.decode(errors="replace").splitlines() if line.strip()]
    return printable(lines[-1].strip()) if lines else ""


def _may_enter(status: os.stat_result, user: ServerUser) -> bool:
    if status.st_uid == user.uid:
        return bool(status.st_mode & stat.S_IXUSR)
    if status.st_gid == user.gid:
        return bool(status.st_mode & stat.S_IXGRP)
    return bool(status.st_mode & stat.S_IXOTH)


def _tab_separated(output: bytes) -> Iterator[list[float]]:
    for line in output.splitlines():
        yield [float(number) for number in line.strip(b"[]").split(b",")]


def _row_binary(output: bytes) -> Iterator[list[float]]:
    columns, position = _length(output, 0)
    for _ in range(2 * columns):  # a name and a type
        size, position = _length(output, position)
        position += size
    while position < len(output):
        count, start = _length(output, position)
        numbers = np.frombuffer(output, dtype="<f4", offset=start, count=count)
        yield [float(number) for number in numbers]
        position = start + 4 * count


def _length(encoded: bytes, start: int) -> tuple[int, int]:
    """The LEB128 number at ``start``, and where it ends."""
    number = 0
    for position, byte in enumerate(encoded[start : start + 10]):
        number |= (byte & 0x7F) << (7 * position)
        if byte < 0x80:
            return number, start + position + 1
    raise ValueError("no length")
