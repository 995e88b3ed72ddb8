"""What this machine has and what this process takes of it: cores and memory, on Linux, macOS and Windows."""

from __future__ import annotations

import os
import sys

import psutil

_SELF = psutil.Process()


def usable_cores() -> int:
    """Processor cores that this process may use."""
    if hasattr(_SELF, "cpu_affinity"):  # not on macOS
        return len(_SELF.cpu_affinity())
    return os.cpu_count() or 1


def total_memory() -> int:
    """Memory of the machine, B."""
    return psutil.virtual_memory().total


def available_memory() -> int:
    """Memory that can be taken without swapping, B."""
    return psutil.virtual_memory().available


def resident_memory(process: int | None = None) -> int:
    """Memory that a process, by default this one, holds now, B; 0 where it has ended."""
    try:
        return (_SELF if process is None else psutil.Process(process)).memory_info().rss
    except psutil.NoSuchProcess:
        return 0


def peak_memory(children: bool = False) -> int:
    """Most memory that this process held so far, or the largest of its ended children, B.

    Windows keeps this mark for the process itself only: there, children count 0.
    """
    try:
        import resource
    except ImportError:
        return 0 if children else getattr(_SELF.memory_info(), "peak_wset", resident_memory())
    who = resource.RUSAGE_CHILDREN if children else resource.RUSAGE_SELF
    return resource.getrusage(who).ru_maxrss * (1 if sys.platform == "darwin" else 1024)  # macOS counts bytes
