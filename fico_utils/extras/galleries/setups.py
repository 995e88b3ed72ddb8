"""Ways to search one collection (setups), measured by seconds a query, bytes an item and right answers.

All are asked the same captions in the same gallery, whose order is shuffled: an index lists codes of equal distance in
the order it holds them, and the scenes asked about were the first.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from functools import cache, cached_property, partial
from typing import Any

import numpy as np

from fico_utils.costs import indexes
from fico_utils.costs.clock import Timing, measure_time
from fico_utils.costs.indexes import Settings
from fico_utils.costs.rows import cost_row, kept_rows, recipe_of
from fico_utils.errors import InputError
from fico_utils.extras.galleries.screens import Score, Screen
from fico_utils.extras.galleries.truth import RECALL_AT
from fico_utils.files import content_digest

#: Raised when the meaning of what is measured here changes.
VERSIONS = {"deployment": 1}
#: Items that a system which scores pairs reads at once when it reads all; bounds the memory.
BLOCK = 1 << 12
#: What answers the queries of a setup with ids (n_query, depth), best first, and the bytes an item takes in it.
Search = tuple[Callable[[], np.ndarray], float]


@dataclass(frozen=True)
class Searchable:
    """What an index holds of a system, and what asks it: embeddings compared by inner product, or packed codes.

    `load` gives items (n, d) and queries (n_query, d) when they are first needed; `key` is of both.
    """

    load: Callable[[], tuple[np.ndarray, np.ndarray]]
    key: str

    @classmethod
    def of_arrays(cls, items: np.ndarray, queries: np.ndarray) -> Searchable:
        """Arrays that are there already."""
        return cls(lambda: (items, queries), content_digest({"items": items, "queries": queries}))

    @cached_property
    def arrays(self) -> tuple[np.ndarray, np.ndarray]:
        """Items and queries."""
        return self.load()


@dataclass(frozen=True)
class PairScorer:
    """A system that scores pairs: cross attention or fusion."""

    score: Score  # ids count in the gallery's own order
    asked: np.ndarray  # a row a query; may be fewer queries than the others ask, the first of them
    n_items: int  # items that it can score; larger galleries are left out
    item_bytes: Callable[[], float]  # bytes of what it reads of an item
    key: str = ""  # of its weights and of what it reads


def setup_rows(
    sizes: Sequence[int],
    own: np.ndarray,
    *,
    dense: Mapping[str, Searchable],
    codes: Mapping[str, Searchable] | None = None,
    pairs: Mapping[str, PairScorer] | None = None,
    depths: Sequence[int] = (100,),
    settings: Settings | None = None,
    timing: Timing | None = None,
    **columns: Any,
) -> list[dict[str, Any]]:
    """Rows of phase ``deploy`` of every setup that can be made of some systems, at each size of the gallery.

    Each dense system exhaustively, in an HNSW graph and as ITQ codes; each hash code exhaustively; each hash code as a
    screen for every dense and every pairwise system at each depth; each pairwise system over all items.

    Parameters
    ----------
    sizes : numbers of items; the first so many are the gallery.
    own : (n_query,) int64, each query's own item; InputError where one is outside the smallest gallery.
    dense, codes, pairs : the systems: embeddings, packed codes, and those that score pairs.
    depths : candidates that are reranked, from 1 (else InputError); those above a gallery are left out there.
    settings, timing : of the indexes, and of the clock, whose threads are those of FAISS.
    **columns : of `cost_row`: corpus, and run, in whose store each setup is kept once it was measured.
    """
    codes, pairs = codes or {}, pairs or {}
    if not sizes or own.max() >= min(sizes):
        raise InputError(
            f"galleries of {list(sizes)} were asked about items up to {own.max()}; expected each to hold every item "
            "asked about: choose larger gallery_sizes, or fewer gallery_queries"
        )
    if not depths or min(depths) < 1 or max(depths) > max(sizes):
        raise InputError(f"depths {list(depths)} were given for galleries of {list(sizes)}; expected 1 to {max(sizes)}")
    rows = []
    for n in sorted(set(sizes)):
        order, within = np.random.default_rng(0).permutation(n), [d for d in depths if d <= n]
        own_places = np.argsort(order)[own]
        gallery = _Gallery(order, own_places, within, settings or Settings(), timing or Timing(), columns)
        for system, searched in dense.items():
            rows += gallery.vector_rows(system, searched)
        for first, searched in codes.items():
            rows += gallery.code_rows(first, searched)
            for second, finer in dense.items():
                rows += gallery.screened_rows(first, searched, second, finer)
        for system, scorer in pairs.items():
            if n <= scorer.n_items:
                rows += gallery.pair_rows(system, scorer)
                for first, searched in codes.items():
                    rows += gallery.screened_rows(first, searched, system, scorer)
    return rows


@dataclass(frozen=True)
class _Gallery:
    """One size: the shuffled order, the queries' own items in it, and how to measure."""

    order: np.ndarray
    own: np.ndarray
    depths: list[int]
    settings: Settings
    timing: Timing
    columns: dict[str, Any]

    def setup_rows(
        self,
        setup: str,
        keys: Sequence[str],
        make: Callable[[], Search],
        n_query: int | None = None,
        nearest: Callable[[np.ndarray], np.ndarray] | None = None,
    ) -> list[dict[str, Any]]:
        """Rows of a setup, from the run's store or measured; it is only made where it was not measured before.

        They are ``seconds_per_query``, ``item_bytes``, and ``recall``: the own item among the first k. `nearest` says
        which of the ids (n_query, depth) score as high as the exact search's first; its 1-recall@k is ``nearest``.
        """
        own, n_items = self.own[:n_query], len(self.order)

        def measure() -> list[dict[str, Any]]:
            search, item_bytes = make()
            with indexes.faiss_threads(self.timing.threads) as threads:
                measured = replace(measure_time(search, self.timing), threads=threads)
            ids = measured.result
            assert len(ids) == len(own), f"{len(ids)} queries were answered and {len(own)} asked"
            place = {"system": setup, "scale_img": n_items, "scale_txt": len(own), "threads": threads, **self.columns}
            rows = [
                cost_row("deploy", "seconds_per_query", measured.shared_by(len(own)), **place),
                cost_row("deploy", "item_bytes", item_bytes, unit="B", **place),
            ]
            hits = {"recall": ids == own[:, None]} | ({"nearest": nearest(ids)} if nearest else {})
            for quantity, hit in hits.items():
                recalls = indexes.recall_of_hits(hit, [k for k in RECALL_AT if k <= ids.shape[1]])
                rows += [cost_row("deploy", f"{quantity}_t2i@{k}", v, unit="", **place) for k, v in recalls.items()]
            return rows

        asked = {"own": content_digest({"own": self.own}), "n_query": n_query, "order": 0}
        how = {"index": asdict(self.settings), "timing": self.timing.described, "recall_at": list(RECALL_AT)}
        recipe = recipe_of("deployment", self.columns, {"setup": setup, "items": n_items} | asked | how, keys)
        name = f"{setup}__{self.columns.get('corpus', '')}__{n_items}"
        return kept_rows(self.columns, "deploy", name, recipe, measure)

    def _indexed(self, name: str, held: np.ndarray, asked: np.ndarray, settings: Settings) -> Search:
        index, depth = indexes.filled_index(name, held, settings), min(max(RECALL_AT), len(held))
        return lambda: index.search(asked, depth)[1], indexes.index_bytes(index) / len(held)

    def vector_rows(self, system: str, searched: Searchable) -> Iterator[dict[str, Any]]:
        """A dense system exhaustively, in a graph, and as ITQ codes."""

        @cache
        def vectors() -> tuple[np.ndarray, np.ndarray]:
            items, asked = searched.arrays
            return np.ascontiguousarray(items[self.order], np.float32), np.ascontiguousarray(asked, np.float32)

        @cache
        def best() -> np.ndarray:
            import faiss

            held, asked = vectors()
            return found_scores(faiss.knn(asked, held, 1, metric=faiss.METRIC_INNER_PRODUCT)[1])[:, 0]

        def found_scores(ids: np.ndarray) -> np.ndarray:
            held, asked = vectors()
            scores = np.stack([held[row].astype(np.float64) @ query for row, query in zip(ids, asked, strict=True)])
            return np.where(ids < 0, -np.inf, scores)

        def nearest(ids: np.ndarray) -> np.ndarray:
            return indexes.ties_with_best(found_scores(ids), best())

        @cache
        def packed() -> tuple[np.ndarray, np.ndarray]:
            held, asked = vectors()
            binarise = indexes.make_binariser("itq", held, self.settings.bits)
            return binarise(held), binarise(asked)

        def make(name: str) -> Search:
            return self._indexed(name, *(packed if name.startswith("binary") else vectors)(), self.settings)

        names = ["flat_ip", "hnsw_flat"]
        if self.settings.bits <= min(len(self.order), searched.arrays[0].shape[1]):
            names += ["binary_flat_counting", "binary_ivf"]
        for name in names:
            yield from self.setup_rows(f"{system}+{name}", [searched.key], partial(make, name), nearest=nearest)

    def code_rows(self, system: str, searched: Searchable) -> list[dict[str, Any]]:
        """Hash codes exhaustively."""

        def make() -> Search:
            items, asked = searched.arrays
            return self._indexed("binary_flat_counting", items[self.order], asked, Settings(bits=8 * items.shape[1]))

        return self.setup_rows(f"{system}+binary_flat_counting", [searched.key], make)

    def pair_rows(self, system: str, scorer: PairScorer) -> list[dict[str, Any]]:
        """A system that scores pairs, over all items."""
        n = len(self.order)

        def search_all() -> np.ndarray:
            parts = [scorer.score(scorer.asked, self.order[i : i + BLOCK]) for i in range(0, n, BLOCK)]
            return np.argsort(-np.concatenate(parts, 1), axis=1, kind="stable")[:, : min(max(RECALL_AT), n)]

        return self.setup_rows(system, [scorer.key], lambda: (search_all, scorer.item_bytes()), len(scorer.asked))

    def screened_rows(
        self, first: str, codes: Searchable, second: str, finer: Searchable | PairScorer
    ) -> Iterator[dict[str, Any]]:
        """Hash codes that screen for embeddings or for a system that scores pairs, at each depth."""
        by_pairs = isinstance(finer, PairScorer)
        n_query = len(finer.asked) if by_pairs else None

        @cache
        def screen() -> Screen:
            held = codes.arrays[0][self.order]
            if by_pairs:
                return Screen(held, score=lambda asked, ids: finer.score(asked, self.order[ids]))
            return Screen(held, finer.arrays[0][self.order])

        def make(depth: int) -> Search:
            held, asked = screen(), finer.asked if by_pairs else finer.arrays[1]
            item_bytes = held.item_bytes + (finer.item_bytes() if by_pairs else 0)
            return lambda: held.search(codes.arrays[1][:n_query], asked, depth)[0], item_bytes

        for depth in self.depths:
            setup = f"{first}+{second}@{depth}"
            yield from self.setup_rows(setup, [codes.key, finer.key], partial(make, depth), n_query)
