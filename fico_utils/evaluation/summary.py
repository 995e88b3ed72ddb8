"""From observations to scores: each metric with its chance level, and its bootstrap interval where one is asked for.

The captions of an image are not independent samples, so that what is drawn is an image with its captions. The gallery
stays as it is: the intervals are about other queries, not other galleries.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np

from fico_utils.evaluation.metrics import CURVE_LEVELS, DEFAULT_METRICS, RANKS, SUMMED, TOGETHER, Metric, parse_metrics
from fico_utils.evaluation.observations import Observations, Rules, Side, is_radius
from fico_utils.evaluation.plan import Request
from fico_utils.evaluation.tasks import DIRECTIONS, INSTANCE
from fico_utils.evaluation.ties import COUNTS, expected_median, hit_probability, hit_rank

COLUMNS = (
    "task", "direction", "metric", "k", "value", "ci_low", "ci_high", "n_query", "chance", "ties", "status",
)  # fmt: skip
#: Repeats drawn at a time, which bounds the memory.
BATCH = 64
#: Points that stand for the rank of a query whose best correct item is tied.
ATOMS = 16


def rank_atoms(side: Side) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Points and weights whose distribution is that of the first-hit ranks: (rank, weight, query), each (n,).

    A query without ties is one point; a tied one is `ATOMS` points at evenly spaced probabilities of its rank.
    """
    ranks, counts = hit_rank(side.counts, side.rules.ties), side.counts
    spread = np.flatnonzero((counts["tied"] > counts["tied_correct"]) & (side.rules.ties == "expected"))
    firm = np.setdiff1d(np.arange(ranks.size), spread, assume_unique=True)
    picked = {name: counts[name][spread].astype(np.int64) for name in COUNTS}
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


def draw_units(rng: np.random.Generator, n: int, repeats: int) -> np.ndarray:
    """How often each of `n` units is drawn in each repeat, `n` draws with replacement: (repeats, n) float64."""
    picks = rng.integers(0, n, (repeats, n)) + n * np.arange(repeats)[:, None]
    return np.bincount(picks.ravel(), minlength=repeats * n).reshape(repeats, n).astype(np.float64)


@dataclass(frozen=True)
class Score:
    """One metric of one direction at one level, before it becomes a number."""

    metric: Metric
    side: Side  # what its queries saw
    values: np.ndarray | None  # (n_query,), or None for the median, which is no mean

    @classmethod
    def of(cls, metric: Metric, side: Side) -> Score:
        """The score of the queries that count."""
        counted = np.ones(side.relevant.size, bool)
        if side.rules.no_relevant == "skip" or metric.name in RANKS:
            counted &= side.relevant > 0
        if side.rules.empty_ball == "skip" and metric.entry.has_ball and is_radius(metric.k):
            counted &= side.cuts(metric.k) > 0
        side = side.take(counted)
        return cls(metric, side, metric.entry.values and metric.entry.values(side, metric.k))

    @property
    def key(self) -> tuple[str, str, str, str]:
        """What the number is called: task, direction, metric, k."""
        return self.side.level, self.side.direction, self.metric.name, self.metric.k_text

    @property
    def is_defined(self) -> bool:
        """Whether there are queries, and the rankings are deep enough for the metric."""
        return self.n_query > 0 and self.metric.entry.defined(self.side, self.metric.k)

    @property
    def n_query(self) -> int:
        """How many queries are in the mean."""
        return self.side.relevant.size

    @property
    def chance(self) -> float:
        """The expectation under a random ranking; NaN where there is none to speak of."""
        side, metric = self.side, self.metric
        if self.n_query == 0 or (is_radius(metric.k) and metric.name != "precision"):
            return float("nan")
        if is_radius(metric.k) or metric.k in CURVE_LEVELS:
            return float((side.relevant / side.n_item).mean())
        random = side.by_chance()
        if metric.entry.values is None:
            return expected_median(random.counts, "expected")
        return float(metric.entry.values(random, metric.k).mean())

    @property
    def value(self) -> float:
        """The mean over the queries, or the median rank."""
        if self.values is None:
            median = expected_median(self.side.counts, self.side.rules.ties)
            return float(np.floor(median)) if self.side.rules.median == "floor" else median
        return float(self.values.mean())

    def bootstrap(self, repeats: int = 1000, seed: int = 0) -> np.ndarray:
        """The value in each repeat, (repeats,): images are drawn with their queries, the same at every call."""
        unit = np.unique(self.side.counts["image"], return_inverse=True)[1]
        if self.values is None:
            ranks, weights, query = rank_atoms(self.side)
        else:
            sums, sizes = np.bincount(unit, self.values), np.bincount(unit)
        n, rng, batches = unit.max() + 1, np.random.default_rng(seed), []
        for start in range(0, repeats, BATCH):
            drawn = draw_units(rng, n, min(BATCH, repeats - start))
            if self.values is None:
                batches.append(weighted_medians(ranks, drawn[:, unit[query]] * weights))
            else:
                batches.append(drawn @ sums / (drawn @ sizes))
        return np.concatenate(batches)


@dataclass(frozen=True)
class Together:
    """A sum of recalls of both directions in percent, such as rsum; it has what a `Score` has to become a number."""

    metric: Metric
    parts: tuple[Score, ...]

    key = property(lambda self: (INSTANCE, "both", self.metric.name, ""))
    is_defined = property(lambda self: all(part.is_defined for part in self.parts))
    n_query = property(lambda self: self.parts[0].n_query + self.parts[-1].n_query)

    def _sum(self, numbers: Iterable[Any]) -> Any:
        return 100 * sum(numbers) / TOGETHER[self.metric.name]

    @property
    def value(self) -> float:
        """The sum of the parts."""
        return self._sum(part.value for part in self.parts)

    @property
    def chance(self) -> float:
        """The sum of the parts under a random ranking."""
        return self._sum(part.chance for part in self.parts)

    def bootstrap(self, repeats: int = 1000, seed: int = 0) -> np.ndarray:
        """The sum in each repeat, (repeats,): both directions on the same draws of images."""
        return self._sum(part.bootstrap(repeats, seed) for part in self.parts)


def list_scores(seen: Observations, asked: Request) -> Iterator[Score | Together]:
    """The scores of some observations, level by level."""
    for level in seen.levels:
        sides = {direction: seen.side(level, direction, asked.rules) for direction in seen.directions}
        for side in sides.values():
            curve = [Metric("precision", at) for at in CURVE_LEVELS[: side.counts["curve"].shape[1]]]
            for metric in (*asked.metrics, *curve):
                if metric.name not in TOGETHER and level in asked.levels_of(metric):
                    yield Score.of(metric, side)
        for metric in asked.metrics:
            if metric.name in TOGETHER and level == INSTANCE:
                recalls = (Score.of(Metric("recall", k), sides[d]) for d in DIRECTIONS for k in SUMMED)
                yield Together(metric, tuple(recalls))


def summarise(
    seen: Observations,
    metrics: str | Iterable[Metric] = DEFAULT_METRICS,
    *,
    rules: Rules | None = None,
    levels: tuple[str, ...] = (),
    intervals: bool = False,
) -> list[dict[str, Any]]:
    """The scores of some observations: one dict per number, with the keys `COLUMNS`.

    Parameters
    ----------
    seen : Observations
    metrics : str, or iterable of Metric
        Each at the levels at which the paper has it, or at `levels`. At instance level recall may have any k; a k of
        other metrics that was not observed is an InputError. The curve follows where it was observed.
    rules : Rules, by default those of the observations.
    intervals : bool
        95 % bootstrap intervals: images are drawn with their captions, the gallery stays.

    Notes
    -----
    An undefined number has value NaN. Where ranks are asked of a matrix in which not all pairs were ranked, recall@k
    is defined up to the shallowest ranking, the mean rank only if every correct item was ranked, the median if it
    lies above the shallowest depth.
    """
    rows, asked = [], Request(parse_metrics(metrics), rules or seen.rules, levels)
    for score in list_scores(seen, asked):
        value = low = high = np.nan
        if defined := score.is_defined:
            value = score.value
            if intervals:
                low, high = middle_95(score.bootstrap())
        status = "ok" if defined else "undefined"
        row = (*score.key, value, low, high, score.n_query, score.chance, asked.rules.ties, status)
        rows.append(dict(zip(COLUMNS, row, strict=True)))
    return rows
