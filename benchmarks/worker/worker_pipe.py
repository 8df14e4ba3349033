"""Asking a worker over its own pipe, in RowBinaryWithNamesAndTypes, as ClickHouse does."""

from __future__ import annotations

import subprocess
import threading
from collections.abc import Sequence
from typing import IO

from clip_udfs.pipe.row_binary import header, string


def ask(process: subprocess.Popen[bytes], values: Sequence[bytes]) -> None:
    """Send ``values`` as one block and read as many vectors.

    Raises:
        RuntimeError: The worker ended; its reason is on standard error.
    """
    sender = threading.Thread(target=_send, args=(process, values))
    sender.start()
    assert process.stdout is not None
    try:
        for _ in range(2 * _number(process.stdout)):  # a name and a type
            _exactly(process.stdout, _number(process.stdout))
        for _ in values:
            _exactly(process.stdout, 4 * _number(process.stdout))
    except EOFError as error:
        raise RuntimeError(f"a worker ended with {process.wait()}") from error
    sender.join()


def _send(process: subprocess.Popen[bytes], values: Sequence[bytes]) -> None:
    assert process.stdin is not None
    process.stdin.write(b"%d\n" % len(values) + header("value", "String"))
    process.stdin.writelines(map(string, values))
    process.stdin.flush()


def _number(stream: IO[bytes]) -> int:
    number = shift = 0
    while (byte := _exactly(stream, 1)[0]) >= 0x80:
        number |= (byte & 0x7F) << shift
        shift += 7
    return number | byte << shift


def _exactly(stream: IO[bytes], size: int) -> bytes:
    read = stream.read(size)
    if len(read) < size:
        raise EOFError
    return read
