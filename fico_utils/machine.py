"""What this machine has and what this process takes of it: cores and memory, on Linux, macOS and Windows."""

from __future__ import annotations

import os
import platform
import sys
from functools import cache
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

import psutil

from fico_utils.provenance import said_by

_SELF = psutil.Process()
#: Packages whose versions may move a number.
PACKAGES = (
    *("numpy", "scipy", "pandas", "numba", "torch", "transformers", "faiss-cpu", "gensim", "safetensors"),
    *("matplotlib", "seaborn", "papermill", "ipykernel"),
)


def usable_cores() -> int:
    """Processor cores that this process may use."""
    if hasattr(_SELF, "cpu_affinity"):  # not on macOS
        return len(_SELF.cpu_affinity())
    return os.cpu_count() or 1


def available_memory() -> int:
    """Memory that can be taken without swapping, B: what the system offers, or a container's limit if lower."""
    free = psutil.virtual_memory().available
    try:
        limit, used = (Path(f"/sys/fs/cgroup/memory.{name}").read_text().strip() for name in ("max", "current"))
    except OSError:
        return free
    return free if limit == "max" else min(free, int(limit) - int(used))


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


def package_version(name: str) -> str | None:
    """Version of an installed package, None where it is missing."""
    try:
        return version(name)
    except PackageNotFoundError:
        return None


@cache
def describe_machine() -> dict[str, Any]:
    """Python, operating system, processor, cores, memory (bytes), GPU and package versions of this machine."""
    try:
        lines = Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines()
        processor = next(line.partition(":")[2].strip() for line in lines if line.startswith("model name"))
    except (OSError, StopIteration):  # no Linux
        processor = platform.processor() or platform.machine()
    return {
        "python": platform.python_version(),
        "os": platform.platform(),
        "cpu": processor,
        "cores": usable_cores(),
        "memory_bytes": psutil.virtual_memory().total,
        "gpu": said_by("nvidia-smi", "--query-gpu=name", "--format=csv,noheader"),
        "packages": {name: package_version(name) for name in PACKAGES},
    }
