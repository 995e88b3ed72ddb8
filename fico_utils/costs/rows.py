"""Rows of ``costs.csv``: of what was measured, from the run's store, and of sizes that are extrapolated from others."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
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

    The `value` is a number, None where `status` says why there is none, or a `Measurement`, which brings its own
    spread, repeats, threads and device. `columns` are the others by name, but that `run` is the `Run` itself, which
    gives `profile` too.
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


class Growth(NamedTuple):
    """A fit of a power law: its exponent, half the width of the exponent's 95 % interval, and what it predicts.

    The half width is nan from two sizes and 0 where the exponent was given. ``predict(size)`` is the cost, and the ends
    of its 95 % prediction interval (nan without degrees of freedom).
    """

    exponent: float
    half_width: float
    predict: Callable[[float], tuple[float, float, float]]


def fit_growth(sizes: Sequence[float], costs: Sequence[float], exponent: float | None = None) -> Growth:
    """The fit ``cost = coefficient * size ** exponent`` of positive costs (m,) over at least two different sizes (m,).

    Least squares on logarithms, with Student's t. Where the `exponent` is known, only the coefficient is fitted, and
    the interval is narrower by far.

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
    centre, sxx = float(x.mean()), float(((x - x.mean()) ** 2).sum())
    slope = float(((x - x.mean()) * (y - y.mean())).sum() / sxx) if exponent is None else float(exponent)
    freedom = len(x) - (2 if exponent is None else 1)
    rest = y - y.mean() - slope * (x - x.mean())
    residual = float(np.sqrt((rest**2).sum() / freedom)) if freedom > 0 else float("nan")
    t = float(student.ppf(0.975, freedom)) if freedom > 0 else float("nan")
    if exponent is None:
        half = float(t * residual / np.sqrt(sxx))
    else:
        half, sxx = 0.0, float("inf")  # no error grows with the distance from the centre
    coefficient = float(np.exp(y.mean() - slope * x.mean()))

    def predict(size: float) -> tuple[float, float, float]:
        value = coefficient * size**slope
        factor = np.exp(t * (residual * np.sqrt(1 + 1 / len(x) + (np.log(size) - centre) ** 2 / sxx)))
        return float(value), float(value / factor), float(value * factor)

    return Growth(slope, half, predict)


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


@dataclass
class Sweep:
    """The rows of one system at sizes in ascending order, measured or extrapolated.

    A size is not run where the fit of at least two smaller ones puts its ``seconds`` above `limit_s`. `exponent` is the
    power of the fit; None fits it too.
    """

    phase: str
    quantities: Sequence[str]
    columns: Mapping[str, Any]
    limit_s: float | None = None
    exponent: float | None = None
    sides: Collection[str] = ("image", "text")  # a side that is not read has no scale
    has_peak: bool = False  # whether the peak of the memory has a row
    rows: list[dict[str, Any]] = field(default_factory=list)
    _ok: list[tuple[int, Mapping[str, Measurement]]] = field(default_factory=list)

    def measured(self, quantity: str = "seconds") -> tuple[list[int], list[float]]:
        """Sizes in images and seconds of what was measured."""
        return [n for n, _ in self._ok], [costs[quantity].seconds for _, costs in self._ok]

    def exceeds_limit(self, size: Size) -> bool:
        """Whether a size would take too long to be run."""
        if self.limit_s is None or len(self._ok) < 2:
            return False
        return fit_growth(*self.measured(), self.exponent).predict(size[0])[0] > self.limit_s

    def add(self, size: Size, costs: Mapping[str, Measurement]) -> None:
        """Add a size that was measured, or, where nothing came of it, did not finish."""
        self._append(size, {q: (costs.get(q), None) for q in self.quantities}, "ok" if costs else "dnf")
        if costs:
            self._ok.append((size[0], costs))

    def extrapolate(self, size: Size) -> None:
        """Add a size that is not run, from the fit of at least two that were; nothing where none was meant to run."""
        costs: dict[str, tuple[float | None, float | None]] = dict.fromkeys(self.quantities, (None, None))
        if len(self._ok) > 1:
            for quantity in self.quantities:
                value, low, high = fit_growth(*self.measured(quantity), self.exponent).predict(size[0])
                costs[quantity] = value, None if np.isnan(low) else (high - low) / 2
            self._append(size, costs, "extrapolated")
        elif any(row["status"] == "dnf" for row in self.rows):
            self._append(size, costs, "dnf")

    def _append(self, size: Size, costs: Mapping[str, tuple[Any, float | None]], status: str) -> None:
        n_img, n_txt = (n if side in self.sides else 0 for n, side in zip(size, ("image", "text"), strict=True))
        columns = {"scale_img": n_img, "scale_txt": n_txt, "status": status, **self.columns}
        self.rows += [cost_row(self.phase, q, value, spread=spread, **columns) for q, (value, spread) in costs.items()]
        if self.has_peak and status == "ok":
            self.rows.append(cost_row(self.phase, "peak_bytes", costs["seconds"][0].peak_bytes, unit="B", **columns))


def sweep_sizes(
    sweeps: Mapping[str, Sweep],
    sizes: Iterable[Size],
    measure: Callable[[Size, list[str]], Mapping[str, Mapping[str, Measurement]]],
    extrapolate_to: Iterable[Size] = (),
) -> None:
    """Add all sizes to the sweeps of some systems, by name: measured, smallest first, or extrapolated.

    ``measure(size, names)`` gives the costs of those of the named systems that ran, none where memory ran out.
    InputError where a size is missing or below 1, or where there are fewer than two to extrapolate from.
    """
    sizes, beyond = sorted(set(sizes)), sorted(set(extrapolate_to))
    if not sizes or min(min(size) for size in (*sizes, *beyond)) < 1:
        raise InputError(f"sizes {[*sizes, *beyond]} were given; expected (images, texts) of at least 1 each")
    if beyond and len({n_img for n_img, _ in sizes}) < 2:
        raise InputError(
            f"one size ({sizes[0][0]} images) was given to extrapolate from; expected at least two different sizes"
        )
    for size in sizes:
        names = [name for name, sweep in sweeps.items() if not sweep.exceeds_limit(size)]
        measured = measure(size, names) if names else {}
        for name, sweep in sweeps.items():
            if name in measured:
                sweep.add(size, measured[name])
            else:
                sweep.extrapolate(size)
    for size in beyond:
        for sweep in sweeps.values():
            sweep.extrapolate(size)
