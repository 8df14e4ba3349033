"""What others write on the worker's standard output and standard error, and where it cannot be written."""

from __future__ import annotations

import subprocess

from tests.chdb.faults.case import Case, Question, altered, question, replace


def test_a_library_prints_on_standard_output(fault: Case) -> None:
    """A library prints to standard output in every batch: flushed, by system call, and from a child process."""
    fault.sabotage()
    with fault.fault("print"):
        for function in ("encode_text", "encode_image", "encode_text"):
            fault.exact(question(function, rows=100, block=30))
    fault.exact()


def test_a_library_floods_standard_error(fault: Case) -> None:
    """A library writes 1 MB to standard error in every batch."""
    fault.sabotage()
    with fault.fault("flood"):
        for function in ("encode_text", "encode_image", "encode_text"):
            fault.exact(question(function, rows=100, block=30))
    fault.exact()


def test_a_flood_does_not_hide_the_reason(fault: Case) -> None:
    """A library writes 1 MB to standard error, then the worker fails."""
    fault.sabotage()
    with fault.fault("flood"), fault.fault("raise"):
        fault.fails("encode_text: ONNX Runtime failed on a batch of …: bad things happened inside")
    fault.exact()


def test_onnx_runtime_raises(fault: Case) -> None:
    """ONNX Runtime raises an error of several lines: the try_ functions fail too, because no row is to blame."""
    fault.sabotage()
    with fault.fault("raise"):
        fault.fails("encode_text: ONNX Runtime failed on a batch of …: bad things happened inside")
        fault.fails(
            "try_encode_image: ONNX Runtime failed on a batch of …: bad things happened inside",
            asked=question("try_encode_image"),
        )
    fault.exact()
    fault.exact("try_encode_image")


FULL = "<logger><level>trace</level><log>/dev/full</log><errorlog>/dev/full</errorlog></logger>"
MISSING = Question("encode_image", (), "SELECT encode_image('missing.png')")


def test_the_disk_of_the_servers_log_is_full(fault: Case) -> None:
    """The disk of the server's log is full: good rows are answered, and a bad row still gets its reason."""
    assert fault.engine.close() == 0
    config = fault.tree.main_file
    with altered(config, config.read_bytes().replace(b"<clickhouse>", b"<clickhouse>" + FULL.encode(), 1)):
        fault.start(stderr=subprocess.DEVNULL)
        fault.exact("encode_image")
        fault.fails("encode_image: row 1: 'missing.png': no such file", asked=MISSING)
        fault.exact("encode_image")


def test_the_disk_of_standard_error_is_full(fault: Case) -> None:
    """Standard error goes to a full disk: good rows are answered; a bad row fails without its reason."""
    launcher = fault.folder / "launch"
    replace(launcher, launcher.read_text().replace(" --settings ", " 2>/dev/full --settings "))
    fault.warm("encode_text", "encode_image")
    fault.fails("Child process was exited with return code …", asked=MISSING)
    fault.exact("encode_image")
