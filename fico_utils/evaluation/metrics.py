"""From observations to scores: recall@k, ranks, mAP@k, precision, each with its chance level."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np

from fico_utils.errors import InputError
from fico_utils.evaluation.intervals import Bootstrap
from fico_utils.evaluation.observations import K, Observations
from fico_utils.evaluation.observe import check_k
from fico_utils.evaluation.tasks import DIRECTIONS
from fico_utils.evaluation.ties import expected_median, harmonic_numbers, hit_probability, hit_rank, random_counts

COLUMNS = (
    "task", "direction", "metric", "k", "value", "ci_low", "ci_high", "n_query", "chance", "ties", "status",
)  # fmt: skip
LEVELS = tuple(f"R={level / 10:.1f}" for level in range(11))
RECALL_AT = (1, 5, 10, 50, 100, 200)


@dataclass(frozen=True)
class Metric:
    """One number to report: its name, its value for each query, and what a random ranking would give.

    ``values`` is None for the median, which is no mean; ``status`` is "ok" or "undefined".
    """

    task: str
    direction: str
    name: str
    k: str
    values: np.ndarray | None
    chance: float
    status: str = "ok"

    @property
    def key(self) -> tuple[str, str, str, str]:
        """What the number is called: task, direction, metric, k."""
        return self.task, self.direction, self.name, self.k


def metrics(
    seen: Observations,
    recall_at: Iterable[int] = RECALL_AT,
    map_at: Iterable[K] | None = None,
    precision_at: Iterable[K] = (),
) -> Iterator[Metric]:
    """The metrics of some observations; parameters as in `summarise`."""
    recall_at = check_k(recall_at, "recall_at")
    map_at = seen.map_at if map_at is None else check_k(map_at, "map_at", with_n=True)
    precision_at = check_k(precision_at, "precision_at", with_n=True)
    missing = [k for k in (*map_at, *precision_at) if k not in seen.map_at]
    if missing and seen.has_labels:
        raise InputError(
            f"average precision at {missing[0]} was not observed, only at {', '.join(map(str, seen.map_at))}: "
            "score again with it in map_at"
        )
    for direction in DIRECTIONS:
        yield from _instance(seen, direction, recall_at)
    if seen.has_labels:
        for direction in DIRECTIONS:
            yield from _category(seen, direction, map_at, precision_at)


def _instance(seen: Observations, direction: str, recall_at: tuple[int, ...]) -> Iterator[Metric]:
    counts, m = seen.directions[direction], seen.n_item(direction)
    depth = int(counts["ranked"].min())
    # every query with as many correct items has the same chance
    kinds, times = np.unique(counts["correct"], return_counts=True)
    blind = random_counts(m, kinds)
    for k in recall_at:
        defined = depth == m or k <= depth
        chance = _mean(hit_probability(blind, min(k, m), "expected"), times)
        values = seen.hit_probability(direction, k)
        yield Metric("instance", direction, "recall", str(k), values, chance, "ok" if defined else "undefined")
    ranks = seen.first_hit_rank(direction)
    # an unranked hit stands somewhere below the depth: the median is still known while it lies above
    median = expected_median(counts, seen.ties)
    known = np.isfinite(ranks).all() or median <= depth
    chance = expected_median(random_counts(m, counts["correct"]), "expected")
    yield Metric("instance", direction, "median_rank", "", None, chance, "ok" if known else "undefined")
    known = np.isfinite(ranks).all()
    chance = _mean(hit_rank(blind, "expected"), times)
    yield Metric("instance", direction, "mean_rank", "", ranks, chance, "ok" if known else "undefined")


def _category(
    seen: Observations, direction: str, map_at: tuple[K, ...], precision_at: tuple[K, ...]
) -> Iterator[Metric]:
    from fico_utils.evaluation.kernels_category import random_average_precision

    counts, m = seen.directions[direction], seen.n_item(direction)
    depth = int(counts["ranked"].min())
    kinds, times = np.unique(counts["relevant"], return_counts=True)
    harmonic = harmonic_numbers(m)
    precision = _mean(kinds, times) / m  # in random order the same at every rank

    def status(k: K) -> str:
        return "ok" if depth == m or (k != "N" and k <= depth) else "undefined"

    for k in map_at:
        top = m if k == "N" else min(k, m)
        chance = _mean(random_average_precision(kinds.astype(np.int64), m, top, harmonic), times)
        values = counts["ap"][:, seen.map_at.index(k)]
        yield Metric("category", direction, "map", str(k), values, chance, status(k))
    for k in precision_at:
        values = counts["found"][:, seen.map_at.index(k)] / (m if k == "N" else min(k, m))
        yield Metric("category", direction, "precision", str(k), values, precision, status(k))
    for level, values in zip(LEVELS, counts["curve"].T, strict=False):
        yield Metric("category", direction, "precision", level, values, precision, status("N"))


def _mean(values: np.ndarray, times: np.ndarray) -> float:
    """Mean of `values` that occur so many `times`; divided last, so that numbers up to 1 have no mean above it."""
    return values @ times / times.sum()


def summarise(
    seen: Observations,
    recall_at: Iterable[int] = RECALL_AT,
    map_at: Iterable[K] | None = None,
    *,
    precision_at: Iterable[K] = (),
    intervals: bool = False,
    repeats: int = 1000,
    seed: int = 0,
) -> list[dict[str, Any]]:
    """The scores of some observations: one dict per number, with the keys `COLUMNS`.

    Parameters
    ----------
    seen : Observations
    recall_at : iterable of int
        Any k; one beyond the gallery means all of it.
    map_at : iterable of int or "N", optional
        Which of the observed k; all of them by default.
    precision_at : iterable of int or "N"
        Precision in the top k, at any of the observed k: metric "precision", k such as "10".
    intervals : bool
        95 % bootstrap intervals: images are drawn with their captions, the gallery stays.
    repeats, seed : int
        Of the bootstrap.

    Notes
    -----
    An undefined number has value NaN. Where ranks are asked of a matrix in which not all pairs were ranked, recall@k
    is defined up to the shallowest ranking, the mean rank only if every correct item was ranked, the median if it
    lies above the shallowest depth.
    """
    bootstrap = Bootstrap(seen, repeats, seed) if intervals else None
    rows = []
    for metric in metrics(seen, recall_at, map_at, precision_at):
        value = low = high = np.nan
        if metric.status == "ok":
            value = value_of(seen, metric)
            if bootstrap is not None:
                low, high = bootstrap.interval(metric.direction, metric.values)
        task, direction, name, k = metric.key
        n_query = seen.n_query(direction)
        found = (task, direction, name, k, value, low, high, n_query, metric.chance, seen.ties, metric.status)
        rows.append(dict(zip(COLUMNS, found, strict=True)))
    return rows


def value_of(seen: Observations, metric: Metric) -> float:
    """The mean over the queries, or the median rank."""
    if metric.values is None:
        return expected_median(seen.directions[metric.direction], seen.ties)
    return float(metric.values.mean())
