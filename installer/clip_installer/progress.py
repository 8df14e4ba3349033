"""Progress bars on standard error, if it is a terminal."""

from __future__ import annotations

import shutil
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Protocol

if TYPE_CHECKING:
    from rich.progress import TaskID


class Advance(Protocol):
    """Reports progress; the first call for a name creates its bar."""

    def __call__(self, name: str, done: float, total: float | None, unit: str) -> None:
        """Report that ``done`` of ``total`` units of ``name`` are done; None if the total is unknown."""
        ...


def silent(name: str, done: float, total: float | None, unit: str) -> None:
    """An :class:`Advance` that shows nothing."""


def say(line: str) -> None:
    """Show a line about what is being done, if standard error is a terminal."""
    if sys.stderr.isatty():
        sys.stderr.write(f"{line}\n")


class Status:
    """One line on a terminal's standard error that says what is being done, replaced by the next."""

    def __init__(self) -> None:
        """Show nothing yet."""
        self._shown = False

    def __call__(self, text: str) -> None:
        """Replace the line by ``text``, cut to the width of the terminal."""
        if sys.stderr.isatty():
            width = shutil.get_terminal_size().columns - 4
            sys.stderr.write(f"\r\x1b[K{text[:width]}...")
            sys.stderr.flush()
            self._shown = True

    def clear(self) -> None:
        """Clear the line."""
        if self._shown:
            sys.stderr.write("\r\x1b[K")
            sys.stderr.flush()
            self._shown = False


@contextmanager
def progress() -> Iterator[Advance]:
    """Progress bars with rate and time left; hidden unless standard error is a terminal."""
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
