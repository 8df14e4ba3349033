"""The machine on which the figures were measured."""

from __future__ import annotations

import os
import platform
import re
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

_PACKAGES = (
    *("chdb", "onnxruntime", "openvino", "torch", "open_clip_torch", "transformers"),
    *("numpy", "pillow", "tokenizers"),
)
# What decides how fast a CPU multiplies: floats, bfloat16 and bytes.
_WIDE = (
    *("avx2", "avx512f", "avx512_bf16", "amx_bf16", "avx_vnni", "avx512_vnni", "amx_int8"),  # x86-64
    *("asimd", "bf16", "i8mm", "sve"),  # Arm
)


def describe() -> dict[str, str]:
    """CPU, memory, system and versions, in words."""
    cpu = re.search(r"model name\s*: (.*)", _read("/proc/cpuinfo"))
    wide = [flag for flag in _WIDE if flag in flags()]
    memory = re.search(r"MemTotal:\s*(\d+)", _read("/proc/meminfo"))
    found = {
        "cpu": (cpu[1] if cpu else platform.machine()) + f", {', '.join(wide)}" * bool(wide),
        "cores": str(len(os.sched_getaffinity(0))),
        "memory": f"{int(memory[1]) / 2**20:.0f} GiB" if memory else "unknown",
        "system": f"{platform.system()} {platform.release().split('-')[0]}",
        "python": platform.python_version(),
    }
    for package in _PACKAGES:
        try:
            found[package] = version(package)
        except PackageNotFoundError:
            continue
    return found


def flags() -> set[str]:
    """What the CPU can do, in the words of ``/proc/cpuinfo``."""
    found = re.search(r"(?:flags|Features)\s*: (.*)", _read("/proc/cpuinfo"))
    return set(found[1].split()) if found else set()


def load() -> float:
    """Average number of runnable processes in the last minute: above the number of cores, figures are inaccurate."""
    return os.getloadavg()[0]


def _read(path: str) -> str:
    return Path(path).read_text(encoding="utf-8", errors="replace")
