"""The contents of a plan's files, and their differences from what is on disk."""

from __future__ import annotations

import difflib
from collections.abc import Iterator
from pathlib import Path

from clip_installer.install.output.lines import Style, unstyled
from clip_installer.install.plan.plan import Plan
from clip_installer.install.records.records import RECORDS
from clip_udfs.verified import VERIFIED

_TEXT_LIMIT = 16_384


def content_lines(plan: Plan) -> Iterator[str]:
    """The content of every small file that would be written."""
    for step in plan.steps:
        if step.changes and step.wanted is not None and isinstance(step.wanted.content, bytes):
            yield ""
            yield f"==> {plan.config.on_disk(step.path)}"
            yield step.wanted.content.decode().rstrip("\n")


def diff_lines(plan: Plan, style: Style = unstyled) -> Iterator[str]:
    """Unified diffs from disk to plan; for binary files, a line with their sizes."""
    for step in plan.steps:
        if step.action == "unchanged" or (step.action == "keep" and step.wanted is None):
            continue
        if step.path.name in (RECORDS, VERIFIED):
            continue
        path = plan.config.on_disk(step.path)
        before = _text(path)
        if step.wanted is None:
            source = plan.config.on_disk(step.source) if step.source else None
            after = _text(source) if source else ""
        else:
            content = step.wanted.content
            after = _text(content) if isinstance(content, Path) else content.decode()
        if before is None or after is None:
            yield f"Binary file {path}: {step.action}"
            continue
        for line in difflib.unified_diff(
            before.splitlines(),
            after.splitlines(),
            str(path) if path.exists() else "/dev/null",
            "/dev/null" if step.action == "remove" else str(path),
            lineterm="",
        ):
            yield style(line, {"+": "green", "-": "red"}.get(line[:1], ""))


def _text(path: Path) -> str | None:
    try:
        if path.stat().st_size > _TEXT_LIMIT:
            return None
        return path.read_text(encoding="utf-8")
    except FileNotFoundError:
        return ""
    except (OSError, UnicodeDecodeError):
        return None
