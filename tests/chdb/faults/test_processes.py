"""Workers and the server are killed, stopped, or cannot start."""

from __future__ import annotations

import resource
import signal
import subprocess
import sys
import sysconfig
from pathlib import Path

import psutil

from tests.chdb.faults.case import Case, Question, altered, processes, question, send, until, zombies

KILLED = "Child process was terminated by signal 9"
TERMINATED = "Child process was terminated by signal 15"
# ClickHouse may notice while it writes the rows, or while it waits for the answer, whose header comes first.
ENDED = "Attempt to read after eof: (while reading header)"
PIPE = "Cannot write into pipe: , errno: 32, strerror: Broken pipe"


def test_killed_while_it_waits_for_work(fault: Case) -> None:
    """`kill -9` of an idle worker."""
    fault.warm()
    for _ in range(2):
        fault.seen.clear()
        send(fault.worker(), signal.SIGKILL)
        fault.fails(ENDED, PIPE)
        fault.exact()
    assert zombies(fault.engine) == 0


def test_killed_while_it_loads(fault: Case) -> None:
    """`kill -9` of a worker that is loading its model."""
    fault.sabotage()
    with fault.fault("hold-load"):
        fault.engine.begin(question().statement)
        send(fault.waiting(), signal.SIGKILL)
        fault.refused(KILLED, PIPE)
    fault.exact()
    assert zombies(fault.engine) == 0


def test_killed_in_the_middle_of_a_block(fault: Case) -> None:
    """`kill -9` of a worker in the middle of a block, after part of it was answered."""
    fault.sabotage()
    fault.warm()
    with fault.fault("slow-run"):
        fault.engine.begin(question(rows=5000).statement)
        until(lambda: bool(fault.worker().io_counters().write_chars > 2_000_000), "the first part of the answer")
        send(fault.worker(), signal.SIGKILL)
    fault.refused(KILLED, PIPE)
    fault.exact()
    assert zombies(fault.engine) == 0


def test_terminated_while_it_waits_for_work(fault: Case) -> None:
    """SIGTERM to an idle worker."""
    fault.warm("encode_image")
    send(fault.worker("encode_image"), signal.SIGTERM)
    fault.fails(ENDED, PIPE, asked=question("encode_image"))
    fault.exact("encode_image")
    assert zombies(fault.engine) == 0


def test_terminated_in_the_middle_of_a_block(fault: Case) -> None:
    """SIGTERM to a worker in the middle of a block."""
    fault.sabotage()
    with fault.fault("hold-run"):
        fault.engine.begin(question("encode_image").statement)
        send(fault.waiting(), signal.SIGTERM)
        fault.refused(TERMINATED, PIPE)
    fault.exact("encode_image")
    assert zombies(fault.engine) == 0


def test_stopped_and_continued(fault: Case) -> None:
    """SIGSTOP and later SIGCONT to an idle worker, and to one in the middle of a block."""
    fault.sabotage()
    fault.warm()
    serving = fault.worker()
    send(serving, signal.SIGSTOP)
    asked = question(rows=3000)
    fault.engine.begin(asked.statement)
    until(lambda: serving.status() == psutil.STATUS_STOPPED, "the stop")
    send(serving, signal.SIGCONT)
    fault.answered(asked)
    with fault.fault("hold-run"):
        asked = question()
        fault.engine.begin(asked.statement)
        send(fault.waiting(), signal.SIGSTOP)
        until(lambda: serving.status() == psutil.STATUS_STOPPED, "the stop")
    send(serving, signal.SIGCONT)
    fault.answered(asked)
    fault.exact()
    assert fault.worker() == serving


def test_out_of_memory(fault: Case) -> None:
    """A worker may allocate only 16 MiB more (`RLIMIT_AS`) and receives a value of 50 MB."""
    fault.warm("encode_image_bytes")
    serving = fault.worker("encode_image_bytes")
    resource.prlimit(serving.pid, resource.RLIMIT_AS, (serving.memory_info().vms + (16 << 20),) * 2)
    large = "SELECT encode_image_bytes(repeat(repeat('x', 1000), 50000))"
    fault.fails("encode_image_bytes: out of memory", asked=Question("encode_image_bytes", (), large))
    fault.exact("encode_image_bytes")
    assert zombies(fault.engine) == 0


def test_the_server_is_killed(fault: Case) -> None:
    """`kill -9` of the server while a worker computes: that worker exits at once, and so does an idle one."""
    fault.sabotage()
    fault.warm("encode_text", "encode_image")
    with fault.fault("hold-run"):
        fault.engine.begin(question().statement)
        fault.waiting()
        fault.engine.process.kill()
        fault.engine.process.wait()
        until(lambda: not processes(fault.tree), "the end of the workers")
    fault.saw("the connection is lost")
    assert fault.engine.close() == -signal.SIGKILL
    fault.start()
    fault.exact()
    fault.exact("encode_image")


def environment(place: Path) -> tuple[Path, Path]:
    """A virtual environment that has the package: its interpreter, and the file that leads to the package."""
    subprocess.run([sys.executable, "-m", "venv", "--without-pip", place], check=True)
    (packages,) = place.glob("lib/python*/site-packages")
    leads = packages / "ours.pth"
    leads.write_text(f"import site; site.addsitedir({sysconfig.get_path('purelib')!r})\n")
    return place / "bin" / "python", leads


def test_the_interpreter_is_removed(fault: Case, tmp_path: Path) -> None:
    """The virtual environment is removed: running workers continue, new ones cannot start until it is back."""
    python, _ = environment(tmp_path / "venv")
    fault.start_workers_with(python)
    fault.warm("encode_image")
    (tmp_path / "venv").rename(tmp_path / "gone")
    fault.check(asked := question("encode_image"), fault.engine.rows(asked.statement))
    for _ in range(2):
        fault.fails("the interpreter …/venv/bin/python is not there: install the package again, then run install-udfs")
    (tmp_path / "gone").rename(tmp_path / "venv")
    fault.exact()


def test_the_package_is_removed(fault: Case, tmp_path: Path) -> None:
    """The package is removed from its virtual environment."""
    python, leads = environment(tmp_path / "venv")
    fault.start_workers_with(python)
    content = leads.read_text()
    leads.unlink()
    for _ in range(2):
        fault.fails("/venv/bin/python: No module named clip_udfs")
    leads.write_text(content)
    fault.exact()


def test_the_launcher_is_removed(fault: Case) -> None:
    """The launcher is removed."""
    with altered(fault.folder / "launch", None):
        for _ in range(2):
            fault.fails("Executable file clip_udfs/emoji/…/launch does not exist inside user scripts folder")
    fault.exact()
