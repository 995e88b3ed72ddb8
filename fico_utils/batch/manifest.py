"""What is written down about a step: the machine, the code, the files, the seconds of each part."""

from __future__ import annotations

import platform
from collections.abc import Iterable
from functools import cache
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

from fico_utils.batch.parameters import tags
from fico_utils.batch.worker import headings
from fico_utils.machine import total_memory, usable_cores
from fico_utils.workspace import said_by

PACKAGES = (
    *("numpy", "scipy", "pandas", "numba", "torch", "transformers", "faiss-cpu", "gensim", "safetensors"),
    *("matplotlib", "seaborn", "papermill", "ipykernel"),
)


def files(root: Path, hashes: dict[str, str]) -> list[dict[str, Any]]:
    """One row per file: path below `root`, sha256, bytes."""
    return [{"path": p, "sha256": h, "bytes": (root / p).stat().st_size} for p, h in hashes.items()]


@cache
def environment() -> dict[str, Any]:
    """Python, operating system, processor, cores, memory (bytes), GPU, package versions of this machine."""
    return {
        "python": platform.python_version(),
        "os": platform.platform(),
        "cpu": _cpu(),
        "cores": usable_cores(),
        "memory_bytes": total_memory(),
        "gpu": said_by("nvidia-smi", "--query-gpu=name", "--format=csv,noheader"),
        "packages": {name: _version(name) for name in PACKAGES},
    }


@cache
def git() -> dict[str, Any]:
    """Commit of the checkout and whether it has uncommitted changes; None where there is no git."""
    status = said_by("git", "status", "--porcelain")
    return {"commit": said_by("git", "rev-parse", "HEAD"), "dirty": None if status is None else bool(status)}


def _cpu() -> str:
    try:
        lines = Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines()
        return next(line.partition(":")[2].strip() for line in lines if line.startswith("model name"))
    except (OSError, StopIteration):
        return platform.processor() or platform.machine()


def _version(name: str) -> str | None:
    try:
        return version(name)
    except PackageNotFoundError:
        return None


def phases(cells: Iterable[dict[str, Any]], wall: float) -> tuple[list[dict[str, Any]], float]:
    """Seconds by heading, and the seconds that no cell accounts for (kernel start, saving).

    Parameters
    ----------
    cells : cells of a notebook that papermill executed.
    wall : float, seconds from start to end of the step.

    Returns
    -------
    phases : list of dict, ``heading``, ``seconds``, ``cells``, in reading order.
    untracked : float, s.
    """
    cells = list(cells)
    rows: dict[str, dict[str, Any]] = {}
    for cell, heading in zip(cells, headings(cells), strict=True):
        seconds = cell.get("metadata", {}).get("papermill", {}).get("duration")
        if cell["cell_type"] == "code" and seconds is not None:
            row = rows.setdefault(heading, {"heading": heading, "seconds": 0.0, "cells": 0})
            row["seconds"] = round(row["seconds"] + seconds, 3)
            row["cells"] += 1
    tracked = sum(row["seconds"] for row in rows.values())
    return list(rows.values()), round(max(0.0, wall - tracked), 3)


def failure(cells: list[dict[str, Any]], events: dict[str, Any]) -> dict[str, str] | None:
    """The cell that did not end well, its heading and the last error line; None where all of them did.

    `events` are the worker's last words: the cell it came to, and what went wrong outside a cell, such as a kernel
    that died, after which papermill calls every cell complete.
    """
    error = events.get("error")
    error_cells = [c for c in cells if "papermill-error-cell-tag" in tags(c)]
    kept = [c for c in cells if c not in error_cells]
    titles = headings(kept)
    for index, cell in enumerate(kept):
        status = cell.get("metadata", {}).get("papermill", {}).get("status", "pending")
        if cell["cell_type"] == "code" and status != "completed":
            raised = [o for o in cell.get("outputs", []) if o.get("output_type") == "error"]
            line = f"{raised[-1]['ename']}: {raised[-1]['evalue']}".strip() if raised else None
            last = (line or error or "did not run").splitlines()[0 if raised else -1]
            return {"cell": cell.get("id", str(index)), "heading": titles[index], "error": last}
    if error is None:
        return None
    return {"cell": events.get("cell", ""), "heading": events.get("heading", ""), "error": error}
