"""The journal of a transaction on a file system: what is under way, so that a later process can undo or finish it."""

from __future__ import annotations

import errno
import json
import os
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Literal

from clip_installer.errors import ApplyError

Phase = Literal["staging", "swapping", "committed"]


@dataclass(frozen=True)
class Operation:
    """One file of a transaction.

    Attributes:
        target: Where the file is, or shall be.
        staged: Where its new content waits; None removes the file.
        saved: Where the old content is kept until the commit.
        existed: Whether there was a file at ``target`` before.
    """

    target: Path
    staged: Path | None
    saved: Path
    existed: bool


@dataclass(frozen=True)
class Journal:
    """Everything that is needed to undo or finish a transaction.

    Attributes:
        path: Where the journal is kept; its directory exists and is not ``obsolete``.
        directories: Directories that are made, parents first.
        obsolete: Directories to remove in the end where they are empty, children first.
        operations: The files in the order in which they are put into place.
        phase: ``staging`` until every new content waits beside its target, ``swapping`` until it is decided that the
            new state stays, then ``committed``.
    """

    path: Path
    directories: tuple[Path, ...]
    obsolete: tuple[Path, ...]
    operations: tuple[Operation, ...]
    phase: Phase = "staging"

    def write(self) -> None:
        """Put the journal on the disk, whole."""
        staged = _unfinished(self.path)
        write_file(staged, json.dumps(asdict(self), indent=1, default=str).encode())
        staged.replace(self.path)
        sync_directory(self.path.parent)

    @classmethod
    def load(cls, path: Path) -> Journal | None:
        """Read the journal at ``path``; None where there is none.

        Raises:
            ApplyError: It is damaged.
        """
        try:
            values: dict[str, Any] = json.loads(path.read_bytes())
            return cls(
                path=path,
                directories=tuple(Path(directory) for directory in values["directories"]),
                obsolete=tuple(Path(directory) for directory in values["obsolete"]),
                operations=tuple(
                    Operation(
                        Path(one["target"]),
                        Path(one["staged"]) if one["staged"] is not None else None,
                        Path(one["saved"]),
                        one["existed"],
                    )
                    for one in values["operations"]
                ),
                phase=values["phase"],
            )
        except (FileNotFoundError, NotADirectoryError):
            return None
        except (ValueError, KeyError, TypeError) as error:
            raise ApplyError(f"{path}, the journal of an interrupted install, is damaged: {error}") from error

    def roll_back(self) -> None:
        """Put everything back as it was.

        Raises:
            OSError: A step failed; the journal stays for the next attempt.
        """
        for operation in reversed(self.operations):
            if os.path.lexists(operation.saved):
                operation.saved.replace(operation.target)
                # Renaming one name of a file over another name of it does nothing.
                _discard(operation.saved)
            elif self.phase == "swapping" and not operation.existed and not _waits(operation):
                _discard(operation.target)
            if operation.staged is not None:
                _discard(operation.staged)
        for directory in reversed(self.directories):
            with suppress(FileNotFoundError, NotADirectoryError):
                directory.rmdir()
        _discard(_unfinished(self.path))
        _discard(self.path)

    def finish(self) -> None:
        """Remove what was kept of the old state.

        Raises:
            OSError: A step failed; the journal stays for the next attempt.
        """
        for operation in self.operations:
            _discard(operation.saved)
        for directory in self.obsolete:
            try:
                directory.rmdir()
            except FileNotFoundError:
                continue
            except OSError as error:
                # Somebody else's file in it is a reason to leave it.
                if error.errno not in (errno.ENOTEMPTY, errno.EEXIST):
                    raise
        _discard(self.path)


def recover(paths: Sequence[Path]) -> str | None:
    """Finish or undo what a killed process left, where one of ``paths`` is a journal.

    Returns:
        What was done, in words; None where there was nothing to do.

    Raises:
        ApplyError: The journal is damaged, or a step failed.
    """
    for path in paths:
        try:
            _discard(_unfinished(path))
            journal = Journal.load(path)
            if journal is None:
                continue
            if journal.phase == "committed":
                journal.finish()
                return "finished the clean-up of an install that was interrupted at its end"
            journal.roll_back()
            return "undid an install that was interrupted"
        except OSError as error:
            raise ApplyError(f"an interrupted install cannot be undone: {describe(error)}") from error
    return None


def describe(error: BaseException) -> str:
    """One line for an error: for a file operation the file and the reason."""
    if isinstance(error, OSError) and error.strerror:
        name = error.filename2 or error.filename
        return f"{name}: {error.strerror}" if name is not None else error.strerror
    return str(error) or type(error).__name__


def write_file(path: Path, content: bytes) -> None:
    """Write ``content`` and wait until it is on the disk."""
    with path.open("wb") as file:
        file.write(content)
        file.flush()
        os.fsync(file.fileno())


def sync_directory(directory: Path) -> None:
    """Wait until the names in ``directory`` are on the disk."""
    handle = os.open(directory, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)


def _waits(operation: Operation) -> bool:
    return operation.staged is None or operation.staged.exists()


def _discard(path: Path) -> None:
    # A read-only file system refuses to remove even what is not there.
    if os.path.lexists(path):
        path.unlink()


def _unfinished(path: Path) -> Path:
    return path.with_name(path.name + ".new")
