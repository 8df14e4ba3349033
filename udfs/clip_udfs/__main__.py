"""What ClickHouse starts: ``python -I -m clip_udfs FUNCTION --settings FILE``.

Before anything else is imported, the pipes for answers and for reasons move to private descriptors, and descriptors 1
and 2 lead nowhere: ClickHouse would take one stray byte among the answers for the answer to the next query, and
    ClickHouse fails the query for anything on standard error (``stderr_reaction`` is ``throw``).
"""

import os
import sys


def main() -> int:
    """Serve one function until the end of input; the exit status ClickHouse sees."""
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


if __name__ == "__main__":
    sys.exit(main())
