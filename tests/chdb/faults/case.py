"""One fault: an engine on installed files, what is asked of it, what must be answered, what may be left after it."""

from __future__ import annotations

import os
import re
import shlex
import signal
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from functools import cache
from io import BytesIO
from itertools import count
from pathlib import Path

import numpy as np
import psutil
import pytest
from numpy.typing import NDArray

from clip_udfs.functions import ENCODERS
from clip_udfs.pipe.wire import Oversized
from clip_udfs.settings import WorkerSettings
from tests.chdb.conftest import ServerTree
from tests.chdb.driver import Engine, QueryFailed
from tests.models.pictures import drawing
from tests.pipelines import pipeline_of
from tests.processes import children, command_line, has_ended, without_children

SABOTEUR = Path(__file__).with_name("saboteur.py")
PICTURES = 6
VECTORS = "the right vectors"
# No fault may make anything wait for long; this ends a test that hangs.
HANG_SECONDS = 60
_NUMBERS = count()


class Reference:
    """Vectors of the installed model, computed in this process, with no ClickHouse and no pipe."""

    def __init__(self, settings: WorkerSettings) -> None:
        """Load both towers of the model."""
        self._settings = settings
        self._pipelines = {
            name: pipeline_of(function, settings) for name, function in ENCODERS.items() if not function.strict
        }

    @classmethod
    def of(cls, tree: ServerTree) -> Reference:
        """The model that is installed in ``tree``."""
        (settings,) = tree.data.glob("user_scripts/clip_udfs/*/*/worker.json")
        return cls(WorkerSettings.load(settings))

    def vectors(self, function: str, contents: Sequence[bytes | None]) -> list[NDArray[np.float32]]:
        """What ``function`` must answer, row by row; an empty array where a value cannot be encoded."""
        limit = self._settings.max_text_bytes if "text" in function else self._settings.max_image_bytes
        values = [Oversized(len(value)) if value is not None and len(value) > limit else value for value in contents]
        pipeline = self._pipelines[function if function.startswith("try_") else f"try_{function}"]
        return [
            row if present else row[:0]
            for answer in pipeline.encode(iter(values))
            for row, present in zip(answer.matrix, answer.present, strict=True)
        ]


@dataclass(frozen=True)
class Question:
    """A statement that calls one function, and the values that its rows hold."""

    function: str
    values: tuple[bytes, ...]
    statement: str


@cache
def picture(number: int) -> bytes:
    """The file of a picture."""
    content = BytesIO()
    drawing(80 + 10 * number, 70, number).save(content, "JPEG")
    return content.getvalue()


def name_of_picture(number: int) -> str:
    """Where the picture lies below the directory that ``encode_image`` may read."""
    return f"{number}.jpg"


def question(function: str = "encode_text", rows: int = 40, block: int = 65_409, rest: str = "") -> Question:
    """Rows for ``function``: texts that no other question has, or the pictures in turn."""
    number = next(_NUMBERS)
    if "text" in function:
        values = [f"question {number}, text {row}".encode() for row in range(rows)]
        sql = f"concat('question {number}, text ', toString(number))"
    else:
        known = [picture(one) if "bytes" in function else name_of_picture(one).encode() for one in range(PICTURES)]
        values = [known[row % PICTURES] for row in range(rows)]
        literals = [f"unhex('{one.hex()}')" for one in known]
        sql = f"[{', '.join(literals)}][number % {PICTURES} + 1]"
    statement = f"SELECT {function}({sql}) FROM numbers({rows}) {rest} SETTINGS max_block_size = {block}"
    return Question(function, tuple(values), statement)


@dataclass
class Case:
    """One fault on a running engine; what is seen is told to the matrix, in the order in which it is seen."""

    tree: ServerTree
    control: Path
    reference: Reference
    environment: dict[str, str]
    seen: list[str] = field(default_factory=list)
    engine: Engine = field(init=False)

    def start(self, **options: object) -> None:
        """Start the engine, also again; ``options`` go to :class:`subprocess.Popen`."""
        self.engine = self.tree.engine(env=self.environment, **options)

    @property
    def folder(self) -> Path:
        """Where the installer put the model, its launcher and its settings."""
        (launcher,) = self.tree.data.glob("user_scripts/clip_udfs/*/*/launch")
        return launcher.parent

    @property
    def settings(self) -> WorkerSettings:
        """The workers' settings, as installed."""
        return WorkerSettings.load(self.folder / "worker.json")

    def exact(self, asked: Question | str = "encode_text", client: int = 0) -> None:
        """Ask, and see the right vectors."""
        asked = question(asked) if isinstance(asked, str) else asked
        self.engine.begin(asked.statement, client)
        self.answered(asked, client)

    def answered(self, asked: Question, client: int = 0) -> None:
        """See the right vectors for a question that was begun."""
        self.check(asked, self.engine.finish(client))
        self.seen.append(VECTORS)

    def check(self, asked: Question, rows: list[tuple[list[float], ...]]) -> None:
        """Compare an answer with the reference."""
        got = [np.array(vector, np.float32) for (vector,) in rows]
        wanted = self.reference.vectors(asked.function, asked.values)
        assert [vector.shape for vector in got] == [vector.shape for vector in wanted]
        assert max(np.abs(one - other).max() for one, other in zip(got, wanted, strict=True)) < 1e-6

    def warm(self, *functions: str) -> None:
        """Have a worker of each function, before anything happens."""
        for function in functions or ("encode_text",):
            self.exact(function)
        self.seen.clear()

    def fails(self, *says: str, asked: Question | str = "encode_text") -> None:
        """Ask, and see a message that holds one of ``says``, where an ellipsis stands for anything on the line."""
        self.engine.begin((question(asked) if isinstance(asked, str) else asked).statement)
        self.refused(*says)

    def refused(self, *says: str, client: int = 0) -> None:
        """See a message that holds one of ``says`` for a question that was begun."""
        with pytest.raises(QueryFailed) as failed:
            self.engine.finish(client)
        patterns = [".*".join(map(re.escape, one.split("…"))) for one in says]
        assert any(re.search(pattern, str(failed.value)) for pattern in patterns), str(failed.value)
        self.seen.append(" or ".join(f"`{one}`" for one in says))

    def saw(self, what: str) -> None:
        """Tell the matrix what was seen in another way."""
        self.seen.append(what)

    def workers(self, function: str = "encode_text") -> list[psutil.Process]:
        """The function's living workers, without the processes in which they decode."""
        return without_children(
            process for process in processes(self.tree) if function in command_line(process) and not has_ended(process)
        )

    def worker(self, function: str = "encode_text") -> psutil.Process:
        """The function's only worker."""
        (only,) = self.workers(function)
        return only

    def sabotage(self) -> None:
        """From now on, start workers that look for their faults in the control directory."""
        launcher = self.folder / "launch"
        text = launcher.read_text()
        assert " -m clip_udfs " in text
        program = f" {shlex.quote(str(SABOTEUR))} {shlex.quote(str(self.control))} "
        replace(launcher, text.replace(" -m clip_udfs ", program))

    def start_workers_with(self, python: Path) -> None:
        """From now on, start workers with another interpreter."""
        launcher = self.folder / "launch"
        replace(launcher, launcher.read_text().replace(sys.executable, str(python)))

    @contextmanager
    def fault(self, name: str) -> Iterator[None]:
        """Have the fault ``name`` of the saboteur."""
        (self.control / name).touch()
        try:
            yield
        finally:
            (self.control / name).unlink()

    def waiting(self) -> psutil.Process:
        """Wait until a worker stands still on purpose, and give it."""
        until(lambda: any(self.control.glob("*.waits")), "a worker that waits")
        (note,) = self.control.glob("*.waits")
        note.unlink()
        return psutil.Process(int(note.stem))

    def define(self, key: str, value: int, function: str = "encode_text") -> None:
        """Change one value of a function's definition, and have ClickHouse read it again.

        ClickHouse reads a file again where the second of its modification is another one.
        """
        path = self.tree.config / f"{function}_function.xml"
        modified = path.stat().st_mtime + 2
        text, changed = re.subn(f"<{key}>.*</{key}>", f"<{key}>{value}</{key}>", path.read_text())
        assert changed == 1
        replace(path, text)
        os.utime(path, (modified, modified))
        self.engine.rows("SYSTEM RELOAD FUNCTIONS")


def replace(path: Path, content: str | bytes) -> None:
    """Put new content into place as an installer does: what reads the old file keeps it."""
    new = path.with_name(f".{path.name}.new")
    new.write_bytes(content.encode() if isinstance(content, str) else content)
    new.chmod(path.stat().st_mode)
    new.replace(path)


@contextmanager
def altered(path: Path, content: bytes | None) -> Iterator[None]:
    """Have other content in a file, or no such file, for a while."""
    kept = path.with_name(f".{path.name}.kept")
    os.link(path, kept)
    try:
        if content is None:
            path.unlink()
        else:
            replace(path, content)
        yield
    finally:
        kept.replace(path)


def until(true: Callable[[], bool], what: str) -> None:
    """Wait for ``true()``; it must not take for ever."""
    end = time.monotonic() + HANG_SECONDS
    while not true():
        assert time.monotonic() < end, f"still waiting for {what}"
        time.sleep(0.01)


def processes(tree: ServerTree) -> list[psutil.Process]:
    """Every process on this machine that was started with the tree's settings, whoever its parent is."""
    found = []
    for process in psutil.process_iter():
        if any(str(tree.data) in argument and "worker.json" in argument for argument in command_line(process)):
            found.append(process)
    return found


def zombies(engine: Engine) -> int:
    """Children of the engine that ended and that it has not noticed."""
    return sum(has_ended(child) for child in children(engine.process.pid, recursive=False))


def files(directory: Path) -> dict[str, int]:
    """Every file below a directory with its size, to see what is left behind."""
    return {str(path.relative_to(directory)): path.lstat().st_size for path in directory.rglob("*") if path.is_file()}


def nothing_left(tree: ServerTree, temporary: Path, before: dict[str, int]) -> None:
    """No process of the tree, no temporary file, nothing new among the installed files."""
    until(lambda: not processes(tree), f"the end of {processes(tree)}")
    assert list(temporary.iterdir()) == []
    assert files(tree.data / "tmp") == {}
    assert files(tree.data / "user_scripts") == before


def send(process: psutil.Process, number: signal.Signals) -> None:
    """Send a signal; for one that ends the process, wait until it has ended."""
    process.send_signal(number)
    if number in (signal.SIGKILL, signal.SIGTERM):
        until(lambda: has_ended(process), f"the end of {process}")
