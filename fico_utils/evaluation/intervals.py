"""How sure a number is: bootstrap intervals and paired comparisons, both by image.

The captions of an image are not independent samples, so that what is drawn, or swapped between two systems, is
an image with its captions. The gallery stays as it is: the intervals are about other queries, not other galleries.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import Any

import numpy as np

from fico_utils.errors import InputError
from fico_utils.evaluation.observations import K, Observations
from fico_utils.evaluation.tasks import DIRECTIONS
from fico_utils.evaluation.ties import hit_probability

#: Repeats drawn at a time, which bounds the memory.
BATCH = 64
#: Points that stand for the rank of a query whose best correct item is tied.
ATOMS = 16


def rank_atoms(seen: Observations, direction: str) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Points and weights whose distribution is that of the first-hit ranks: (rank, weight, query).

    A query without ties is one point; a tied one is `ATOMS` points of equal weight, at evenly spaced probabilities
    of its rank.
    """
    counts = seen.directions[direction]
    ranks = seen.first_hit_rank(direction)
    spread = np.flatnonzero(counts["tied"] > counts["tied_correct"]) if seen.ties == "expected" else np.zeros(0, int)
    firm = np.setdiff1d(np.arange(ranks.size), spread, assume_unique=True)
    picked = {name: counts[name][spread].astype(np.int64) for name in ("above", "tied", "tied_correct")}
    points = np.empty((spread.size, ATOMS))
    for atom in range(ATOMS):
        # bisection for the first rank at which a hit is as probable as asked
        low, high = picked["above"] + 1, picked["above"] + picked["tied"] - picked["tied_correct"] + 1
        while np.any(low < high):
            middle = (low + high) // 2
            reached = hit_probability(picked, middle, "expected") >= (atom + 0.5) / ATOMS
            low, high = np.where(reached, low, np.minimum(middle + 1, high)), np.where(reached, middle, high)
        points[:, atom] = low
    values = np.concatenate([ranks[firm], points.ravel()])
    weights = np.concatenate([np.ones(firm.size), np.full(points.size, 1 / ATOMS)])
    return values, weights, np.concatenate([firm, np.repeat(spread, ATOMS)])


def weighted_medians(values: np.ndarray, weights: np.ndarray) -> np.ndarray:
    """Median of ``values`` (n,) under each row of ``weights`` (b, n); halfway where two values share the middle."""
    order = np.argsort(values, kind="stable")
    values, total = values[order], np.cumsum(weights[:, order], axis=1)
    half = total[:, -1:] / 2
    tiny = 1e-9 * half
    lower = (total < half - tiny).sum(axis=1)
    upper = (total <= half + tiny).sum(axis=1)
    last = values.size - 1
    return (values[np.minimum(lower, last)] + values[np.minimum(upper, last)]) / 2


def middle_95(statistics: np.ndarray) -> tuple[float, float]:
    """The 2.5 and 97.5 percentiles; of statistics themselves where some are infinite, as medians of ranks may be.

    >>> middle_95(np.array([1.0, 2.0, np.inf, np.inf]))
    (1.0, inf)
    """
    method = "linear" if np.isfinite(statistics).all() else "inverted_cdf"  # nothing lies between two infinities
    low, high = np.percentile(statistics, (2.5, 97.5), method=method)
    return float(low), float(high)


class Bootstrap:
    """Repeated draws of the images, the same for every metric of one set of observations."""

    def __init__(self, seen: Observations, repeats: int = 1000, seed: int = 0) -> None:
        self.seen, self.repeats, self.seed = seen, repeats, seed
        self._units = {d: np.unique(seen.directions[d]["image"], return_inverse=True) for d in DIRECTIONS}

    def _draws(self, direction: str) -> Iterator[np.ndarray]:
        """How often each image is drawn: (b, n) float64, in batches; the same at every call."""
        n, rng = self._units[direction][0].size, np.random.default_rng(self.seed)
        for start in range(0, self.repeats, BATCH):
            size = min(BATCH, self.repeats - start)
            picks = rng.integers(0, n, (size, n)) + n * np.arange(size)[:, None]
            yield np.bincount(picks.ravel(), minlength=size * n).reshape(size, n).astype(np.float64)

    def statistics(self, direction: str, values: np.ndarray | None) -> np.ndarray:
        """The metric in each repeat: (repeats,); the mean of ``values``, or the median rank for None."""
        unit = self._units[direction][1]
        if values is None:
            ranks, weights, query = rank_atoms(self.seen, direction)
            return np.concatenate(
                [weighted_medians(ranks, w[:, unit[query]] * weights) for w in self._draws(direction)]
            )
        sums, sizes = np.bincount(unit, values), np.bincount(unit)
        return np.concatenate([w @ sums / (w @ sizes) for w in self._draws(direction)])

    def interval(self, direction: str, values: np.ndarray | None) -> tuple[float, float]:
        """The 2.5 and 97.5 percentiles."""
        return middle_95(self.statistics(direction, values))


def compare(
    a: Observations,
    b: Observations,
    recall_at: Iterable[int] = (1, 5, 10),
    map_at: Iterable[K] | None = None,
    *,
    repeats: int = 10000,
    seed: int = 0,
) -> list[dict[str, Any]]:
    """Whether system ``a`` differs from system ``b`` on the same queries: one dict per number.

    Keys: task, direction, metric, k, value_a, value_b, difference (a - b), ci_low, ci_high (95 % bootstrap of the
    difference, both systems on the same draws of images), p (two-sided permutation test: under the null hypothesis
    the two systems are exchangeable for each image with its captions), p_holm (p adjusted by Holm's step-down
    method for all numbers of this comparison), n_query, status.

    Parameters
    ----------
    a, b : Observations
        Of the same corpus and the same queries.
    recall_at, map_at
        The family of numbers to compare; as in `summarise`.
    repeats, seed : int
        Draws of the permutation test, so that the least p is 1 / (repeats + 1); the bootstrap takes a tenth.

    Raises
    ------
    InputError
        If the two have not seen the same queries.
    """
    from fico_utils.evaluation.metrics import metrics, value_of

    for direction in DIRECTIONS:
        x, y = (s.directions[direction]["image"] for s in (a, b))
        if (a.n_img, a.n_txt) != (b.n_img, b.n_txt) or not np.array_equal(x, y):
            raise InputError("the two systems have seen different queries, expected the same images and captions")
    draws = [Bootstrap(s, max(1, repeats // 10), seed) for s in (a, b)]
    of_b = {metric.key: metric for metric in metrics(b, recall_at, map_at)}
    rows, p_values = [], []
    for metric in metrics(a, recall_at, map_at):
        other = of_b.get(metric.key)
        if other is None:
            continue
        row = dict(zip(("task", "direction", "metric", "k"), metric.key, strict=True))
        row |= dict.fromkeys(("value_a", "value_b", "difference", "ci_low", "ci_high", "p", "p_holm"), float("nan"))
        row |= {"n_query": a.n_query(metric.direction), "status": "undefined"}
        rows.append(row)
        if metric.status == other.status == "ok":
            first, second = value_of(a, metric), value_of(b, other)
            pair = zip(draws, (metric, other), strict=True)
            x, y = (draw.statistics(metric.direction, m.values) for draw, m in pair)
            if not (np.isfinite(x).all() and np.isfinite(y).all()):
                continue  # in some draw a median falls among the items that were not ranked
            low, high = middle_95(x - y)
            p = _permutation_p(a, b, metric.direction, metric.values, other.values, repeats, seed)
            row |= {"value_a": first, "value_b": second, "difference": first - second, "status": "ok"}
            row |= {"ci_low": low, "ci_high": high, "p": p}
            p_values.append((p, row))
    for (_, row), adjusted in zip(p_values, holm([p for p, _ in p_values]), strict=True):
        row["p_holm"] = float(adjusted)
    return rows


def holm(p_values: Iterable[float]) -> np.ndarray:
    """p-values adjusted by Holm's step-down method, in the order given.

    >>> holm([0.01, 0.04, 0.03])
    array([0.03, 0.06, 0.06])
    """
    p = np.asarray(list(p_values), dtype=np.float64)
    order = np.argsort(p, kind="stable")
    adjusted = np.empty(p.size)
    adjusted[order] = np.minimum(1, np.maximum.accumulate(p[order] * np.arange(p.size, 0, -1)))
    return adjusted


def _permutation_p(
    a: Observations,
    b: Observations,
    direction: str,
    x: np.ndarray | None,
    y: np.ndarray | None,
    repeats: int,
    seed: int,
) -> float:
    """Two-sided p-value: how often swapping the systems at random, image by image, gives as large a difference."""
    image, unit = np.unique(a.directions[direction]["image"], return_inverse=True)
    rng, reached = np.random.default_rng(seed), 0
    if x is None or y is None:
        atoms = [rank_atoms(s, direction) for s in (a, b)]
        values = np.concatenate([v for v, _, _ in atoms])
        weights = np.concatenate([w for _, w, _ in atoms])
        owner = np.concatenate([unit[q] for _, _, q in atoms])
        of_a = np.arange(values.size) < atoms[0][0].size

        def difference(swap: np.ndarray) -> np.ndarray:
            mine = (swap[:, owner] != of_a) * weights
            return weighted_medians(values, mine) - weighted_medians(values, weights - mine)
    else:
        sums = np.bincount(unit, x - y)

        def difference(swap: np.ndarray) -> np.ndarray:
            return (1.0 - 2.0 * swap) @ sums

    observed = abs(difference(np.zeros((1, image.size), dtype=bool))[0])
    for start in range(0, repeats, BATCH):
        swap = rng.integers(0, 2, (min(BATCH, repeats - start), image.size), dtype=np.uint8).astype(bool)
        # a difference that is equal but for rounding counts as reached
        reached += int(np.sum(np.abs(difference(swap)) >= observed * (1 - 1e-9)))
    return (reached + 1) / (repeats + 1)
