"""How sure a number is: bootstrap intervals, by image.

The captions of an image are not independent samples, so that what is drawn is an image with its captions. The gallery
stays as it is: the intervals are about other queries, not other galleries.
"""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np

from fico_utils.evaluation.observations import Observations
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
