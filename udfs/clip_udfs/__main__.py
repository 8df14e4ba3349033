"""What ClickHouse starts: ``python -I -m clip_udfs FUNCTION --settings FILE``.

Before anything else is imported, the answer pipe moves to a private descriptor and descriptor 1 becomes standard error:
one stray byte on the pipe would be taken for the answer of the next query.
"""

import os
import sys


def main() -> int:
    """Serve one function until the end of input; the exit status ClickHouse sees."""
    answers = os.dup(1)
    os.dup2(2, 1)
    from clip_udfs.worker import main as serve

    return serve(sys.argv[1:], answers)


if __name__ == "__main__":
    sys.exit(main())
