"""Findings of the checks: ok, note, or problem with its remedy."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Literal

Level = Literal["ok", "note", "problem"]


@dataclass(frozen=True)
class Finding:
    """One result of a check.

    Attributes:
        level: ``ok``, ``note`` (worth knowing, but nothing to do) or ``problem``.
        subject: What was checked, in a few words.
        message: What was found.
        remedy: What to do about a problem; '' if there is nothing to do.
    """

    level: Level
    subject: str
    message: str
    remedy: str = ""

    def __str__(self) -> str:
        """One line: subject, message and remedy."""
        return f"{self.subject}: {self.message}" + (f"; {self.remedy}" if self.remedy else "")


def ok(subject: str, message: str) -> Finding:
    """Something that is as it should be."""
    return Finding("ok", subject, message)


def note(subject: str, message: str) -> Finding:
    """Something worth knowing."""
    return Finding("note", subject, message)


def problem(subject: str, message: str, remedy: str) -> Finding:
    """Something that is wrong, and what to do about it."""
    return Finding("problem", subject, message, remedy)


def problems(findings: Iterable[Finding]) -> list[Finding]:
    """Those of ``findings`` that are wrong."""
    return [finding for finding in findings if finding.level == "problem"]
