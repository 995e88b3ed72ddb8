"""Vectors to search, drawn chunk by chunk, and their exact nearest neighbours.

`faiss.contrib.datasets.SyntheticDataset` holds several float64 copies of everything (over 20 GB at 600K x 2048); here
the same draws come in chunks: memory stays bounded, and only an index holds all the vectors.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import numpy as np

from fico_utils.errors import InputError

#: float64 elements of one chunk; a few copies of 16 MiB live at a time.
CHUNK_ELEMENTS = 2**21
#: Candidates up to this size are drawn once and kept, B; larger ones are drawn again when they are needed.
KEEP_BYTES = 2**28
#: Dimensions that the synthetic vectors really have (FAISS's ``d1``).
INTRINSIC = 10
#: k of 1-recall@k (Figure 4a).
RECALL_AT = (1, 5, 10, 50, 100, 500, 1000)


class Synthetic:
    """The vectors of ``SyntheticDataset(dim, n_train, n_base, n_query, seed=seed)``, in bounded memory.

    `n_base`, `n_query` and `n_train` are the vectors to search among, to search with, and to train on.
    """

    def __init__(self, dim: int, n_base: int, n_query: int, n_train: int = 10_000, seed: int = 1338) -> None:
        if min(dim, n_base, n_query) < 1 or n_train < 0:
            raise InputError(
                f"a synthetic set of {n_base} candidates, {n_query} queries and {n_train} training vectors "
                f"in {dim} dimensions was asked for; expected at least one of each"
            )
        self.dim, self.n_base, self.n_query, self.n_train, self.seed = dim, n_base, n_query, n_train, seed
        random, self._states = np.random.RandomState(seed), []
        # The projection is drawn after all the vectors: walk over their draws once, keeping the places to return to.
        for n in (n_train, n_base, n_query):
            self._states.append(random.get_state())
            for rows in self._chunks(n):
                random.normal(size=(rows, INTRINSIC))
        self._projection = random.rand(INTRINSIC, dim)
        self._frequency = random.rand(dim) * 4 + 0.1
        self._kept: list[np.ndarray] | None = None

    def _chunks(self, n: int) -> Iterator[int]:
        step = max(1, CHUNK_ELEMENTS // max(self.dim, INTRINSIC))
        return (min(step, n - start) for start in range(0, n, step))

    def _draw(self, part: int, n: int, start: int = 0) -> Iterator[np.ndarray]:
        random = np.random.RandomState()
        random.set_state(self._states[part])
        for rows in self._chunks(start):
            random.normal(size=(rows, INTRINSIC))  # passed over: drawing them costs nothing beside projecting them
        for rows in self._chunks(n - start):
            x = random.normal(size=(rows, INTRINSIC)) @ self._projection
            x *= self._frequency
            yield np.sin(x, out=x).astype(np.float32)

    def train(self) -> np.ndarray:
        """Training vectors, (n_train, dim) float32."""
        return np.concatenate([np.empty((0, self.dim), np.float32), *self._draw(0, self.n_train)])

    def base_chunks(self, start: int = 0, stop: int | None = None) -> Iterator[np.ndarray]:
        """Candidates `start` to `stop` - 1, (rows, dim) float32 at a time; all of them by default."""
        if (start, stop) != (0, None):
            return self._draw(1, self.n_base if stop is None else stop, start)
        if self._kept is None and 4 * self.n_base * self.dim <= KEEP_BYTES:
            self._kept = list(self._draw(1, self.n_base))
        return self._draw(1, self.n_base) if self._kept is None else iter(self._kept)

    def queries(self) -> np.ndarray:
        """Queries, (n_query, dim) float32."""
        return np.concatenate(list(self._draw(2, self.n_query)))


def recall_of_nearest(ids: np.ndarray, nearest: np.ndarray, ks: Sequence[int]) -> dict[int, float]:
    """1-recall@k: the share of queries whose true nearest neighbour is among the first k ids.

    Parameters
    ----------
    ids : (n_query, depth) int64, best first; -1 where an index returned no more, which never counts.
    nearest : (n_query,) int64, id of the exact nearest neighbour.

    >>> recall_of_nearest(np.array([[3, 7], [-1, -1]]), np.array([7, 2]), [1, 2])
    {1: 0.0, 2: 0.5}
    """
    assert ids.ndim == 2, f"ids of shape {ids.shape}; expected (n_query, depth)"
    assert nearest.shape == (len(ids),), f"nearest neighbours of shape {nearest.shape}; expected ({len(ids)},)"
    assert nearest.min() >= 0, "ids of candidates count from 0"
    assert not ks or 1 <= min(ks) <= max(ks) <= ids.shape[1], f"k = {ks} of {ids.shape[1]} ids"
    hit = ids == nearest[:, None]
    first = np.where(hit.any(axis=1), hit.argmax(axis=1), ids.shape[1])
    return {int(k): float((first < k).mean()) for k in ks}


def exact_nearest(data: Synthetic) -> np.ndarray:
    """Id of each query's largest inner product among the candidates, (n_query,) int64, in bounded memory."""
    import faiss

    queries, start = data.queries(), 0
    best, nearest = np.full(len(queries), -np.inf, np.float32), np.zeros(len(queries), np.int64)
    for chunk in data.base_chunks():
        score, ids = faiss.knn(queries, chunk, 1, metric=faiss.METRIC_INNER_PRODUCT)
        better = score[:, 0] > best
        best[better], nearest[better] = score[better, 0], ids[better, 0] + start
        start += len(chunk)
    return nearest
