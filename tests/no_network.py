"""``python tests/no_network.py COMMAND…``: run a command that the kernel kills (SIGSYS) when it makes a socket.

The filter is inherited by everything that the command starts, and sees what native code does as well.
"""

from __future__ import annotations

import ctypes
import os
import platform
import struct
import sys

_PR_SET_NO_NEW_PRIVS, _PR_SET_SECCOMP, _SECCOMP_MODE_FILTER = 38, 22, 2
_LOAD_WORD, _JUMP_IF_EQUAL, _RETURN = 0x20, 0x15, 0x06  # of the kernel's linux/bpf_common.h
_KILL_PROCESS, _ALLOW = 0x80000000, 0x7FFF0000  # of linux/seccomp.h
_SOCKET = {"x86_64": 41, "aarch64": 198}  # number of the system call


class _Program(ctypes.Structure):
    _fields_ = (("length", ctypes.c_ushort), ("instructions", ctypes.c_char_p))


def forbid_sockets() -> None:
    """Have this process, and all that it becomes, killed by the next call of socket(2).

    Raises:
        OSError: The kernel does not let this process filter itself.
    """
    code = b"".join(
        struct.pack("<HBBI", *instruction)
        for instruction in (
            (_LOAD_WORD, 0, 0, 0),  # the number of the system call
            (_JUMP_IF_EQUAL, 0, 1, _SOCKET[platform.machine()]),
            (_RETURN, 0, 0, _KILL_PROCESS),
            (_RETURN, 0, 0, _ALLOW),
        )
    )
    libc = ctypes.CDLL(None, use_errno=True)
    program = _Program(len(code) // 8, code)
    if libc.prctl(_PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) or libc.prctl(
        _PR_SET_SECCOMP, _SECCOMP_MODE_FILTER, ctypes.byref(program)
    ):
        raise OSError(ctypes.get_errno(), "prctl")


if __name__ == "__main__":
    forbid_sockets()
    os.execv(sys.argv[1], sys.argv[1:])
