"""Progress bars on standard error, where that is a terminal."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Protocol

if TYPE_CHECKING:
    from rich.progress import TaskID


class Advance(Protocol):
    """Shows how far something is; the first call for a name makes its bar."""

    def __call__(self, name: str, done: float, total: float | None, unit: str) -> None:
        """Say that ``done`` of ``total`` units of ``name`` are done; None where the total is not known."""
        ...


def silent(name: str, done: float, total: float | None, unit: str) -> None:
    """An :class:`Advance` that shows nothing."""


def say(line: str) -> None:
    """Show a line about what is being done, where somebody looks."""
    if sys.stderr.isatty():
        sys.stderr.write(f"{line}\n")


@contextmanager
def progress() -> Iterator[Advance]:
    """Bars with what is done, the rate and the time left; they stay empty where nobody looks."""
    if not sys.stderr.isatty():
        yield silent
        return
    from rich.console import Console
    from rich.progress import BarColumn, Progress, ProgressColumn, Task, TextColumn, TimeRemainingColumn
    from rich.text import Text

    class Amount(ProgressColumn):
        def render(self, task: Task) -> Text:
            unit, rate = task.fields["unit"], task.finished_speed or task.speed or 0
            of = "" if task.total is None else f" of {task.total:,.0f}"
            return Text(f"{task.completed:,.0f}{of} {unit}  {rate:,.0f} {unit}/s")

    columns = (TextColumn("{task.description}"), BarColumn(), Amount(), TimeRemainingColumn())
    with Progress(*columns, console=Console(stderr=True)) as bars:
        tasks: dict[str, TaskID] = {}

        def advance(name: str, done: float, total: float | None, unit: str) -> None:
            if name not in tasks:
                tasks[name] = bars.add_task(name, total=total, unit=unit)
            bars.update(tasks[name], completed=done, total=total)

        yield advance
