"""The record of a step beside its notebook: what reads one relies on its shape, whoever wrote and sealed it."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from fico_utils.errors import InputError
from fico_utils.files import read_record

#: What a step is made from besides its parameters and its notebook, as a reader is told of a change.
CODE = "code of the package"
#: Shapes, see `has_shape`, of a record that names what was written, and of a manifest as `runner.run_step` writes it:
#: as far as readers rely on them, since somebody may have sealed anything.
NUMBER, PLAIN = int | float, str | int | float | None
FILES = [{"path": str, "sha256": str | None, "bytes": int, str: PLAIN}]
WRITTEN = {"outputs": FILES, str: object}
MANIFEST = WRITTEN | {
    **dict.fromkeys(("notebook", "status", "key", "start", "end"), str),
    **{"seconds": NUMBER, "untracked_seconds": NUMBER, "peak_memory_bytes": int | None, "seed": PLAIN},
    "failure": (type(None), {"cell": str, "heading": str, "error": str, str: PLAIN}),
    "phases": [{"heading": str, "seconds": NUMBER, str: PLAIN}],
    "threads": {"native": int, str: PLAIN},
    "git": {"commit": str | None, "dirty": bool | None, str: PLAIN},
    "environment": {"memory_bytes": int, "packages": {str: str | None}, str: PLAIN},
    "inputs": FILES,
    "made_from": {CODE: {str: str}, str: object},
}


def read_manifest(path: Path, shape: Mapping[Any, Any] = MANIFEST) -> dict[str, Any]:
    """The manifest of a step, or another record of files; InputError where its seal or its shape does not fit."""
    record = read_record(path)
    if not has_shape(record, shape):
        raise InputError(f"{path} has a seal, but is no manifest of ours; delete it and run the step again")
    return record


def has_shape(value: Any, shape: Any) -> bool:
    """Whether a value out of JSON is as a shape says; its numbers are finite, not negative, and below 2^63.

    A shape is a type, alternatives in a tuple, a list of one shape, that of every entry, or a dict: the shapes of names
    that must be there and, under the type ``str``, that of all others.
    """
    if isinstance(shape, tuple):
        return any(has_shape(value, one) for one in shape)
    if isinstance(shape, list):
        return isinstance(value, list) and all(has_shape(entry, shape[0]) for entry in value)
    if isinstance(shape, dict):
        fits = isinstance(value, dict) and shape.keys() - {str} <= value.keys()
        return fits and all(has_shape(v, shape.get(name, shape.get(str, ()))) for name, v in value.items())
    return shape is object or (isinstance(value, shape) and (not isinstance(value, NUMBER) or 0 <= value < 2**63))
