"""Search in two steps, as the paper asks for: hash codes find candidates, a finer system puts them in order."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

from fico_utils.costs.indexes import Settings, filled_index, index_bytes, require_memory

#: ``score(asked, ids)``: rows of queries (n, ...) and the ids of their candidates (n, k), or (k,), the same for all ->
#: scores (n, k).
Score = Callable[[Any, np.ndarray], np.ndarray]
#: Pairs that a scoring function gets at once; bounds the memory.
PAIRS = 1 << 14


class Screen:
    """Codes that screen, and what reranks the first k: ``ids, scores = screen.search(codes, asked, k)``.

    `codes` (n, bits / 8) uint8 are packed; the candidates are reranked by the inner product of `vectors` (n, d) of the
    same items, or by `score`, one of the two. InputError for more than fits in memory.
    """

    def __init__(self, codes: np.ndarray, vectors: np.ndarray | None = None, score: Score | None = None) -> None:
        assert codes.ndim == 2, f"codes of shape {codes.shape}; expected (n, bits / 8)"
        assert codes.dtype == np.uint8, f"codes of {codes.dtype}; expected packed uint8"
        assert (vectors is None) != (score is None), "a screen has embeddings to rerank with, or a function"
        n_items, dim = len(codes), 0 if vectors is None else vectors.shape[1]
        settings = Settings(bits=8 * codes.shape[1])
        require_memory(
            n_items * (3 * codes.shape[1] + 8 + 4 * dim),
            f"a screen of {n_items} codes of {settings.bits} bits and {dim} dimensions",
            "screen a part of the collection at a time, or shorten the embeddings",
        )
        self.score, self.vectors = score, None
        if vectors is not None:
            assert vectors.shape == (n_items, dim), "an embedding of each code"
            assert np.isfinite(vectors).all(), "embeddings to rerank with hold NaN or infinite values"
            self.vectors = filled_index("flat_ip", vectors.astype(np.float32, copy=False), settings)
        self.index = filled_index("binary_flat_counting", codes, settings)

    @property
    def item_bytes(self) -> float:
        """Bytes an item takes: code, index and embedding; what a `score` function reads is not known here."""
        held = index_bytes(self.index) + (0 if self.vectors is None else index_bytes(self.vectors))
        return held / self.index.ntotal

    def search(self, codes: np.ndarray, asked: Any, k: int) -> tuple[np.ndarray, np.ndarray]:
        """The k items that the codes find first, in the order of the second step: ids and scores (n, k), best first.

        `codes` (n, bits / 8) are those of the queries, and `asked` their embeddings (n, d), or an array with a row a
        query, of which `score` reads.
        """
        assert 1 <= k <= self.index.ntotal, f"the first {k} of {self.index.ntotal} items"
        assert codes.shape == (len(asked), self.index.code_size), f"codes {codes.shape} of {len(asked)} queries"
        ids = self.index.search(np.ascontiguousarray(codes), k)[1]
        scores = self._by_vectors(asked, ids) if self.score is None else self._by_score(asked, ids)
        order = np.argsort(-scores, axis=1, kind="stable")
        return np.take_along_axis(ids, order, 1), np.take_along_axis(scores, order, 1)

    def _by_vectors(self, asked: np.ndarray, ids: np.ndarray) -> np.ndarray:
        """Inner products of queries and their candidates, (n, k) float32, computed where FAISS holds the items."""
        import faiss

        assert asked.shape[1:] == (self.vectors.d,), f"queries {asked.shape}; expected (n, {self.vectors.d})"
        asked, ids = np.ascontiguousarray(asked, np.float32), np.ascontiguousarray(ids)
        scores = np.empty(ids.shape, np.float32)
        x, distances, labels = (faiss.swig_ptr(array) for array in (asked, scores, ids))
        self.vectors.compute_distance_subset(len(asked), x, ids.shape[1], distances, labels)
        return scores

    def _by_score(self, asked: Any, ids: np.ndarray) -> np.ndarray:
        """The function's scores of queries and their candidates, (n, k) float32, some queries at a time."""
        step = max(1, PAIRS // ids.shape[1])
        parts = [self.score(asked[i : i + step], ids[i : i + step]) for i in range(0, len(ids), step)]
        return np.concatenate(parts).astype(np.float32, copy=False)
