"""Runs a command of ours in a separate process, and measures it."""

from __future__ import annotations

import json
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Any

# The peak is the kernel's VmHWM: getrusage's would include the test runner, whose memory a child starts with.
_MEASURED = """
import re, sys
from pathlib import Path
from clip_installer.cli import main

note = Path(sys.argv.pop(1))
try:
    main()
finally:
    note.write_text(re.search(r"VmHWM:\\s+(\\d+)", Path("/proc/self/status").read_text())[1])
"""


@dataclass(frozen=True)
class Finished:
    """The outcome of a command."""

    status: int
    output: str
    error: str

    @property
    def answer(self) -> dict[str, Any]:
        """The object that a command printed with ``--json``."""
        answer: dict[str, Any] = json.loads(self.output)
        return answer


def start(*arguments: object) -> subprocess.Popen[str]:
    """Start ``clip-udfs`` with ``arguments``."""
    return subprocess.Popen(
        [sys.executable, "-m", "clip_installer", *map(str, arguments)],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )


def run(*arguments: object) -> Finished:
    """Run ``clip-udfs`` with ``arguments`` to its end."""
    process = start(*arguments)
    output, error = process.communicate(timeout=300)
    return Finished(process.returncode, output, error)


def succeed(*arguments: object) -> Finished:
    """Run ``clip-udfs`` with ``arguments``, which must work."""
    finished = run(*arguments)
    assert finished.status == 0, finished.error
    return finished


def peak_mebibytes(note: Path, *arguments: object) -> int:
    """Run ``clip-udfs`` with ``arguments``, which must succeed, and return its peak resident memory."""
    subprocess.run([sys.executable, "-c", _MEASURED, str(note), *map(str, arguments)], check=True, timeout=300)
    return int(note.read_text()) // 1024
