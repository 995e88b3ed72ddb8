"""What a step was made from, and whether that is still what is there.

A step is made from the code of its notebook, all settings but the folder of the results, the code of the package, and
the files that it read. Comments, docstrings and prose do not count. Files are compared by content: one whose size and
time stamp are those of last time is not read again.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from fico_utils.artifacts import digest_of, header_of
from fico_utils.batch.notebook import declared_parameters
from fico_utils.files import key_of
from fico_utils.provenance import PACKAGE

#: How the names of files begin that lie in the package, such as weights that ship.
IN_PACKAGE = "fico_utils:"


def step_parts(notebook: Mapping[str, Any], settings: Mapping[str, Any], package: str) -> dict[str, Any]:
    """What a step is made from besides the files that it reads: ``notebook``, ``package``, ``parameters``."""
    code = [c["source"].rstrip() for c in notebook["cells"] if c["cell_type"] == "code"]
    parameters = {**declared_parameters(notebook), **settings}
    parameters.pop("out_dir", None)  # results may be moved
    return {"notebook": key_of([c for c in code if c]), "package": package, "parameters": parameters}


def part_differences(old: Mapping[str, Any], new: Mapping[str, Any]) -> str:
    """Why two `step_parts` differ, in words; empty where they do not.

    >>> part_differences({"parameters": {"seed": 0}}, {"parameters": {"seed": 1}})
    'seed 0 -> 1'
    >>> part_differences({"parameters": {"epochs": {"scan": 4}}}, {"parameters": {"epochs": {"scan": 2}}})
    'epochs of scan 4 -> 2'
    """
    reasons = ["notebook code changed"] if old.get("notebook") != new.get("notebook") else []
    before, after = (_flattened(part["parameters"]) for part in (old, new))
    for name in sorted({*before, *after}):
        if before.get(name) != after.get(name):
            reasons.append(f"{name} {before.get(name, 'unset')} -> {after.get(name, 'unset')}")
    if old.get("package") != new.get("package"):
        reasons.append("code of the package changed")
    return "; ".join(reasons)


def _flattened(parameters: Mapping[str, Any]) -> dict[str, Any]:
    flat = {}
    for name, value in parameters.items():
        flat |= {f"{name} of {k}": v for k, v in value.items()} if isinstance(value, dict) else {name: value}
    return flat


def recorded_files(record: Path, root: Path) -> tuple[list[dict[str, Any]], list[dict[str, Any]]]:
    """Files that a step read and did not write, and files that it wrote, as its process noted them in `record`."""
    read: dict[str, str | None] = {}
    wrote: dict[str, str | None] = {}
    for line in record.read_text(encoding="utf-8").splitlines() if record.is_file() else []:
        entry = json.loads(line)
        if "wrote" in entry:
            wrote[entry["wrote"]] = None
        else:
            read[entry["read"]] = entry["digest"]
    inputs = {path: digest for path, digest in read.items() if path not in wrote}
    return _rows(inputs, root), _rows(wrote, root)


def _rows(digests: Mapping[str, str | None], root: Path) -> list[dict[str, Any]]:
    rows = []
    for text, digest in digests.items():
        path = Path(text)
        if not path.is_file():  # a checkpoint, say, that is gone because its training ended
            continue
        name = path.relative_to(root).as_posix() if path.is_relative_to(root) else text
        if path.is_relative_to(PACKAGE):
            name = IN_PACKAGE + path.relative_to(PACKAGE).as_posix()
        stat = path.stat()
        digest = digest or _stated_digest(path) or digest_of(path)
        rows.append({"path": name, "sha256": digest, "bytes": stat.st_size, "changed_ns": stat.st_mtime_ns})
    return sorted(rows, key=lambda row: row["path"])


def _stated_digest(path: Path) -> str | None:
    return header_of(path).get("digest") if path.suffix == ".safetensors" else None


def file_difference(row: Mapping[str, Any], root: Path) -> str:
    """``missing`` or ``changed`` where a file is no more as a row of `recorded_files` says; else empty."""
    name = row["path"]
    path = PACKAGE / name.removeprefix(IN_PACKAGE) if name.startswith(IN_PACKAGE) else root / name
    if not path.is_file():
        return "missing"
    if (path.stat().st_size, path.stat().st_mtime_ns) == (row["bytes"], row["changed_ns"]):
        return ""
    return "" if digest_of(path) == row["sha256"] else "changed"
