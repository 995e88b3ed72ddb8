"""Whether two systems differ on the same queries: paired comparisons, by image.

The captions of an image are not independent samples, so that what is swapped between two systems is an image with its
captions.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import numpy as np

from fico_utils.errors import InputError
from fico_utils.evaluation.metrics import Metric
from fico_utils.evaluation.observations import Observations
from fico_utils.evaluation.summary import BATCH, Score, list_scores, middle_95, rank_atoms, weighted_medians
from fico_utils.evaluation.tasks import DIRECTIONS

FAMILY = "recall@1,5,10 median_rank mean_rank map@10,100,N"


def compare_systems(
    a: Observations, b: Observations, metrics: str | Iterable[Metric] = FAMILY, *, repeats: int = 10000, seed: int = 0
) -> list[dict[str, Any]]:
    """Whether system ``a`` differs from system ``b`` on the same queries: one dict per number of `metrics`.

    Keys: task, direction, metric, k, value_a, value_b, difference (a - b), ci_low, ci_high (95 % bootstrap of the
    difference, both systems on the same draws of images), p (two-sided permutation test: under the null hypothesis
    the two systems are exchangeable for each image with its captions), p_holm (p adjusted by Holm's step-down
    method for all numbers of this comparison), n_query, status. The permutation test draws `repeats` times, so that
    the least p is 1 / (repeats + 1); the bootstrap takes a tenth. InputError where the queries differ.
    """
    for direction in DIRECTIONS:
        x, y = (s.directions[direction]["image"] for s in (a, b))
        if (a.n_img, a.n_txt) != (b.n_img, b.n_txt) or not np.array_equal(x, y):
            raise InputError("the two systems have seen different queries, expected the same images and captions")
    of_b = {score.key: score for score in list_scores(b, metrics)}
    rows = []
    for score in list_scores(a, metrics):
        other = of_b.get(score.key)
        if other is None:
            continue
        row = dict(zip(("task", "direction", "metric", "k"), score.key, strict=True))
        row |= dict.fromkeys(("value_a", "value_b", "difference", "ci_low", "ci_high", "p", "p_holm"), float("nan"))
        row |= {"n_query": score.side.counts["relevant"].size, "status": "undefined"}
        rows.append(row)
        if score.is_defined and other.is_defined:
            x, y = (s.bootstrap(max(1, repeats // 10), seed) for s in (score, other))
            if not (np.isfinite(x).all() and np.isfinite(y).all()):
                continue  # in some draw a median falls among the items that were not ranked
            low, high = middle_95(x - y)
            row |= {"value_a": score.value, "value_b": other.value, "difference": score.value - other.value}
            row |= {"ci_low": low, "ci_high": high, "status": "ok"}
            row["p"] = _permutation_p((score, other), repeats, seed)
    tested = [row for row in rows if row["status"] == "ok"]
    for row, adjusted in zip(tested, adjust_by_holm(row["p"] for row in tested), strict=True):
        row["p_holm"] = float(adjusted)
    return rows


def adjust_by_holm(p_values: Iterable[float]) -> np.ndarray:
    """p-values adjusted by Holm's step-down method, in the order given.

    >>> adjust_by_holm([0.01, 0.04, 0.03])
    array([0.03, 0.06, 0.06])
    """
    p = np.asarray(list(p_values), dtype=np.float64)
    order = np.argsort(p, kind="stable")
    adjusted = np.empty(p.size)
    adjusted[order] = np.minimum(1, np.maximum.accumulate(p[order] * np.arange(p.size, 0, -1)))
    return adjusted


def _permutation_p(scores: tuple[Score, Score], repeats: int, seed: int) -> float:
    """Two-sided p-value: how often swapping the systems at random, image by image, gives as large a difference."""
    x, y = (score.values for score in scores)
    image, unit = np.unique(scores[0].side.counts["image"], return_inverse=True)
    rng, reached = np.random.default_rng(seed), 0
    if x is None or y is None:
        atoms = [rank_atoms(score.side) for score in scores]
        values, weights, query = (np.concatenate(parts) for parts in zip(*atoms, strict=True))
        owner, of_a = unit[query], np.arange(values.size) < atoms[0][0].size

        def difference(swap: np.ndarray) -> np.ndarray:
            of_first = (swap[:, owner] != of_a) * weights
            return weighted_medians(values, of_first) - weighted_medians(values, weights - of_first)
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
