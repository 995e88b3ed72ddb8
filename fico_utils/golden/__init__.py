"""Golden outputs: what each producer makes of a tiny fixed input, recorded when its version was stated.

A case is a function without arguments that returns named arrays. The cases lie in the modules of this folder (and of
``extras/golden``, where there is one) and register themselves by `golden`; those of the systems come by themselves,
one for each file that states a version in ``models/``. The recorded arrays lie beside them, a file a producer.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from importlib import import_module
from pathlib import Path

import numpy as np

FOLDER = Path(__file__).resolve().parent
#: Producer -> its case; filled by `golden_cases`.
_CASES: dict[str, Case] = {}
#: Arrays whose names begin so are compared in a way of their own, see `largest_difference`.
CODES, PICTURES = "codes", "pictures"


@dataclass(frozen=True)
class Case:
    """A tiny fixed input of a producer.

    Attributes
    ----------
    run : callable without arguments -> dict of ndarray.
    tolerance : float, how far an array of real numbers may lie from the recorded one, as a share of its length.
    """

    run: Callable[[], Mapping[str, np.ndarray]]
    tolerance: float


def golden(producer: str, tolerance: float = 1e-4) -> Callable[[Callable], Callable]:
    """A decorator: this function is the case of a producer."""

    def register(run: Callable) -> Callable:
        register_case(producer, Case(run, tolerance))
        return run

    return register


def register_case(producer: str, case: Case) -> None:
    """Let `golden_cases` know the case of a producer."""
    _CASES[producer] = case


def golden_cases() -> dict[str, Case]:
    """Producer -> its `Case`, of all that have one."""
    for folder, package in ((FOLDER, __name__), (FOLDER.parent / "extras" / "golden", "fico_utils.extras.golden")):
        for path in sorted(folder.glob("[a-z]*.py")):
            import_module(f"{package}.{path.stem}")
    return dict(sorted(_CASES.items()))


def as_bytes(*lines: str) -> np.ndarray:
    """Text as an array of bytes, one line each."""
    return np.frombuffer("\n".join(lines).encode(), np.uint8)


# -------------------------------------------------------------------------------------------------- comparing


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
        excess, largest = _excess(name, after, before, tolerance)
        if excess > worst:
            worst, words = excess, f"largest difference {largest:.2g} in {name}"
    return words


def _excess(name: str, after: np.ndarray, before: np.ndarray, tolerance: float) -> tuple[float, float]:
    """How far two arrays lie apart, in units of what is allowed, and their largest difference."""
    if not before.size:
        return 0.0, 0.0
    if name.startswith(CODES):
        share = float((np.unpackbits(after) != np.unpackbits(before)).mean())
        return share / 0.05, share
    if before.dtype.kind != "f":
        apart = np.abs(after.astype(np.int64) - before.astype(np.int64))
        if name.startswith(PICTURES):
            return float((apart > 2).mean()) / 0.01, float(apart.max())
        return float(apart.max()) * np.inf if apart.any() else 0.0, float(apart.max())
    wide, was = after.astype(np.float64), before.astype(np.float64)
    finite = np.isfinite(was)
    if not np.array_equal(wide[~finite], was[~finite], equal_nan=True) or not np.isfinite(wide[finite]).all():
        return np.inf, np.inf
    apart = np.abs(wide[finite] - was[finite])
    length = float(np.linalg.norm(was[finite]))
    return float(np.linalg.norm(apart)) / (tolerance * length + 1e-6), float(apart.max(initial=0.0))
