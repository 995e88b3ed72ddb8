"""Rows of metrics.csv that need what each query saw: scores under tied orders, and places among the systems.

A place is 1 for the system that did best on a query; systems that did equally well share the mean of their
places. Its mean over the queries compares systems where scores do not add up, as a critical-difference diagram
does (Demsar, 2006). The test behind such a diagram takes queries for independent, which captions of one image are
not, so the difference that noise can make is found by resampling images with their captions instead: over 1000
draws, the 95th percentile of the largest deviation between any two systems of a panel. Each row's interval is half
of that to either side, hence two systems whose intervals do not overlap differ, all pairs of a panel taken together.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from typing import TYPE_CHECKING

import numpy as np

from fico_utils.errors import InputError
from fico_utils.evaluation import DEFAULT_METRICS, Metric, Observations, parse_metrics, summarise

if TYPE_CHECKING:
    import pandas as pd

#: Draws held at a time, which bounds the memory.
BATCH = 64
#: Digits to which two average precisions must agree to be the same.
DIGITS = 9


def tie_rows(seen: Observations, metrics: str | Iterable[Metric] = DEFAULT_METRICS) -> pd.DataFrame:
    """Recall and average precision under one order of tied items, in the columns of `evaluate`.

    Parameters
    ----------
    seen : Observations, taken with ``ties="optimistic"`` or ``"pessimistic"``, which goes into the metrics' names.
    metrics : str, or iterable of Metric; all but recall and map are left out.

    Raises
    ------
    InputError
        Observations under another order.
    """
    import pandas as pd

    if seen.ties not in ("optimistic", "pessimistic"):
        raise InputError(f"the observations were taken with ties={seen.ties!r}; expected optimistic or pessimistic")
    bounded = [metric for metric in parse_metrics(metrics) if metric.name in ("recall", "map")]
    kept = pd.DataFrame(summarise(seen, bounded))
    kept = kept[kept["metric"].isin(("recall", "map"))]  # not the curve
    return kept.assign(metric=kept["metric"] + f"_{seen.ties}").reset_index(drop=True)


def place_rows(
    seen: Mapping[str, Observations], metrics: str | Iterable[Metric] = "map@10", *, repeats: int = 1000, seed: int = 0
) -> pd.DataFrame:
    """Mean places of systems on the same queries, with comparison intervals: one row a system, direction, metric.

    Parameters
    ----------
    seen : mapping, system id -> Observations of one corpus.
    metrics : str, or iterable of Metric, by whose value on each query places are given beside the rank of the first
        correct item; a system without it has status ``undefined`` and takes no place.
    repeats, seed : int, of the bootstrap.

    Returns
    -------
    DataFrame, columns system, task, direction, metric, k, value, ci_low, ci_high, chance, n_query, status. A correct
    item that a system did not rank stands behind all that others ranked. `chance` is the place of a system that
    does no better or worse than another.

    Raises
    ------
    InputError
        No system, or systems that have not seen the same queries.
    """
    import pandas as pd

    if not seen:
        raise InputError("no observations were given to rank; expected those of one system or more")
    first, *others = seen.values()
    rows = []
    for direction in ("i2t", "t2i"):
        image = first.directions[direction]["image"]
        for other in others:
            same = (first.n_img, first.n_txt) == (other.n_img, other.n_txt)
            if not same or not np.array_equal(image, other.directions[direction]["image"]):
                raise InputError("the systems have seen different queries; expected the same images and captions")
        for task, metric, k, scores in _panels(seen, direction, parse_metrics(metrics)):
            places = mean_places(np.stack([*scores.values()], 1)) if scores else np.zeros((image.size, 0))
            value, half = places.mean(axis=0), critical_difference(places, image, repeats, seed) / 2
            found = dict(zip(scores, value, strict=True))
            for system in seen:
                place = found.get(system, np.nan)
                rows.append(
                    {
                        "system": system, "task": task, "direction": direction, "metric": metric, "k": k,
                        "value": place, "ci_low": np.fmax(place - half, 1) if system in found else np.nan,
                        "ci_high": place + half, "chance": (len(scores) + 1) / 2 if system in found else np.nan,
                        "n_query": image.size, "status": "ok" if system in found else "undefined",
                    }
                )  # fmt: skip
    return pd.DataFrame(rows)


def _panels(
    seen: Mapping[str, Observations], direction: str, metrics: tuple[Metric, ...]
) -> Iterator[tuple[str, str, str, dict[str, np.ndarray]]]:
    """(task, metric, k, system -> score of each query, larger is better) of what systems are ranked by."""
    yield "instance", "place", "", {s: -o.first_hit_rank(direction) for s, o in seen.items()}
    for metric in metrics:
        scores, (level, *_) = {}, metric.entry.levels
        for system, o in seen.items():
            side = o.side(level, direction)
            if level in o.levels and metric.k in side.ks and metric.entry.defined(side, metric.k):
                scores[system] = np.round(metric.entry.values(side, metric.k), DIGITS)
        yield level, f"{metric.name}_place", metric.k_text, scores


def mean_places(scores: np.ndarray) -> np.ndarray:
    """Place of each system on each query, 1 for the highest score; equal scores share the mean of their places.

    Parameters
    ----------
    scores : ndarray (n_query, n_system), larger is better.

    Returns
    -------
    ndarray (n_query, n_system) float64

    >>> mean_places(np.array([[0.9, 0.1, 0.5], [0.2, 0.2, 0.1]])).tolist()
    [[1.0, 3.0, 2.0], [1.5, 1.5, 3.0]]
    """
    places = np.empty(scores.shape)
    for i in range(scores.shape[1]):
        own = scores[:, i : i + 1]
        places[:, i] = 0.5 + (scores > own).sum(axis=1) + 0.5 * (scores == own).sum(axis=1)
    return places


def critical_difference(places: np.ndarray, image: np.ndarray, repeats: int = 1000, seed: int = 0) -> float:
    """The difference of two mean places that noise alone does not make, for all pairs at once (95 %).

    Parameters
    ----------
    places : ndarray (n_query, n_system)
    image : ndarray (n_query,), the image of each query; images are drawn with all their queries.
    """
    if places.shape[1] < 2:
        return 0.0
    unit = np.unique(image, return_inverse=True)[1]
    sizes, rng = np.bincount(unit), np.random.default_rng(seed)
    sums = np.stack([np.bincount(unit, column) for column in places.T], axis=1)
    widest = []
    for start in range(0, repeats, BATCH):
        drawn = rng.multinomial(sizes.size, np.full(sizes.size, 1 / sizes.size), min(BATCH, repeats - start))
        deviation = (drawn @ sums) / (drawn @ sizes)[:, None] - places.mean(axis=0)
        widest.append(np.ptp(deviation, axis=1))
    return float(np.percentile(np.concatenate(widest), 95))
