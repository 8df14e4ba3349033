"""Writing to a pipe."""

from __future__ import annotations

import os

from clip_udfs.pipe.wire import write_all


def test_write_all_writes_through_a_full_pipe() -> None:
    import threading

    reading, writing = os.pipe()
    data = os.urandom(1_000_000)
    received = bytearray()

    def drain() -> None:
        while piece := os.read(reading, 1000):
            received.extend(piece)

    thread = threading.Thread(target=drain)
    thread.start()
    write_all(writing, data)
    os.close(writing)
    thread.join()
    os.close(reading)
    assert received == data
