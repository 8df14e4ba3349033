"""Processes that may end at any moment: between being listed and being read or killed, too."""

from collections.abc import Iterable
from contextlib import suppress

import psutil


def command_line(process: psutil.Process) -> list[str]:
    """The arguments that ``process`` was started with; none if it has ended."""
    try:
        return process.cmdline()
    except psutil.Error:
        return []


def has_ended(process: psutil.Process) -> bool:
    """Whether ``process`` has ended, though its parent may not know yet."""
    try:
        return process.status() == psutil.STATUS_ZOMBIE
    except psutil.NoSuchProcess:
        return True


def children(parent: int, *, recursive: bool = True) -> list[psutil.Process]:
    """The children of the process ``parent``; those of its children as well if ``recursive``."""
    try:
        return psutil.Process(parent).children(recursive=recursive)
    except psutil.NoSuchProcess:
        return []


def without_children(processes: Iterable[psutil.Process]) -> list[psutil.Process]:
    """The processes that none of the others started: workers without the processes in which they decode."""
    parents = list(processes)
    started = {child.pid for parent in parents for child in children(parent.pid, recursive=False)}
    return [parent for parent in parents if parent.pid not in started]


def kill(processes: Iterable[psutil.Process]) -> None:
    """Kill each process at once, as the kernel does when memory runs out; one that ended with another is no error."""
    for process in processes:
        with suppress(psutil.NoSuchProcess):
            process.kill()


def resident_bytes(process: psutil.Process) -> int:
    """The resident memory of ``process``; none if it has ended."""
    try:
        return int(process.memory_info().rss)
    except psutil.NoSuchProcess:
        return 0
