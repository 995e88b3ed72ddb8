"""From observations to scores: each metric with its chance level, and its interval where one is asked for."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np

from fico_utils.evaluation.intervals import Bootstrap
from fico_utils.evaluation.metrics import CURVE_LEVELS, DEFAULT_METRICS, Metric, parse_metrics
from fico_utils.evaluation.observations import Observations, Side
from fico_utils.evaluation.tasks import DIRECTIONS
from fico_utils.evaluation.ties import expected_median

COLUMNS = (
    "task", "direction", "metric", "k", "value", "ci_low", "ci_high", "n_query", "chance", "ties", "status",
)  # fmt: skip


@dataclass(frozen=True)
class Score:
    """One metric of one direction at one level, before it becomes a number.

    Attributes
    ----------
    metric : Metric
    side : Side, what its queries saw.
    values : ndarray (n_query,), or None for the median, which is no mean.
    """

    metric: Metric
    side: Side
    values: np.ndarray | None

    @property
    def key(self) -> tuple[str, str, str, str]:
        """What the number is called: task, direction, metric, k."""
        return self.side.level, self.side.direction, self.metric.name, self.metric.k_text

    @property
    def is_defined(self) -> bool:
        """Whether the rankings are deep enough for the metric."""
        return self.metric.entry.defined(self.side, self.metric.k)

    @property
    def chance(self) -> float:
        """The expectation under a random ranking."""
        return self.metric.entry.chance(self.side, self.metric.k)

    @property
    def value(self) -> float:
        """The mean over the queries, or the median rank."""
        if self.values is None:
            return expected_median(self.side.counts, self.side.ties)
        return float(self.values.mean())


def list_scores(seen: Observations, metrics: str | Iterable[Metric] = DEFAULT_METRICS) -> Iterator[Score]:
    """The scores of some observations, level by level; parameters as in `summarise`."""
    metrics = parse_metrics(metrics)
    for level in seen.levels:
        for direction in DIRECTIONS:
            side = seen.side(level, direction)
            curve = [Metric("precision", at) for at in CURVE_LEVELS[: side.curve.shape[1]]]
            for metric in (*metrics, *curve):
                if level in metric.entry.levels and direction in metric.entry.directions:
                    yield Score(metric, side, metric.entry.values(side, metric.k))


def summarise(
    seen: Observations,
    metrics: str | Iterable[Metric] = DEFAULT_METRICS,
    *,
    intervals: bool = False,
    repeats: int = 1000,
    seed: int = 0,
) -> list[dict[str, Any]]:
    """The scores of some observations: one dict per number, with the keys `COLUMNS`.

    Parameters
    ----------
    seen : Observations
    metrics : str, or iterable of Metric
        Each at the levels that were observed. Recall may have any k; a k of ``map`` and ``precision`` must be one that
        was observed. The curve follows where it was observed.
    intervals : bool
        95 % bootstrap intervals: images are drawn with their captions, the gallery stays.
    repeats, seed : int
        Of the bootstrap.

    Raises
    ------
    InputError
        A k was not observed.

    Notes
    -----
    An undefined number has value NaN. Where ranks are asked of a matrix in which not all pairs were ranked, recall@k
    is defined up to the shallowest ranking, the mean rank only if every correct item was ranked, the median if it
    lies above the shallowest depth.
    """
    bootstrap = Bootstrap(seen, repeats, seed) if intervals else None
    rows = []
    for score in list_scores(seen, metrics):
        value = low = high = np.nan
        defined, direction = score.is_defined, score.side.direction
        if defined:
            value = score.value
            if bootstrap is not None:
                low, high = bootstrap.interval(direction, score.values)
        status = "ok" if defined else "undefined"
        row = (*score.key, value, low, high, seen.n_query(direction), score.chance, seen.ties, status)
        rows.append(dict(zip(COLUMNS, row, strict=True)))
    return rows
