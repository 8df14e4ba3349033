"""An unexpected error: its traceback goes into a file that can be sent to us, and one line goes to the user."""

from __future__ import annotations

import os
import platform
import re
import shlex
import tempfile
import traceback
from collections.abc import Sequence
from pathlib import Path

from clip_udfs import __version__
from clip_udfs.errors import one_line

# Everything between :// and the last @ of a word may be a password.
_SECRET = re.compile(r"://[^\n]*@")
# In a table function, whatever follows the first argument may be a key.
_KEYS = re.compile(r"\b((?:s3|gcs|oss|cosn|url|azureBlobStorage)(?:Cluster)?\([^,()]*),[^\n]*")


def report(error: BaseException, command: str, arguments: Sequence[str]) -> str:
    """Write the traceback, without possible passwords, into a new file; return the line that names the file."""
    content = "\n".join(
        (
            f"{command} {__version__}, Python {platform.python_version()}, {platform.platform()}",
            shlex.join((command, *map(_without_secrets, arguments))),
            "",
            *traceback.format_exception(error),
        )
    )
    said = _without_secrets(f"unexpected {type(error).__name__}: {one_line(error)}")
    try:
        file = _write(_without_secrets(content))
    except OSError as failed:
        return f"{said}; please report it (the traceback could not be written: {failed.strerror})"
    return f"{said}; please report it, with {file}"


def _without_secrets(text: str) -> str:
    return _KEYS.sub(r"\1, ***", _SECRET.sub("://***@", text))


def _write(content: str) -> Path:
    """Write ``content`` into a file that only this user can read, in the user's state directory or in /tmp."""
    state = Path(os.environ.get("XDG_STATE_HOME") or Path.home() / ".local/state") / "clickhouse-clip-udfs"
    try:
        state.mkdir(parents=True, exist_ok=True)
        descriptor, name = tempfile.mkstemp(prefix="crash-", suffix=".log", dir=state)
    except OSError:
        descriptor, name = tempfile.mkstemp(prefix="clip-udfs-crash-", suffix=".log")
    with os.fdopen(descriptor, "w", encoding="utf-8", errors="backslashreplace") as stream:
        stream.write(content)
    return Path(name)
