"""A worker whose ONNX Runtime misbehaves as the files of a directory say.

``python -I saboteur.py DIRECTORY FUNCTION --settings FILE`` is ``python -I -m clip_udfs FUNCTION --settings FILE``
until one of the files is there; :class:`tests.chdb.faults.case.Case` starts it and names them.
"""

import os
import runpy
import sys
import time
from pathlib import Path
from typing import Any

import onnxruntime

CONTROL = Path(sys.argv.pop(1))


def there(fault: str) -> bool:
    return (CONTROL / fault).exists()


def wait_while(fault: str) -> None:
    """Stand still while the file is there, and leave a file that says which process does."""
    if there(fault):
        (CONTROL / f"{os.getpid()}.waits").touch()
        while there(fault):
            time.sleep(0.01)
        (CONTROL / f"{os.getpid()}.waits").unlink(missing_ok=True)


class Session(onnxruntime.InferenceSession):
    def __init__(self, *arguments: Any, **options: Any) -> None:
        wait_while("hold-load")
        super().__init__(*arguments, **options)

    def run(self, *arguments: Any, **options: Any) -> Any:
        wait_while("hold-run")
        if there("slow-run"):
            time.sleep(0.05)
        if there("print"):
            sys.stdout.write("a library says hello\n")
            sys.stdout.flush()
            os.write(1, b"[1,2,3]\n")
            os.system("echo '[4,5,6]'")
        if there("flood"):
            os.write(2, b"a line of the flood\n" * 52_429)
        if there("raise"):
            raise RuntimeError("bad things\nhappened inside")
        return super().run(*arguments, **options)


onnxruntime.InferenceSession = Session
runpy.run_module("clip_udfs", run_name="__main__", alter_sys=True)
