"""The server process. Everything that is not public in chDB is used only in this module.

``chdb._chdb.query`` runs clickhouse-local, which reads ``config.xml`` in its working directory and, since ClickHouse
26.6, knows ``SYSTEM START LISTEN``. Run as ``python -m clip_installer.trial.engine DIRECTORY``: the server runs until
standard input ends, so it also ends when the process that started it dies.
"""

from __future__ import annotations

import os
import sys
from importlib import import_module
from typing import Any

OLDEST = (26, 6)
# The statements of the server's own session. Reading the pipe keeps that session, and so the server, alive; then the
# running queries are cancelled, because chDB waits for them.
_SCRIPT = """
SYSTEM START LISTEN HTTP;
SYSTEM START LISTEN TCP;
SELECT count() FROM file('/dev/fd/0', 'LineAsString', 'line String') FORMAT Null;
KILL QUERY WHERE query_id != queryID() ASYNC FORMAT Null;
"""


def unsupported(chdb: Any) -> str | None:
    """Why this ``chdb`` cannot run a server; None if it can."""
    version = str(getattr(chdb, "engine_version", "0"))
    numbers = tuple(int(part) for part in version.split(".")[:2] if part.isdigit())
    if numbers < OLDEST:
        return (
            f"chdb {chdb.__version__} is ClickHouse {version}, which has no SYSTEM START LISTEN:"
            f" install chdb 4.4 or newer (ClickHouse {'.'.join(map(str, OLDEST))} or newer)"
        )
    if not callable(getattr(getattr(chdb, "_chdb", None), "query", None)):
        return f"chdb {chdb.__version__} has no chdb._chdb.query, which the server is made of: install chdb 4.4"
    return None


def main(directory: str) -> int:
    """Serve with the configuration in ``directory`` until standard input ends."""
    # Before chdir, because the import itself reads a config.xml in the working directory.
    chdb: Any = import_module("chdb")
    if problem := unsupported(chdb):
        sys.stderr.write(problem + "\n")
        return 1
    os.chdir(directory)
    chdb._chdb.query(_SCRIPT, "TabSeparated")
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1]))
