"""Search in two steps, as the paper asks for: hash codes find candidates, a finer system puts them in order."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

from fico_utils.costs.indexes import Settings, filled_index, index_bytes
from fico_utils.costs.memory import require_memory

#: ``score(asked, ids)``: rows of queries (n, ...) and the ids of their candidates (n, k), or (k,), the same for all ->
#: scores (n, k).
Score = Callable[[Any, np.ndarray], np.ndarray]
#: Pairs that a scoring function gets at once; bounds the memory.
PAIRS = 1 << 14


class Screen:
    """Codes that screen, and what reranks the first k: ``ids, scores = screen.search((codes, queries), k)``.

    Parameters
    ----------
    codes : (n, bits / 8) uint8, packed codes of the items.
    vectors : (n, d) real embeddings of the same items, compared by inner product; or None.
    score : `Score` or None, instead of `vectors`.

    Raises
    ------
    InputError
        More than fits in memory.
    """

    def __init__(self, codes: np.ndarray, vectors: np.ndarray | None = None, score: Score | None = None) -> None:
        assert codes.ndim == 2, f"codes of shape {codes.shape}; expected (n, bits / 8)"
        assert codes.dtype == np.uint8, f"codes of {codes.dtype}; expected packed uint8"
        assert (vectors is None) != (score is None), "a screen has embeddings to rerank with, or a function"
        assert vectors is None or (vectors.ndim == 2 and len(vectors) == len(codes)), "an embedding of each code"
        self.n_items, self.bits, self.score, self.vectors = len(codes), 8 * codes.shape[1], score, None
        dim = 0 if vectors is None else vectors.shape[1]
        require_memory(
            self.n_items * (3 * codes.shape[1] + 8 + 4 * dim),
            f"a screen of {self.n_items} codes of {self.bits} bits and {dim} dimensions",
            "screen a part of the collection at a time, or shorten the embeddings",
        )
        settings = Settings(bits=self.bits)
        if vectors is not None:
            assert np.isfinite(vectors).all(), "embeddings to rerank with hold NaN or infinite values"
            self.vectors = filled_index("flat_ip", vectors.astype(np.float32, copy=False), settings)
        self.index = filled_index("binary_flat_counting", codes, settings)

    @property
    def item_bytes(self) -> float:
        """Bytes an item takes: code, index and embedding; what a `score` function reads is not known here."""
        held = index_bytes(self.index) + (0 if self.vectors is None else index_bytes(self.vectors))
        return held / self.n_items

    def search(self, queries: tuple[np.ndarray, Any], k: int) -> tuple[np.ndarray, np.ndarray]:
        """The k items that the codes find first, in the order of the second step: ids and scores (n, k), best first.

        The queries are (codes, asked): (n, bits / 8) packed uint8; and their embeddings (n, d), or an array with a row
        a query, of which `score` reads.
        """
        codes, asked = queries
        assert 1 <= k <= self.n_items, f"the first {k} of {self.n_items} items"
        assert codes.shape == (len(asked), self.bits // 8), f"codes {codes.shape} of {len(asked)} queries"
        ids = self.index.search(np.ascontiguousarray(codes), k)[1]
        scores = self._by_vectors(asked, ids) if self.score is None else self._by_score(asked, ids)
        order = np.argsort(-scores, axis=1, kind="stable")
        return np.take_along_axis(ids, order, 1), np.take_along_axis(scores, order, 1)

    def _by_vectors(self, asked: np.ndarray, ids: np.ndarray) -> np.ndarray:
        """Inner products of queries and their candidates, (n, k) float32, computed where FAISS holds the items."""
        import faiss

        assert asked.shape[1:] == (self.vectors.d,), f"queries {asked.shape}; expected (n, {self.vectors.d})"
        asked, scores = np.ascontiguousarray(asked, np.float32), np.empty(ids.shape, np.float32)
        ids = np.ascontiguousarray(ids)
        self.vectors.compute_distance_subset(
            len(asked), faiss.swig_ptr(asked), ids.shape[1], faiss.swig_ptr(scores), faiss.swig_ptr(ids)
        )
        return scores

    def _by_score(self, asked: Any, ids: np.ndarray) -> np.ndarray:
        """The function's scores of queries and their candidates, (n, k) float32, some queries at a time."""
        scores, step = np.empty(ids.shape, np.float32), max(1, PAIRS // ids.shape[1])
        for i in range(0, len(ids), step):
            scores[i : i + step] = self.score(asked[i : i + step], ids[i : i + step])
        return scores
