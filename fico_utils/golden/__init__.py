"""Golden outputs: what each producer makes of a tiny fixed input, recorded when its version was stated.

A case is a function without arguments that returns named arrays. The cases lie in the modules of this folder and in
``extras/golden.py``, where there is one, and register themselves by `golden`; each system gets its case by itself. The
recorded arrays lie beside them, a file a producer.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from importlib import import_module
from pathlib import Path
from typing import NamedTuple

import numpy as np

FOLDER = Path(__file__).resolve().parent
#: Producer -> its case; filled by `golden`.
_CASES: dict[str, Case] = {}
#: Arrays whose names begin so are compared in a way of their own, see `largest_difference`.
CODES, PICTURES = "codes", "pictures"


class Case(NamedTuple):
    """How a producer runs on its tiny input, and how far its numbers may lie from the recorded ones."""

    run: Callable[[], Mapping[str, np.ndarray]]
    tolerance: float


def golden(producer: str, tolerance: float = 1e-4) -> Callable[[Callable], Callable]:
    """A decorator: this function is the case of a producer."""

    def register(run: Callable) -> Callable:
        _CASES[producer] = Case(run, tolerance)
        return run

    return register


def golden_cases() -> dict[str, Case]:
    """Producer -> its `Case`, of all that have one."""
    modules = [f"{__name__}.{path.stem}" for path in sorted(FOLDER.glob("[a-z]*.py"))]
    modules += ["fico_utils.extras.golden"] * (FOLDER.parent / "extras" / "golden.py").is_file()
    for module in modules:
        import_module(module)
    return dict(sorted(_CASES.items()))


def as_bytes(*lines: str) -> np.ndarray:
    """Text as an array of bytes, one line each."""
    return np.frombuffer("\n".join(lines).encode(), np.uint8)


def largest_difference(now: Mapping[str, np.ndarray], then: Mapping[str, np.ndarray], tolerance: float) -> str:
    """Where two outputs differ most, in words, such as ``largest difference 0.31 in txt``; empty where they agree.

    Real numbers agree where the difference is at most `tolerance` of the length of the recorded array, and what is
    infinite or undefined is so in both. ``codes...`` agree in 95 of 100 bits, ``pictures...`` in 99 of 100 values
    within two levels. Everything else agrees exactly.
    """
    if set(now) != set(then):
        return f"its arrays are {', '.join(sorted(now))} and were {', '.join(sorted(then))}"
    worst, words = 1.0, ""
    for name, before in then.items():
        after = np.asarray(now[name])
        if after.shape != before.shape or after.dtype.kind != before.dtype.kind:
            return f"{name} is {after.dtype} {after.shape} and was {before.dtype} {before.shape}"
        excess, largest = _excess(name, after, before, tolerance) if before.size else (0.0, 0.0)
        if excess > worst:
            worst, words = excess, f"largest difference {largest:.2g} in {name}"
    return words


def _excess(name: str, after: np.ndarray, before: np.ndarray, tolerance: float) -> tuple[float, float]:
    """How far two arrays lie apart, in units of what is allowed, and their largest difference."""
    if name.startswith(CODES):
        share = float((np.unpackbits(after) != np.unpackbits(before)).mean())
        return share / 0.05, share
    if before.dtype.kind != "f":
        apart = np.abs(after.astype(np.int64) - before.astype(np.int64))
        if name.startswith(PICTURES):
            return float((apart > 2).mean()) / 0.01, float(apart.max())
        return np.inf if apart.any() else 0.0, float(apart.max())
    after, before = after.astype(np.float64), before.astype(np.float64)
    finite = np.isfinite(before)
    if not np.array_equal(after[~finite], before[~finite], equal_nan=True) or not np.isfinite(after[finite]).all():
        return np.inf, np.inf
    apart = np.abs(after[finite] - before[finite])
    length = np.linalg.norm(before[finite])
    return float(np.linalg.norm(apart) / (tolerance * length + 1e-6)), float(apart.max(initial=0.0))
