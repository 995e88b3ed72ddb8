"""From measured sizes to those that somebody's gallery will have: the law of each kind of index, with an interval."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np

from fico_utils.costs.rows import fit_growth
from fico_utils.evaluation.summary import middle_95
from fico_utils.extras.deploy.candidates import ALL, GRAPH, LISTS

Row = Mapping[str, Any]
#: What a search looks at, of n items; its time is a constant and so many steps.
STEPS: dict[str, Callable[[Any], Any]] = {ALL: np.asarray, LISTS: np.sqrt, GRAPH: np.log}


class TimeFit(NamedTuple):
    """Relative least squares of ``a + b steps(n)``, neither negative, to the times at some sizes."""

    law: str
    coefficients: np.ndarray  # (2,)
    spread: np.ndarray  # (2, 2) covariance of the coefficients at a residual of 1
    residuals: float  # sum of the squared relative residuals
    freedom: int

    def predict(self, n: int, relative: float, t: float) -> tuple[float, float, float]:
        """The time at a size, and its interval: `relative` is the residual of all such indexes, `t` Student's."""
        terms = np.array([1.0, float(STEPS[self.law](n))])
        value = float(terms @ self.coefficients)
        half = t * relative * np.sqrt(value**2 + terms @ self.spread @ terms)
        return value, max(0.0, value - half), value + half


def fit_times(sizes: Sequence[int], times: Sequence[float], law: str) -> TimeFit:
    """The fit of some times (m,) at some sizes (m,).

    >>> fit_times([100, 200, 400], [2.0, 3.0, 5.0], "n").coefficients.round(6).tolist()
    [1.0, 0.01]
    """
    from scipy.optimize import nnls

    took = np.asarray(times, np.float64)
    terms = np.stack([np.ones(len(sizes)), STEPS[law](np.asarray(sizes, np.float64))], 1) / took[:, None]
    scale = terms.max(axis=0)
    coefficients = nnls(terms / scale, np.ones(len(took)))[0] / scale
    used, spread = coefficients > 0, np.zeros((2, 2))
    spread[np.ix_(used, used)] = np.linalg.pinv(terms[:, used].T @ terms[:, used])
    residuals = float(((terms @ coefficients - 1) ** 2).sum())
    return TimeFit(law, coefficients, spread, residuals, max(0, len(took) - int(used.sum())))


def fit_share(sizes: Sequence[int], shares: np.ndarray, n: int, least: float) -> np.ndarray:
    """Shares (..., ) at `n` items from those (m, ...) at some sizes: a line of log-odds over log n that never rises.

    A share is kept `least` away from 0 and 1 before it becomes odds; one that was the same everywhere stays.

    >>> fit_share([10, 100], np.array([0.5, 0.5]), 1000, 0.01).tolist()
    0.5
    """
    kept = np.clip(shares, least, 1 - least)
    x, y = np.log(np.asarray(sizes, np.float64)), np.log(kept / (1 - kept))
    x = x - x.mean()
    slope = np.minimum(np.tensordot(x, y, 1) / (x @ x), 0.0)
    odds = y.mean(axis=0) + slope * (np.log(n) - np.log(np.asarray(sizes, np.float64)).mean())
    carried = np.minimum(1 / (1 + np.exp(-odds)), shares[-1])  # items that are added can only stand before the right
    return np.where((shares == shares[-1]).all(axis=0), shares[-1], carried)


def carry_rows(rows: Iterable[Row], n: int, factories: Mapping[str, str], n_query: int) -> list[dict[str, Any]]:
    """Rows of all that was measured at two sizes or more, at a size that it was not measured at.

    `rows` are as `measure_build` gives them, `factories` the factory string of each name at this size. The interval of
    a time is that of a new measurement, by the residuals of all indexes of one law; that of a metric comes from
    refitting to resampled queries, the same at all sizes.
    """
    at: dict[str, list[Row]] = {}
    for row in sorted(rows, key=lambda row: row["items"]):
        at.setdefault(row["name"], []).append(row)
    at = {name: each for name, each in at.items() if len(each) > 1 and n not in [row["items"] for row in each]}
    fits = {
        (name, column): fit_times([r["items"] for r in each], [r[column] for r in each], each[0]["law"])
        for name, each in at.items()
        for column in ("query_ms", "batch_ms")
    }
    return [_carried(each, n, fits, factories.get(name, each[-1]["factory"]), n_query) for name, each in at.items()]


def _carried(
    each: Sequence[Row], n: int, fits: Mapping[tuple[str, str], TimeFit], factory: str, n_query: int
) -> dict[str, Any]:
    last, sizes = each[-1], [row["items"] for row in each]
    row = {name: last[name] for name in ("name", "bytes_per_item", "search", "codes", "depth", "law")}
    row |= {"factory": factory, "items": n, "memory_bytes": last["bytes_per_item"] * n}
    row["build_s"] = fit_growth(sizes, [r["build_s"] for r in each]).predict(n)[0]
    for column in ("query_ms", "batch_ms"):
        relative, t = _pooled([fit for (_, c), fit in fits.items() if c == column and fit.law == last["law"]])
        row[column], low, high = fits[last["name"], column].predict(n, relative, t)
        row |= {f"{column}_low": low, f"{column}_high": high}
    for name in last:
        shares = np.array([r[name] for r in each]) if name.startswith("neighbour") or f"{name}_draws" in last else None
        if shares is not None:
            row[name] = float(fit_share(sizes, shares, n, 0.5 / n_query))
        if f"{name}_draws" in last:
            draws = np.array([r[f"{name}_draws"] for r in each])
            row[f"{name}_ci_low"], row[f"{name}_ci_high"] = middle_95(fit_share(sizes, draws, n, 0.5 / n_query))
    return row


def _pooled(fits: Sequence[TimeFit]) -> tuple[float, float]:
    """The relative residual of some fits together, and Student's t; nan without degrees of freedom."""
    from scipy.stats import t as student

    freedom = sum(fit.freedom for fit in fits)
    if not freedom:
        return np.nan, np.nan
    return np.sqrt(sum(fit.residuals for fit in fits) / freedom), float(student.ppf(0.975, freedom))
