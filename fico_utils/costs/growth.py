"""How a cost grows: the exponent of a power law with its interval, and sizes that were not run (``extrapolated``)."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, NamedTuple

import numpy as np

from fico_utils.costs.clock import Measurement, cost_row
from fico_utils.errors import InputError


@dataclass(frozen=True)
class Growth:
    """The fit ``cost = coefficient * size ** exponent``, least squares on logarithms.

    `low` and `high` are the 95 % interval of the exponent (Student's t): nan from two sizes, where none is known, and
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


def fit_growth(sizes: Sequence[float], costs: Sequence[float], exponent: float | None = None) -> Growth:
    """The `Growth` of positive costs (m,) over at least two different sizes (m,).

    Where the `exponent` is known, only the coefficient is fitted, and the interval is narrower by far.

    >>> round(fit_growth([10, 20, 40], [1, 4, 16]).exponent, 6)
    2.0
    """
    x, y = np.asarray(sizes, np.float64), np.asarray(costs, np.float64)
    assert x.shape == y.shape, f"{x.shape} sizes and {y.shape} costs"
    assert len(set(x.tolist())) > 1, "a fit needs at least two different sizes"
    assert np.isfinite([x, y]).all(), "a fit needs sizes and costs that are numbers"
    assert min(x.min(), y.min()) > 0, "a fit needs positive sizes and costs"
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


class Prediction(NamedTuple):
    """A cost read off a fit, s, and half the width of its 95 % prediction interval; None from two sizes."""

    seconds: float
    spread: float | None


class Cell(NamedTuple):
    """One size (n_img, n_txt) of a sweep: costs by name, none where the status is ``dnf`` or ``unavailable``."""

    size: tuple[int, int]
    costs: Mapping[str, Measurement | Prediction]
    status: str

    def rows(self, phase: str, quantities: Sequence[str], **columns: Any) -> list[dict[str, Any]]:
        """Rows of costs.csv, one a quantity, in seconds."""
        rows, columns = [], columns | {"scale_img": self.size[0], "scale_txt": self.size[1], "status": self.status}
        for quantity in quantities:
            cost, fitted = self.costs.get(quantity), {}
            if isinstance(cost, Prediction):
                cost, fitted = cost.seconds, {"spread": cost.spread}
            rows.append(cost_row(phase, quantity, cost, **fitted, **columns))
        return rows


@dataclass
class Sweep:
    """The sizes of one system as they are measured, in ascending order of images.

    `exponent` is the power with which sizes that are not run are extrapolated; None fits it.
    """

    exponent: float | None = None
    cells: list[Cell] = field(default_factory=list)

    def measured(self, cost: str = "seconds") -> tuple[list[int], list[float]]:
        """Sizes in images and seconds of what was measured."""
        ok = [cell for cell in self.cells if cell.status == "ok"]
        return [cell.size[0] for cell in ok], [cell.costs[cost].seconds for cell in ok]

    def exceeds(self, n_img: int, limit_s: float | None) -> bool:
        """Whether the fit of at least two measured sizes puts a size above the limit."""
        if limit_s is None or len(self.measured()[0]) < 2:
            return False
        return fit_growth(*self.measured(), self.exponent).predict(n_img)[0] > limit_s

    def extrapolate(self, size: tuple[int, int]) -> None:
        """Add a size that is not run, from the fit of those that were; without a value from fewer than two."""
        ok = [cell for cell in self.cells if cell.status == "ok"]
        if len(ok) < 2:
            status = "dnf" if any(cell.status == "dnf" for cell in self.cells) else "unavailable"
            self.cells.append(Cell(size, {}, status))
            return
        costs = {}
        for name in ok[0].costs:
            value, low, high = fit_growth(*self.measured(name), self.exponent).predict(size[0])
            costs[name] = Prediction(value, None if np.isnan(low) else (high - low) / 2)
        self.cells.append(Cell(size, costs, "extrapolated"))

    def exponent_row(self, phase: str, **columns: Any) -> dict[str, Any]:
        """The row ``exponent`` of the seconds, see `exponent_row`."""
        return exponent_row(*self.measured(), phase, **columns)


def check_sizes(sizes: Sequence[tuple[int, int]], extrapolate_to: Sequence[tuple[int, int]] = ()) -> None:
    """InputError where sizes (n_img, n_txt) are missing or below 1, or fewer than two are given to extrapolate from."""
    if not sizes or min(min(size) for size in (*sizes, *extrapolate_to)) < 1:
        raise InputError(f"sizes {[*sizes, *extrapolate_to]} were given; expected (images, texts) of at least 1 each")
    if extrapolate_to and len({n_img for n_img, _ in sizes}) < 2:
        raise InputError(
            f"one size ({sizes[0][0]} images) was given to extrapolate from; expected at least two different sizes"
        )


def exponent_row(sizes: Sequence[float], seconds: Sequence[float], phase: str, **columns: Any) -> dict[str, Any]:
    """The row ``exponent`` of a sweep: the power of the size that seconds grow with.

    Its `spread` is half the width of the 95 % interval (empty from two sizes) and `repeats` the number of sizes; from
    fewer than two different sizes the status is ``undefined``.
    """
    columns |= {"unit": "", "repeats": len(sizes)}
    if len(set(sizes)) < 2:
        return cost_row(phase, "exponent", None, status="undefined", **columns)
    growth = fit_growth(sizes, seconds)
    spread = None if np.isnan(growth.half_width) else growth.half_width
    return cost_row(phase, "exponent", growth.exponent, spread=spread, **columns)
