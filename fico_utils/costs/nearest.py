"""Recall of the exact nearest neighbour: what it is, where it is, and what each binarisation keeps of it."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from fico_utils.costs.indexes import Settings, binariser, new_index
from fico_utils.costs.synthetic import Synthetic, Vectors
from fico_utils.errors import InputError

#: k of 1-recall@k (Figure 4a).
RECALL_AT = (1, 5, 10, 50, 100, 500, 1000)


def recall_of_nearest(found: np.ndarray, nearest: np.ndarray, ks: Sequence[int]) -> dict[int, float]:
    """1-recall@k: the share of queries whose true nearest neighbour is among the first k found.

    Parameters
    ----------
    found : (n_query, depth) int64 ids, best first; -1 where an index found no more, which never counts.
    nearest : (n_query,) int64, id of the exact nearest neighbour.
    ks : depths, each from 1 to `depth`.

    Raises
    ------
    InputError
        Different numbers of queries, a true id below 0, or a k outside 1 to `depth`.

    Examples
    --------
    >>> recall_of_nearest(np.array([[3, 7], [-1, -1]]), np.array([7, 2]), [1, 2])
    {1: 0.0, 2: 0.5}
    """
    if found.ndim != 2 or nearest.shape != (len(found),) or len(found) == 0:
        raise InputError(
            f"ids found of shape {found.shape} and nearest neighbours of shape {nearest.shape} were given; "
            "expected (n_query, depth) and (n_query,)"
        )
    if nearest.min() < 0:
        raise InputError(f"nearest neighbour {nearest.min()} was given; expected the id of a candidate, from 0")
    if not ks or min(ks) < 1 or max(ks) > found.shape[1]:
        raise InputError(
            f"recall at k = {list(ks)} was asked of the first {found.shape[1]} ids; "
            f"expected k from 1 to {found.shape[1]}"
        )
    hit = found == nearest[:, None]
    first = np.where(hit.any(axis=1), hit.argmax(axis=1), found.shape[1])
    return {int(k): float((first < k).mean()) for k in ks}


def exact_nearest(data: Synthetic | Vectors) -> np.ndarray:
    """Id of each query's largest inner product among the candidates, (n_query,) int64, in bounded memory."""
    import faiss

    queries = data.queries()
    best = np.full(len(queries), -np.inf, np.float32)
    nearest = np.zeros(len(queries), np.int64)
    start = 0
    for chunk in data.base_chunks():
        score, found = faiss.knn(queries, chunk, 1, metric=faiss.METRIC_INNER_PRODUCT)
        better = score[:, 0] > best
        best[better], nearest[better] = score[better, 0], found[better, 0] + start
        start += len(chunk)
    return nearest


def recall_of_binarisers(
    data: Synthetic | Vectors,
    nearest: np.ndarray,
    methods: Sequence[str],
    ks: Sequence[int],
    settings: Settings,
) -> dict[str, dict[int, float]]:
    """1-recall@k of an exhaustive search of the codes that each method makes of the same vectors.

    Parameters
    ----------
    data : `Synthetic` or `Vectors`; a chunk at a time is binarised, only codes are held.
    nearest : (n_query,) int64, id of the exact nearest neighbour.
    methods : some of `indexes.BINARISERS`.
    ks : depths, up to the number of candidates.
    settings : Settings, for the length of the codes.
    """
    encoders = {method: binariser(method, data.train(), settings.bits) for method in dict.fromkeys(methods)}
    indexes = {m: new_index("binary_flat_counting", data.dim, data.n_base, settings) for m in encoders}
    for chunk in data.base_chunks():
        for method, encode in encoders.items():
            indexes[method].add(encode(chunk))
    queries = data.queries()
    return {
        method: recall_of_nearest(indexes[method].search(encode(queries), max(ks))[1], nearest, ks)
        for method, encode in encoders.items()
    }
