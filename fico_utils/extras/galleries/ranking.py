"""The ranks of a gallery that comes in parts: counts of items above a query's best own item add up over parts."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from fico_utils.evaluation.ties import harmonic_numbers, hit_probability

#: Levels that real scores are sorted into for mAP of the whole ranking; those of one level count as tied. Codes need
#: none: their distances are levels.
LEVELS = 2048
#: Items of each query that are kept: enough for mAP@100.
DEPTH = 100
#: Queries whose histograms are turned into average precision at once; bounds the memory.
ROWS = 128

#: ``read(queries, items)`` -> scores (p,): pairs of a query and an item of the part that is being seen.
Read = Callable[[np.ndarray, np.ndarray], np.ndarray]


class Ranking:
    """Queries of one direction and the `n_items` of the gallery so far.

    `own` (n_query, m) int64 are the ids of each query's own items, from 0 in the order of the gallery; all of them come
    with the first part. The first `depth` items of a query are kept: `ids` (n_query, up to depth) int64, best first;
    equal code distances stand in a random order.

    A system that reranks gives `add` a function that scores pairs. It scores each item that comes among the first
    `depth` of a query, once, in the part that brings it; those that are still among them at the end are ordered by that
    score. More is read than in one ranking of everything, and no part has to come back.
    """

    def __init__(self, own: np.ndarray, depth: int = DEPTH) -> None:
        self.own, self.depth, self.n_items, n = own, depth, 0, len(own)
        self._random = np.random.default_rng(0)
        self._arrays = {"above": np.zeros(n, np.int64), "tied": np.zeros(n, np.int64)}
        self._arrays |= {"levels": np.zeros((2, n, 0), np.int32), "ids": np.zeros((n, 0), np.int64)}
        self._arrays |= {"top": np.zeros((n, 0), np.float32), "top_relevant": np.zeros((n, 0), bool)}

    def add(self, scores: np.ndarray, relevant: np.ndarray, read: Read | None = None) -> None:
        """See the next items of the gallery.

        `scores` (n_query, width) are float32, or whole numbers (equal bits of codes), larger is closer; `relevant`
        (n_query, width) bool are the items that share a label with the query; `read` is that of a system that reads
        again, the same for all parts.
        """
        assert scores.shape == relevant.shape, f"scores {scores.shape}, relevance {relevant.shape}"
        assert scores.shape[:-1] == (len(self.own),), f"scores {scores.shape} of {len(self.own)} queries"
        whole = scores.dtype.kind in "iu"
        assert whole or np.isfinite(scores).all(), "scores of a part of the gallery hold NaN or infinite values"
        if self.n_items == 0:
            self._begin(scores, whole)
            if read is not None:
                self._arrays["reread"] = np.zeros((len(self.own), 0), np.float32)
        best = self._arrays["best"][:, None]
        self._arrays["above"] += (scores > best).sum(1)
        self._arrays["tied"] += (scores == best).sum(1)
        self._count(scores, relevant, whole)
        self._keep(scores, relevant, whole, read)
        self.n_items += scores.shape[1]

    def _begin(self, scores: np.ndarray, whole: bool) -> None:
        assert self.own.max() < scores.shape[1], "the first part of the gallery holds the queries' own items"
        own = np.take_along_axis(scores, self.own, 1)
        self._arrays |= {"best": own.max(1), "own_tied": (own == own.max(1, keepdims=True)).sum(1)}
        low, high = float(scores.min()), float(scores.max())
        # whole numbers are levels themselves; real ones get room for what later parts may bring
        self._high = high + (0 if whole else 0.1 * (high - low))
        self._step = 1.0 if whole else max(1.2 * (high - low), 1e-6) / LEVELS

    def _count(self, scores: np.ndarray, relevant: np.ndarray, whole: bool) -> None:
        """Count items and relevant items at each level, best level first."""
        levels, rise = self._arrays["levels"], 0
        if whole and float(scores.max()) > self._high:
            rise = int(scores.max() - self._high)  # a closer code than any before: new levels in front
            self._high += rise
        last = int(self._high - float(scores.min())) if whole else LEVELS - 1
        more = max(0, last + 1 - levels.shape[2] - rise)
        if rise or more:
            levels = self._arrays["levels"] = np.pad(levels, ((0, 0), (0, 0), (rise, more)))
        width = levels.shape[2]
        for q, (row, wanted) in enumerate(zip(scores, relevant, strict=True)):
            level = np.clip((self._high - row) / self._step, 0, width - 1).astype(np.int64)
            levels[0, q] += np.bincount(level, minlength=width).astype(np.int32)
            levels[1, q] += np.bincount(level[wanted], minlength=width).astype(np.int32)

    def _keep(self, scores: np.ndarray, relevant: np.ndarray, whole: bool, read: Read | None) -> None:
        """Merge the part's first items into those kept."""
        values = scores.astype(np.float32)
        if whole:
            values += self._random.random(values.shape, np.float32) * 0.5  # below one bit: orders only what ties
        if values.shape[1] > self.depth:
            chosen = np.argpartition(-values, self.depth - 1, axis=1)[:, : self.depth]
        else:
            chosen = np.broadcast_to(np.arange(values.shape[1]), values.shape)
        part = {"top": np.take_along_axis(values, chosen, 1), "ids": self.n_items + chosen}
        part["top_relevant"] = np.take_along_axis(relevant, chosen, 1)
        if read is not None:
            part["reread"] = np.zeros(chosen.shape, np.float32)
        kept = {name: np.concatenate([self._arrays[name], array], 1) for name, array in part.items()}
        order = np.argsort(-kept["top"], axis=1, kind="stable")[:, : self.depth]
        self._arrays |= {name: np.take_along_axis(array, order, 1) for name, array in kept.items()}
        if read is not None:
            queries, places = np.nonzero(self.ids >= self.n_items)
            if len(queries):
                self._arrays["reread"][queries, places] = read(queries, self.ids[queries, places] - self.n_items)

    def state(self) -> tuple[dict[str, Any], dict[str, np.ndarray]]:
        """All that the parts so far have left: (JSON-able content, arrays), from which `restore` goes on."""
        content = {"n_items": self.n_items, "high": self._high, "step": self._step}
        return content | {"random": self._random.bit_generator.state}, dict(self._arrays)

    def restore(self, content: dict[str, Any], arrays: dict[str, np.ndarray]) -> None:
        """Take up the `state` of a ranking of the same queries."""
        self.n_items, self._high, self._step = content["n_items"], content["high"], content["step"]
        self._random.bit_generator.state = content["random"]
        self._arrays = {name: array.copy() for name, array in arrays.items()}  # a file's own may not be written to

    @property
    def ids(self) -> np.ndarray:
        """Ids of the items kept of each query, (n_query, up to depth) int64, by the first reading."""
        return self._arrays["ids"]

    @property
    def reranked(self) -> bool:
        """Whether the first items stand in the order of a second reading: there is no ranking beyond them."""
        return "reread" in self._arrays

    def first(self) -> tuple[np.ndarray, np.ndarray]:
        """The first items of each query and whether they are relevant, (n_query, up to depth), best first."""
        kept = self.ids, self._arrays["top_relevant"]
        if not self.reranked:
            return kept
        order = np.argsort(-self._arrays["reread"], axis=1, kind="stable")
        return tuple(np.take_along_axis(array, order, 1) for array in kept)

    def recall(self, ks: Sequence[int]) -> dict[int, float]:
        """R@k: an own item among the first k; items that tie in a random order, its exact expectation."""
        above, tied, tied_correct = (self._arrays[name] for name in ("above", "tied", "own_tied"))
        if self.reranked:
            assert max(ks, default=1) <= self.depth, f"R@{max(ks)} of rankings kept to {self.depth}"
            reread, correct = self._arrays["reread"], (self.ids[:, :, None] == self.own[:, None, :]).any(2)
            best = np.where(correct, reread, -np.inf).max(1, keepdims=True)
            same = reread == best  # nowhere where no own item was read
            above, tied, tied_correct = (reread > best).sum(1), same.sum(1), (same & correct).sum(1)
        counts = {"above": above, "tied": tied, "tied_correct": tied_correct}
        return {int(k): float(hit_probability(counts, int(k), "expected").mean()) for k in ks}

    def mean_average_precision(self, ks: Sequence[int]) -> dict[int, float]:
        """mAP@k for k up to the depth kept; the average is over the relevant items found, 0 where none is."""
        assert max(ks, default=1) <= self.depth, f"mAP@{max(ks)} of rankings kept to {self.depth}"
        relevant, out = self.first()[1], {}
        for k in ks:
            first = relevant[:, :k]
            precision = np.cumsum(first, 1) / np.arange(1, first.shape[1] + 1)
            out[int(k)] = float(((precision * first).sum(1) / np.maximum(first.sum(1), 1)).mean())
        return out

    def whole_average_precision(self) -> float:
        """mAP of the whole ranking, from the levels: exact for codes, to the width of a level for real scores."""
        harmonic = harmonic_numbers(self.n_items)
        values = []
        for start in range(0, len(self.own), ROWS):
            size, hits = self._arrays["levels"][:, start : start + ROWS].astype(np.int64)
            above, hits_above = np.cumsum(size, 1) - size, np.cumsum(hits, 1) - hits
            spread = harmonic[above + size] - harmonic[above]
            q = (hits - 1) / np.maximum(size - 1, 1)
            total = hits / np.maximum(size, 1) * ((hits_above + 1 - q * (above + 1)) * spread + q * size)
            # rounding may lift a perfect ranking above 1
            values.append(np.minimum(total.sum(1) / np.maximum(hits.sum(1), 1), 1.0))
        return float(np.concatenate(values).mean())

    def wrong_first(self) -> tuple[np.ndarray, np.ndarray]:
        """Queries (w,) whose first item is not their own, and that item (w,)."""
        first = self.first()[0][:, 0]
        wrong = np.flatnonzero((self.own != first[:, None]).all(1))
        return wrong, first[wrong]
