"""How a cost grows: the exponent of a power law with its interval, and sizes that were not run.

The paper argues O(n^2) for cross attention and O(n) for reranking from two sizes each; here the exponent is
fitted and shown with its uncertainty, and a cell that did not run is marked ``extrapolated``.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from fico_utils.costs.clock import Timing, row
from fico_utils.errors import InputError


@dataclass(frozen=True)
class Growth:
    """The fit ``cost = coefficient * size ** exponent``, least squares on logarithms.

    Attributes
    ----------
    exponent, coefficient : float
    low, high : float, 95 % interval of the exponent (Student's t); nan from two sizes, where none is known, and
        both the exponent itself where it was given.
    """

    exponent: float
    coefficient: float
    low: float
    high: float
    _centre: float  # mean of log size
    _residual: float  # standard deviation of the residuals, nan from two sizes
    _sxx: float  # infinite where the exponent was given: nothing is added away from the centre
    _m: int
    _freedom: int

    @property
    def half_width(self) -> float:
        """Half the width of the exponent's interval; nan from two sizes."""
        return (self.high - self.low) / 2

    def predict(self, size: float) -> tuple[float, float, float]:
        """Cost at a size, and the ends of its 95 % prediction interval (nan without degrees of freedom)."""
        x = np.log(size)
        value = self.coefficient * size**self.exponent
        error = self._residual * np.sqrt(1 + 1 / self._m + (x - self._centre) ** 2 / self._sxx)
        factor = np.exp(_student(self._freedom) * error)
        return float(value), float(value / factor), float(value * factor)


def _student(freedom: int) -> float:
    """97.5 % quantile of Student's t; nan without degrees of freedom."""
    from scipy.stats import t

    return float(t.ppf(0.975, freedom)) if freedom > 0 else float("nan")


def fit(sizes: Sequence[float], costs: Sequence[float], exponent: float | None = None) -> Growth:
    """The `Growth` of costs over sizes.

    Parameters
    ----------
    sizes, costs : (m,) positive numbers, at least two different sizes.
    exponent : float or None, the exponent where it is known, so that only the coefficient is fitted; the interval is
        then narrower by far.

    Raises
    ------
    InputError
        Fewer than two different sizes, unequal lengths, or a value that is not positive.

    Examples
    --------
    >>> round(fit([10, 20, 40], [1, 4, 16]).exponent, 6)
    2.0
    """
    x, y = np.asarray(sizes, np.float64), np.asarray(costs, np.float64)
    if x.ndim != 1 or x.shape != y.shape or len(set(x.tolist())) < 2:
        raise InputError(
            f"a growth fit was given {x.size} sizes ({len(set(x.ravel().tolist()))} different) and {y.size} "
            "costs; expected as many costs as sizes and at least two different sizes"
        )
    if not (np.all(np.isfinite(x)) and np.all(np.isfinite(y)) and x.min() > 0 and y.min() > 0):
        raise InputError("a growth fit was given a size or cost that is not a positive number; leave such cells out")
    x, y = np.log(x), np.log(y)
    sxx = float(((x - x.mean()) ** 2).sum())
    slope = float(((x - x.mean()) * (y - y.mean())).sum() / sxx) if exponent is None else float(exponent)
    freedom = len(x) - (2 if exponent is None else 1)
    rest = y - y.mean() - slope * (x - x.mean())
    residual = float(np.sqrt((rest**2).sum() / freedom)) if freedom > 0 else float("nan")
    half = _student(freedom) * residual / np.sqrt(sxx) if exponent is None else 0.0
    sxx = sxx if exponent is None else float("inf")
    coefficient = float(np.exp(y.mean() - slope * x.mean()))
    return Growth(slope, coefficient, slope - half, slope + half, float(x.mean()), residual, sxx, len(x), freedom)


@dataclass(frozen=True)
class Cell:
    """One size of a sweep.

    Attributes
    ----------
    size : (n_img, n_txt)
    costs : dict of str to Timing or Prediction; empty where the size did not finish.
    status : ``ok``, ``extrapolated`` or ``dnf``.
    """

    size: tuple[int, int]
    costs: dict[str, Timing | Prediction]
    status: str


@dataclass(frozen=True)
class Prediction:
    """A cost read off a fit.

    Attributes
    ----------
    seconds : float
    spread : float or None, half the width of the 95 % prediction interval, s; None from two sizes.
    """

    seconds: float
    spread: float | None


def predictions(
    measured: Mapping[str, tuple[Sequence[float], Sequence[float]]], n_img: int, exponent: float | None = None
) -> dict[str, Prediction]:
    """Each cost at a size, by its fit.

    Parameters
    ----------
    measured : cost -> (sizes in images, seconds), at least two different sizes.
    n_img : int, the size to carry them to.
    exponent : of `fit`.
    """
    costs = {}
    for name, (at, seconds) in measured.items():
        value, low, high = fit(at, seconds, exponent).predict(n_img)
        costs[name] = Prediction(value, None if np.isnan(low) else (high - low) / 2)
    return costs


def sweep(
    sizes: Sequence[tuple[int, int]],
    time_at: Callable[[int, int], dict[str, Timing]],
    *,
    limit_s: float | None = None,
    extrapolate_to: Sequence[tuple[int, int]] = (),
) -> Iterator[Cell]:
    """The cells of a sweep, sizes ascending in images, each yielded when done.

    Parameters
    ----------
    sizes : (n_img, n_txt) to run.
    time_at : callable giving the timings at a size, ``seconds`` among them.
    limit_s : float or None, s. From two measured sizes on, a size whose fitted ``seconds`` exceed it is not
        run and has status ``extrapolated``.
    extrapolate_to : (n_img, n_txt) never run, always ``extrapolated``; needs two measured sizes.

    Raises
    ------
    InputError
        No sizes, a size below 1, a limit that is not positive, or too few measured sizes to extrapolate.

    Notes
    -----
    A size that runs out of memory has status ``dnf`` and the sweep goes on: what is measured is kept.
    """
    if not sizes or min(min(size) for size in (*sizes, *extrapolate_to)) < 1:
        raise InputError(f"sizes {[*sizes, *extrapolate_to]} were given; expected (images, texts) of at least 1 each")
    if limit_s is not None and not limit_s > 0:
        raise InputError(f"a limit of {limit_s} s was given; expected more than 0, or None for no limit")
    measured: dict[str, tuple[list[int], list[float]]] = {}

    for size in sorted(sizes):
        enough = len(measured.get("seconds", ([], []))[0]) > 1
        if limit_s is not None and enough and predictions(measured, size[0])["seconds"].seconds > limit_s:
            yield Cell(size, predictions(measured, size[0]), "extrapolated")
            continue
        try:
            timings = time_at(*size)
        except MemoryError:
            yield Cell(size, {}, "dnf")
            continue
        for name, timing in timings.items():
            at, seconds = measured.setdefault(name, ([], []))
            at.append(size[0])
            seconds.append(timing.seconds)
        yield Cell(size, dict(timings), "ok")
    for size in sorted(extrapolate_to):
        yield Cell(size, predictions(measured, size[0]), "extrapolated")


def cell_rows(cell: Cell, phase: str, quantities: Sequence[str], **columns: Any) -> list[dict[str, Any]]:
    """Rows of costs.csv of a cell, one a quantity, in seconds; without a value where it did not finish."""
    rows = []
    for quantity in quantities:
        cost = cell.costs.get(quantity)
        fitted = {"spread": cost.spread} if isinstance(cost, Prediction) else {}
        value = cost.seconds if isinstance(cost, Prediction) else cost
        place = {"scale_img": cell.size[0], "scale_txt": cell.size[1], "status": cell.status}
        rows.append(row(phase, quantity, value, **place, **fitted, **columns))
    return rows


def exponent_row(points: Sequence[tuple[float, float]], phase: str, **columns: Any) -> dict[str, Any]:
    """The row ``exponent`` of a sweep: the power of the size that seconds grow with.

    Parameters
    ----------
    points : (size, seconds) of each measured size.
    phase, **columns : of `row`. `spread` is half the width of the 95 % interval (empty from two sizes) and
        `repeats` the number of sizes; from fewer than two different sizes the status is ``undefined``.
    """
    if len({size for size, _ in points}) < 2:
        return row(phase, "exponent", None, unit="", repeats=len(points), status="undefined", **columns)
    growth = fit(*zip(*points, strict=True))
    spread = None if np.isnan(growth.half_width) else growth.half_width
    return row(phase, "exponent", growth.exponent, unit="", spread=spread, repeats=len(points), **columns)
