"""Rows of ``costs.csv``: of what was measured, from the run's store, and of sizes that are extrapolated from others."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

from fico_utils.artifacts import Recipe
from fico_utils.costs.clock import Measurement
from fico_utils.errors import InputError
from fico_utils.results.schema import COSTS_COLUMNS, PHASES, STATUSES

if TYPE_CHECKING:
    from fico_utils.artifacts import Units

#: A size of a collection: images, captions.
Size = tuple[int, int]


def cost_row(
    phase: str,
    quantity: str,
    value: float | Measurement | None,
    *,
    unit: str = "s",
    status: str = "ok",
    spread: float | None = None,
    repeats: int | None = None,
    **columns: Any,
) -> dict[str, Any]:
    """One row of costs.csv: a dict with exactly the columns of `COSTS_COLUMNS`.

    Parameters
    ----------
    value : a number, None where `status` says why there is none, or a `Measurement`, which brings its own spread,
        repeats, threads and device.
    **columns : `system`, `corpus`, `source`, `threads`, `device`; `scale_img` and `scale_txt`, images and texts
        (search: queries and candidates); `run`, the `Run` the number belongs to, which gives `profile` and `run`.
    """
    run = columns.pop("run", None)
    if isinstance(value, Measurement):
        spread, repeats = value.spread, value.repeats
        columns |= {"threads": value.threads, "device": value.device}
        value = value.seconds
    assert phase in PHASES, f"unknown phase {phase!r}"
    assert status in STATUSES, f"unknown status {status!r}"
    assert value is not None or status not in ("ok", "extrapolated"), f"{quantity} has status {status!r} and no value"
    row = dict.fromkeys(COSTS_COLUMNS) | {"source": "ours", "system": "", "corpus": "", "device": "cpu"} | columns
    row |= {"phase": phase, "quantity": quantity, "unit": unit, "value": value, "spread": spread, "repeats": repeats}
    row |= {"status": status, "profile": run.profile if run else "", "run": run.run_id if run else ""}
    assert len(row) == len(COSTS_COLUMNS), f"costs.csv has no column {sorted(set(row) - set(COSTS_COLUMNS))}"
    return row


def recipe_of(
    producer: str, columns: Mapping[str, Any], settings: Mapping[str, Any], inputs: Sequence[str] = ()
) -> Recipe:
    """The recipe of a measurement: its settings, and corpus and seed of the run that `columns` name."""
    run, corpus = columns.get("run"), columns.get("corpus", "")
    return Recipe(producer, {"corpus": corpus, **settings}, run.seed if run else 0, tuple(inputs))


def kept_rows(
    columns: Mapping[str, Any], folder: str, name: str, recipe: Recipe, build: Callable[[], list[dict]]
) -> list[dict[str, Any]]:
    """Rows from the store of the run that `columns` name, or made by `build`; without a run they are always made."""
    run = columns.get("run")
    return build() if run is None else run.store.records(f"costs/{folder}", name, recipe, build)


def kept_units(columns: Mapping[str, Any], folder: str, name: str, recipe: Recipe) -> Units | None:
    """The units of long work in the store of the run that `columns` name; None without a run."""
    run = columns.get("run")
    return run and run.store.units(f"costs/{folder}", name, recipe)


@dataclass(frozen=True)
class Growth:
    """The fit ``cost = coefficient * size ** exponent``, least squares on logarithms."""

    exponent: float
    coefficient: float
    half_width: float  # of the exponent's 95 % interval: nan from two sizes, 0 where the exponent was given
    _t: float  # 97.5 % quantile of Student's t, nan without degrees of freedom
    _residual: float  # standard deviation of the residuals, nan likewise
    _centre: float  # mean of the m log sizes
    _m: int
    _sxx: float  # sum of squares around it; infinite where the exponent was given: no error grows with the distance

    def predict(self, size: float) -> tuple[float, float, float]:
        """Cost at a size, and the ends of its 95 % prediction interval (nan without degrees of freedom)."""
        value = self.coefficient * size**self.exponent
        error = self._residual * np.sqrt(1 + 1 / self._m + (np.log(size) - self._centre) ** 2 / self._sxx)
        factor = np.exp(self._t * error)
        return float(value), float(value / factor), float(value * factor)


def fit_growth(sizes: Sequence[float], costs: Sequence[float], exponent: float | None = None) -> Growth:
    """The `Growth` of positive costs (m,) over at least two different sizes (m,).

    Where the `exponent` is known, only the coefficient is fitted, and the interval is narrower by far.

    >>> round(fit_growth([10, 20, 40], [1, 4, 16]).exponent, 6)
    2.0
    """
    from scipy.stats import t as student

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
    t = float(student.ppf(0.975, freedom)) if freedom > 0 else float("nan")
    half, sxx = (t * residual / np.sqrt(sxx), sxx) if exponent is None else (0.0, float("inf"))
    coefficient = float(np.exp(y.mean() - slope * x.mean()))
    return Growth(slope, coefficient, half, t, residual, float(x.mean()), len(x), sxx)


def exponent_row(sizes: Sequence[float], seconds: Sequence[float], phase: str, **columns: Any) -> dict[str, Any]:
    """The row ``exponent``: the power of the size that seconds grow with, ``undefined`` from fewer than two sizes.

    Its `spread` is half the width of the 95 % interval (empty from two sizes) and `repeats` the number of sizes.
    """
    columns |= {"unit": "", "repeats": len(sizes)}
    if len(set(sizes)) < 2:
        return cost_row(phase, "exponent", None, status="undefined", **columns)
    growth = fit_growth(sizes, seconds)
    spread = None if np.isnan(growth.half_width) else growth.half_width
    return cost_row(phase, "exponent", growth.exponent, spread=spread, **columns)


class Cell(NamedTuple):
    """One size of a sweep: a `Measurement`, or (seconds, spread) off a fit, by name; none where there is no value."""

    size: Size
    costs: Mapping[str, Measurement | tuple[float, float | None]]
    status: str

    def rows(self, phase: str, quantities: Sequence[str], **columns: Any) -> list[dict[str, Any]]:
        """Rows of costs.csv, one a quantity, in seconds."""
        rows, columns = [], columns | {"scale_img": self.size[0], "scale_txt": self.size[1], "status": self.status}
        for quantity in quantities:
            cost = self.costs.get(quantity)
            value, spread = cost if isinstance(cost, tuple) else (cost, None)
            rows.append(cost_row(phase, quantity, value, spread=spread, **columns))
        return rows


@dataclass
class Sweep:
    """The sizes of one system in ascending order of images, as they are measured or extrapolated.

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

    def extrapolate(self, size: Size) -> None:
        """Add a size that is not run, from the fit of those that were; without a value from fewer than two."""
        ok = [cell for cell in self.cells if cell.status == "ok"]
        costs, status = {}, "extrapolated"
        if len(ok) < 2:
            status = "dnf" if any(cell.status == "dnf" for cell in self.cells) else "unavailable"
        for name in ok[0].costs if len(ok) > 1 else ():
            value, low, high = fit_growth(*self.measured(name), self.exponent).predict(size[0])
            costs[name] = value, None if np.isnan(low) else (high - low) / 2
        self.cells.append(Cell(size, costs, status))


def sweep_sizes(
    sweeps: Mapping[str, Sweep],
    sizes: Iterable[Size],
    measure: Callable[[Size, list[str]], Mapping[str, tuple[Mapping[str, Measurement], str]]],
    limits: Mapping[str, float | None],
    extrapolate_to: Iterable[Size] = (),
) -> None:
    """Add all sizes to the sweeps of some systems, by name: measured, smallest first, or extrapolated.

    ``measure(size, names)`` gives costs and status of those of the named systems that ran. A system is not named where
    it would take longer than its limit in seconds. InputError where a size is missing or below 1, or where there are
    fewer than two to extrapolate from.
    """
    sizes, beyond = sorted(set(sizes)), sorted(set(extrapolate_to))
    if not sizes or min(min(size) for size in (*sizes, *beyond)) < 1:
        raise InputError(f"sizes {[*sizes, *beyond]} were given; expected (images, texts) of at least 1 each")
    if beyond and len({n_img for n_img, _ in sizes}) < 2:
        raise InputError(
            f"one size ({sizes[0][0]} images) was given to extrapolate from; expected at least two different sizes"
        )
    for size in sizes:
        names = [name for name, sweep in sweeps.items() if not sweep.exceeds(size[0], limits.get(name))]
        measured = measure(size, names) if names else {}
        for name, sweep in sweeps.items():
            if name in measured:
                sweep.cells.append(Cell(size, *measured[name]))
            else:
                sweep.extrapolate(size)
    for size in beyond:
        for sweep in sweeps.values():
            sweep.extrapolate(size)
