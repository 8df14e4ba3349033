"""How the files of a plan differ from what is on disk."""

from __future__ import annotations

import difflib
from collections.abc import Iterator, Sequence
from itertools import product
from operator import ne
from pathlib import Path

from clip_installer.errors import ConflictError
from clip_installer.install.disk.disk import Disk
from clip_installer.install.output.lines import Style, unstyled
from clip_installer.install.plan.plan import Plan, Step
from clip_installer.install.records.records import RECORDS
from clip_udfs.errors import printable
from clip_udfs.verified import VERIFIED

_TEXT_LIMIT = 16_384
# Only the search page's HTML, in one line of a configuration file, is longer.
_LINE_LIMIT, _LINE_SHOWN = 10_000, 100


def diff_lines(plan: Plan, style: Style = unstyled) -> Iterator[str]:
    """Unified diffs from disk to plan; one line for a binary file.

    New settings are written beside the old ones, into a directory of their own. Such a file is compared with the one
    that it replaces.
    """
    steps = [step for step in plan.steps if step.changes or (step.action == "keep" and step.wanted is not None)]
    steps = [step for step in steps if step.path.name not in (RECORDS, VERIFIED)]
    replaced = dict(_replaced(steps))
    disk = Disk(plan.config)
    for step in steps:
        if step.path in replaced.values():
            continue
        path = plan.config.on_disk(step.path)
        replaced_path = replaced.get(step.path, step.path)
        source = plan.config.on_disk(replaced_path)
        before, after = _on_disk(disk, replaced_path), _after(disk, step)
        if before is None or after is None:
            yield f"Binary file {path}: {step.action}"
            continue
        for line in difflib.unified_diff(
            before.splitlines(),
            after.splitlines(),
            str(source) if source.exists() else "/dev/null",
            "/dev/null" if step.action == "remove" else str(path),
            lineterm="",
        ):
            # The server's user can have edited the file, for the sake of whoever looks at its difference.
            shown = line if len(line) <= _LINE_LIMIT else f"{line[:_LINE_SHOWN]}… ({len(line):,} characters)"
            yield style(printable(shown), {"+": "green", "-": "red"}.get(line[:1], ""))


def _replaced(steps: Sequence[Step]) -> Iterator[tuple[Path, Path]]:
    """Each new file with the removed file of the same name in a directory that differs by one component."""
    created, removed = ([step.path for step in steps if step.action == action] for action in ("create", "remove"))
    for new, old in product(created, removed):
        if new.name == old.name and len(new.parts) == len(old.parts) and sum(map(ne, new.parts, old.parts)) == 1:
            yield new, old


def _after(disk: Disk, step: Step) -> str | None:
    if step.wanted is None:
        return _on_disk(disk, step.source) if step.source else ""
    content = step.wanted.content
    if not isinstance(content, Path):
        return content.decode()
    return _text(content.read_bytes()) if content.stat().st_size <= _TEXT_LIMIT else None


def _on_disk(disk: Disk, path: Path) -> str | None:
    """The text of the file at ``path``; '' if there is none, None if it is no short text."""
    try:
        return _text(disk.read(path, _TEXT_LIMIT) or b"")
    except (OSError, ConflictError):
        return None


def _text(content: bytes) -> str | None:
    try:
        return content.decode()
    except UnicodeDecodeError:
        return None
