"""What ClickHouse starts: ``python -I -m clip_udfs FUNCTION --settings FILE``.

Before anything else is imported, the pipes for answers and for reasons move to private descriptors, and descriptors 1
and 2 lead nowhere: ClickHouse would take one stray byte among the answers for the answer to the next query, and
    ClickHouse fails the query for anything on standard error (``stderr_reaction`` is ``throw``).
"""

import gc
import os
import sys

# Words that CPython reserves for a call of main(). It keeps frames in chunks of 16 KiB, and a loop that calls functions
# at the end of a chunk maps and unmaps the next one at every turn: imports did so 1900 times. A chunk that holds a
# frame of this size has as much room again for the frames above it. The memory is never touched, so it takes none.
_FRAME_WORDS = 1 << 14


def main() -> int:
    """Serve one function until the end of input; the exit status ClickHouse sees."""
    gc.disable()  # until the model is loaded: looking for garbage takes a tenth of a start, and there is hardly any
    # The process inherits ClickHouse's descriptors, including its clients' connections: while a worker holds one, the
    # client does not see the server close it and waits for ever.
    os.closerange(3, os.sysconf("SC_OPEN_MAX"))
    answers, reasons = os.dup(1), os.dup(2)
    nowhere = os.open(os.devnull, os.O_WRONLY)
    os.dup2(nowhere, 1)
    os.dup2(nowhere, 2)
    try:
        from clip_udfs.worker import main as serve
    except Exception as error:
        os.write(reasons, f"the worker cannot start: {type(error).__name__}: {error}\n".encode())
        return 1
    return serve(sys.argv[1:], answers, reasons)


main.__code__ = main.__code__.replace(co_stacksize=_FRAME_WORDS)

if __name__ == "__main__":
    os._exit(main())  # everything is written; tearing down the interpreter takes as long as importing NumPy
