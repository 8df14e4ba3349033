"""A model before it is installed: its bundle is used outside the server, so that a refusal affects no query."""

from __future__ import annotations

import tempfile
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import orjson

from clip_installer.errors import CheckFailed
from clip_installer.install.checks.launch import last_line
from clip_installer.install.files.wanted import Installation
from clip_installer.server.user import ServerUser
from clip_installer.tables.comparison import KINDS
from clip_udfs.pipe.tab_separated import escape
from clip_udfs.settings import TAB_SEPARATED

_FUNCTIONS = {kind.name: kind.function for kind in KINDS}


class StagedModel:
    """An installation's model, as an :class:`~clip_installer.tables.comparison.Encode`."""

    def __init__(self, installation: Installation) -> None:
        """Encode with the current bundle of ``installation`` and its settings."""
        self._python = installation.python
        self._settings = replace(
            installation.settings, bundle=installation.bundle.directory, format=TAB_SEPARATED, text_cache=0
        )

    def __call__(self, kind: str, values: Sequence[str]) -> list[Sequence[float]]:
        """The vectors of ``values``; [] for a value that cannot be encoded.

        Raises:
            CheckFailed: The worker does not start, or fails; the text is its own last line.
        """
        function = _FUNCTIONS[kind]
        rows = b"".join(escape(value.encode()) + b"\n" for value in values)
        with tempfile.TemporaryDirectory(prefix="clip-udfs-check-") as folder:
            settings = Path(folder) / "worker.json"
            settings.write_text(self._settings.to_json(), encoding="utf-8")
            command = [str(self._python), "-I", "-m", "clip_udfs", function, "--settings", str(settings)]
            done = ServerUser.current("who installs").run(command, b"%d\n" % len(values) + rows)
        if done.returncode != 0:
            raise CheckFailed(last_line(done.stderr) or f"{function}: exit status {done.returncode}")
        return [orjson.loads(line) for line in done.stdout.splitlines()]
