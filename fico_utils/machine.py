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
    return len(_SELF.cpu_affinity()) if hasattr(_SELF, "cpu_affinity") else os.cpu_count() or 1  # macOS has none


def available_memory() -> int:
    """Memory that can be taken without swapping, B: what the system offers, or a container's limit if lower."""
    free = psutil.virtual_memory().available
    try:
        limit, used = (Path(f"/sys/fs/cgroup/memory.{name}").read_text().strip() for name in ("max", "current"))
    except OSError:
        return free
    return free if limit == "max" else min(free, int(limit) - int(used))


def resident_memory() -> int:
    """Memory that this process holds now, B."""
    return _SELF.memory_info().rss


def peak_memory() -> int:
    """Most memory that this process held so far, B."""
    try:
        import resource
    except ImportError:  # Windows
        return getattr(_SELF.memory_info(), "peak_wset", resident_memory())
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return peak if sys.platform == "darwin" else peak * 1024  # macOS counts bytes, Linux KiB


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
