"""Ranks under ties, and what a random ranking gives: exact expectations in closed form.

Items with equal score stand in a random order. Then, with ``above`` items before a query's best correct item and
``tied`` as good as it, ``tied_correct`` of them correct,

    P(hit in the top k) = 1 - C(tied - tied_correct, L) / C(tied, L),   L = clip(k - above, 0, tied)
    E[first rank]       = above + (tied + 1) / (tied_correct + 1)

and a random ranking is the case in which everything ties.
"""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Mapping
from functools import lru_cache

import numpy as np

from fico_utils.evaluation.compiling import fastest
from fico_utils.evaluation.kernels_instance import add_tail_probabilities

#: What is counted of each query, (n,) each: items above its best correct item, items as good, those of them correct.
COUNTS = ("above", "tied", "tied_correct")
#: 1.0 less this, or less anything below it, is 1.0.
HALF_ULP = 2.0**-54


def hit_probability(counts: Mapping[str, np.ndarray], k: int | np.ndarray, ties: str) -> np.ndarray:
    """Probability that a correct item is among the first k: (n,) float64.

    `counts` holds `COUNTS`; ``tied`` is 0 where no correct item was ranked.

    >>> hit_probability({"above": np.array([0]), "tied": np.array([4]), "tied_correct": np.array([2])}, 2, "expected")
    array([0.83333333])
    """
    if ties in ("optimistic", "pessimistic", "index"):
        return (hit_rank(counts, ties) <= k).astype(np.float64)
    tied, correct = counts["tied"].astype(np.int64), counts["tied_correct"].astype(np.int64)
    drawn = np.clip(k - counts["above"].astype(np.int64), 0, tied)
    fewer, more = np.minimum(correct, drawn), np.maximum(correct, drawn)
    miss, place, going = np.ones(tied.size), 0, np.flatnonzero(fewer)
    while going.size:
        # the chance that draw number `place` misses, too; drawing correct items and being drawn by them are the same
        left = tied[going] - place
        miss[going] *= np.maximum(left - more[going], 0) / left
        place += 1
        going = going[(fewer[going] > place) & (miss[going] > HALF_ULP)]
    return np.where(tied > 0, 1.0 - miss, 0.0)


def hit_rank(counts: Mapping[str, np.ndarray], ties: str) -> np.ndarray:
    """Rank of the first correct item, from 1: (n,) float64; its expectation for ties "expected", inf if not ranked.

    For ties "index", `counts` holds it as ``first``.

    >>> hit_rank({"above": np.array([3]), "tied": np.array([4]), "tied_correct": np.array([1])}, "expected")
    array([5.5])
    """
    tied, correct = counts["tied"].astype(np.int64), counts["tied_correct"].astype(np.int64)
    if ties == "index":
        return np.where(tied > 0, counts["first"], np.inf)
    place = {"optimistic": np.ones(tied.size), "pessimistic": tied - correct + 1.0}.get(
        ties, (tied + 1) / (correct + 1)
    )
    return np.where(tied > 0, counts["above"] + place, np.inf)


def random_counts(n_item: int, correct: np.ndarray) -> dict[str, np.ndarray]:
    """The counts of a ranking in which everything ties: random order, chance level."""
    return {
        "above": np.zeros(correct.size, dtype=np.int64),
        "tied": np.full(correct.size, n_item, dtype=np.int64),
        "tied_correct": correct.astype(np.int64),
    }


def discount_sums(n: int) -> np.ndarray:
    """Sums of 1 / log2(1 + i) over the ranks i = 1 ... n: (n + 1,) float64."""
    return np.concatenate([[0.0], np.cumsum(1 / np.log2(np.arange(2, n + 2)))])


def harmonic_numbers(n: int) -> np.ndarray:
    """H(0) ... H(n), H(i) = 1 + 1/2 + ... + 1/i: (n + 1,) float64, summed in extended precision."""
    terms = np.zeros(n + 1, dtype=np.longdouble)
    terms[1:] = 1 / np.arange(1, n + 1, dtype=np.longdouble)
    return np.cumsum(terms).astype(np.float64)


def expected_median(counts: Mapping[str, np.ndarray], ties: str) -> float:
    """Median rank of the first correct item over the queries, inf if most were not ranked.

    For ties "expected" it is the exact expectation of the median, not the median of expected ranks: each query's
    rank is an independent draw, the number of queries with a hit in the top x is a sum of independent Bernoulli
    variables, and E[X] = sum over x of P(X > x) for each of the two middle order statistics.
    """
    drawn = ties not in ("optimistic", "pessimistic", "index")
    best = np.sort(hit_rank(counts, "optimistic" if drawn else ties))
    n = best.size
    middle = ((n - 1) // 2, n // 2)
    if not drawn:
        return float(np.mean(best[list(middle)]))
    worst = np.sort(hit_rank(counts, "pessimistic"))
    if not np.isfinite(worst[middle[1]]):
        return float(np.inf)
    low, high = best[list(middle)].astype(np.int64), worst[list(middle)].astype(np.int64)
    if np.array_equal(low, high):
        return float(np.mean(low))
    kinds = np.stack([counts[name].astype(np.int64) for name in COUNTS])
    # queries with the same counts are one kind: told apart by one number made of the three
    code = (kinds[0] * (kinds[1].max() + 1) + kinds[1]) * (kinds[2].max() + 1) + kinds[2]
    first, times = np.unique(code, return_index=True, return_counts=True)[1:]
    told = kinds[:, first].tobytes(), times.tobytes()
    return float(np.mean([_known_order(*told, m + 1, *ends) for m, *ends in zip(middle, low, high, strict=True)]))


@lru_cache(maxsize=32)
def _known_order(kinds: bytes, times: bytes, m: int, low: int, high: int) -> float:
    """`expected_order` of arrays as bytes, computed once: folds and protocols ask for the same random rankings."""
    arrays = np.frombuffer(kinds, np.int64).reshape(len(COUNTS), -1), np.frombuffer(times, np.int64)
    return expected_order(*(array.copy() for array in arrays), m, low, high)


def expected_order(kinds: np.ndarray, times: np.ndarray, m: int, low: int, high: int) -> float:
    """Expected ``m``-th smallest first-hit rank, which lies in ``low ... high``.

    ``kinds`` (3, n) int64 holds `COUNTS` of different queries, which occur ``times`` (n,) times.
    E[X] = low + sum over x from ``low`` to ``high - 1`` of P(X > x), and X > x where fewer than ``m`` queries have a
    hit in the top x. Bisection skips the x at which that probability is 1 or 0 to the last digit.
    """

    def excess(x: int) -> float:
        """Expected number of hits in the top x less ``m``, in units beyond 1 of which the tail is below 1e-16."""
        chance = hit_probability(dict(zip(COUNTS, kinds, strict=True)), x, "expected")
        return (times @ chance - m) / (10 * np.sqrt(times @ (chance * (1 - chance))) + 40)

    first, last = (low + bisect_left(range(low, high), edge, key=excess) for edge in (-1, 1))
    return fastest(add_tail_probabilities, (last - first) * times.sum())(*kinds, times, m, first, last)
