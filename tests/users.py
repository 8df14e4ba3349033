"""A second user for tests that run as root: the server's, who tries to become root."""

from __future__ import annotations

import os
import sys
from collections.abc import Callable

import pytest

# No entry in the password file is needed: the kernel knows numbers only.
CLICKHOUSE = 4711

as_root = pytest.mark.skipif(os.geteuid() != 0, reason="only root can act as another user; CI runs as root")


def as_user(uid: int, act: Callable[[], object]) -> None:
    """Run ``act`` in a forked process that is not root (root becomes ``uid``); its failure is an error here."""
    child = os.fork()
    if child == 0:
        status = 1
        try:
            if os.geteuid() == 0:
                os.setgroups([])
                os.setgid(uid)
                os.setuid(uid)
            act()
            status = 0
        except BaseException as error:
            sys.stderr.write(f"{type(error).__name__}: {error}\n")
        finally:
            sys.stderr.flush()
            os._exit(status)
    assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0
