"""Changes that keep a file's size and time stamp, and a record of every file that the kernels of a run open."""

from __future__ import annotations

import os
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

from fico_utils.files import PLACES
from fico_utils.provenance import PROJECT

#: What Python runs as it starts a kernel: each file that is opened to be read is written to a file named by the step.
#: safetensors opens its files itself, unseen by Python.
HOOK = """
import os, sys

if os.environ.get("FICO_UTILS_RECORD"):
    step = os.path.basename(os.path.dirname(os.environ["FICO_UTILS_RECORD"]))
    opened = os.open(os.path.join(os.environ["OPENED"], step), os.O_WRONLY | os.O_CREAT | os.O_APPEND)

    def record(event, arguments):
        if event == "open" and isinstance(arguments[0], (str, bytes)) and not arguments[2] & (os.O_WRONLY | os.O_RDWR):
            os.write(opened, os.fsencode(os.path.abspath(arguments[0])) + b"\\n")

    sys.addaudithook(record)
    import safetensors

    open_file = safetensors.safe_open

    def safe_open(path, *arguments, **options):
        sys.audit("open", os.fspath(path), "r", 0)
        return open_file(path, *arguments, **options)

    safetensors.safe_open = safe_open
"""
#: What a step is made from without being one of its inputs: notebooks and its own parameters, by their values; and what
#: its inputs are compared with.
BY_VALUE = (
    *("project:notebooks/", "project:configs/base.yaml", "project:configs/mini.yaml", "project:pyproject.toml"),
    "project:fico_utils.egg-info/",
    "fico_utils:weights/SHA256SUMS",
)
#: What goes with the code: compiled modules, and kernels that Numba compiled, which it makes anew with their source.
CODE = (".py", ".pyc", ".nbi", ".nbc")


def change_in_place(path: Path, content: bytes) -> None:
    """Write other bytes under the time stamp of the old ones, as a failing disk or a careless tool does."""
    stamp = path.stat()
    path.write_bytes(content)
    os.utime(path, ns=(stamp.st_atime_ns, stamp.st_mtime_ns))


def flip_bit(path: Path, place: int, bit: int = 0) -> None:
    """Turn one bit of a file; its size and time stamp stay."""
    raw = bytearray(path.read_bytes())
    raw[place % len(raw)] ^= 1 << bit
    change_in_place(path, bytes(raw))


def recording_environment(folder: Path) -> dict[str, str]:
    """Variables of a run whose kernels record in `folder`, a file a step, what they open."""
    (folder / "sitecustomize.py").write_text(HOOK)
    (folder / "opened").mkdir()
    path = os.pathsep.join([str(folder), str(PROJECT)])
    return {**os.environ, "PYTHONPATH": path, "OPENED": str(folder / "opened")}


def undeclared_reads(opened: Path, manifests: Iterable[Mapping[str, Any]], root: Path) -> dict[str, list[str]]:
    """Step -> files below the results, the package or the project that it opened and does not name.

    A file that is gone was in passing. Everything outside, and in the project's own environment, is of the libraries.
    """
    undeclared = {}
    for manifest in manifests:
        places = {"": root, **PLACES}
        named = {row["path"] for kind in ("inputs", "outputs") for row in manifest[kind]}
        named |= {f"fico_utils:{name}" for name in manifest["made_from"]["code of the package"]}
        found = set()
        for line in set((opened / manifest["notebook"]).read_text().splitlines()):
            path = Path(line)
            inside = next((name for name, folder in places.items() if path.is_relative_to(folder)), None)
            of_library = ".venv" in path.parts or path.suffix in (*CODE, ".lock")
            if inside is not None and path.is_file() and not of_library:
                found.add(inside + path.relative_to(places[inside]).as_posix())
        left = sorted(name for name in found - named if not name.startswith(BY_VALUE))
        undeclared |= {manifest["step"]: left} if left else {}
    return undeclared
