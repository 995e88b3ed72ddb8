"""Ways to search one collection, measured as what they are to a user: seconds a query, bytes an item, right answers.

A setup is a system searched exhaustively, a system on an index, or a screen with what reranks its candidates. All are
asked the same captions in the same gallery, whose order is shuffled: an index lists codes of equal distance in the
order it holds them, and the scenes asked about were the first.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from functools import cache, cached_property
from typing import Any

import numpy as np

from fico_utils.artifacts import Recipe
from fico_utils.costs.clock import Timing, cost_row, measure_time
from fico_utils.costs.indexes import Settings, faiss_threads, filled_index, index_bytes, make_binariser
from fico_utils.costs.vectors import recall_of_nearest
from fico_utils.errors import InputError
from fico_utils.extras.galleries.screens import Score, Screen
from fico_utils.files import content_digest

#: Raised when the meaning of what is measured here changes.
VERSIONS = {"deployment": 1}
#: Items that a system which scores pairs reads at once when it reads all; bounds the memory.
BLOCK = 1 << 12
#: k of the recalls.
RECALL_AT = (1, 5, 10)
#: What answers the queries of a setup, and the bytes an item takes in it.
Search = tuple[Callable[[], np.ndarray], float]


@dataclass(frozen=True)
class Searchable:
    """What an index holds of a system, and what asks it: embeddings compared by inner product, or packed codes.

    Attributes
    ----------
    load : callable giving items (n, d) and queries (n_query, d); called when they are first needed.
    key : str, of both.
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
    """A system that scores pairs: cross attention or fusion.

    Attributes
    ----------
    score : see `Score`; ids count in the gallery's own order.
    asked : array, a row a query; may be fewer queries than the others ask, the first of them.
    n_items : int, items that it can score; larger galleries are left out.
    item_bytes : callable, bytes of what it reads of an item.
    key : str, of its weights and of what it reads.
    """

    score: Score
    asked: np.ndarray
    n_items: int
    item_bytes: Callable[[], float]
    key: str = ""


def deploy_rows(
    setup: str,
    search: Callable[[], np.ndarray],
    own: np.ndarray,
    *,
    n_items: int,
    item_bytes: float,
    direction: str = "t2i",
    ks: Sequence[int] = RECALL_AT,
    nearest: np.ndarray | None = None,
    timing: Timing | None = None,
    **columns: Any,
) -> list[dict[str, Any]]:
    """Rows of phase ``deploy``: ``seconds_per_query``, ``item_bytes`` and recalls of one way to search.

    Parameters
    ----------
    setup : str, ``beit3``, ``beit3+hnsw_flat`` or ``ucch+beit3@100``.
    search : callable; asks all queries and gives the ids it found, (n_query, depth), best first.
    own : (n_query,) or (n_query, m) int64, each query's own items.
    n_items, item_bytes : size of the gallery, and bytes an item takes in it.
    direction : ``t2i`` or ``i2t``.
    ks : of ``recall``: an own item among the first k. Those above the depth of the search are left out.
    nearest : (n_query,) int64 or None, the exact search's first item; with it comes ``nearest``, 1-recall@k.
    timing : Timing; its threads are those of FAISS.
    **columns : of `cost_row`: corpus, run.
    """
    own, timing = own.reshape(len(own), -1), timing or Timing()
    with faiss_threads(timing.threads) as threads:
        measured = measure_time(search, timing)
    ids = measured.result
    assert len(ids) == len(own), f"{len(ids)} queries were answered and {len(own)} asked"
    each = replace(measured, samples=tuple(s / len(own) for s in measured.samples), threads=threads)
    columns = {"system": setup, "scale_img": n_items, "scale_txt": len(own), **columns}
    rows = [
        cost_row("deploy", "seconds_per_query", each, **columns),
        cost_row("deploy", "item_bytes", item_bytes, unit="B", threads=threads, **columns),
    ]
    ks = [k for k in ks if k <= ids.shape[1]]
    recalls = {f"recall_{direction}@{k}": float((ids[:, :k, None] == own[:, None]).any((1, 2)).mean()) for k in ks}
    if nearest is not None:
        recalls |= {f"nearest_{direction}@{k}": v for k, v in recall_of_nearest(ids, nearest, ks).items()}
    return rows + [cost_row("deploy", q, v, unit="", threads=threads, **columns) for q, v in recalls.items()]


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
    seed: int = 0,
    **columns: Any,
) -> list[dict[str, Any]]:
    """Rows of phase ``deploy`` of every setup that can be made of some systems, at each size of the gallery.

    Each dense system exhaustively, in an HNSW graph and as ITQ codes; each hash code exhaustively; each hash code as a
    screen for every dense and every pairwise system at each depth; each pairwise system over all items.

    Parameters
    ----------
    sizes : numbers of items; the first so many are the gallery.
    own : (n_query,) int64, each query's own item, below the smallest size.
    dense : system -> Searchable of embeddings.
    codes : system -> Searchable of packed codes.
    pairs : system -> PairScorer.
    depths : candidates that are reranked; those above a gallery are left out there.
    settings : Settings of the indexes.
    timing : of `deploy_rows`.
    seed : int, of the order in which an index holds the items.
    **columns : of `cost_row`: corpus, and run, in whose store each setup is kept once it was measured.

    Raises
    ------
    InputError
        A depth below 1 or above the largest gallery, or own items outside the smallest gallery.
    """
    codes, pairs, settings, timing = codes or {}, pairs or {}, settings or Settings(), timing or Timing()
    if not sizes or own.max() >= min(sizes):
        raise InputError(
            f"galleries of {list(sizes)} were asked about items up to {own.max()}; expected each to hold every item "
            "asked about: choose larger gallery_sizes, or fewer gallery_queries"
        )
    if not depths or min(depths) < 1 or max(depths) > max(sizes):
        raise InputError(f"depths {list(depths)} were given for galleries of {list(sizes)}; expected 1 to {max(sizes)}")
    rows = []
    for n in sorted(set(sizes)):
        order = np.random.default_rng(seed).permutation(n)
        within = [d for d in depths if d <= n]
        gallery = _Gallery(order, np.argsort(order)[own], within, settings, timing, columns, seed)
        for system, held in dense.items():
            rows += gallery.rows_of_vectors(system, held)
        for first, held in codes.items():
            rows += gallery.rows_of_codes(first, held)
            for second, finer in dense.items():
                rows += gallery.rows_of_screen((first, held), (second, finer))
        for system, scorer in pairs.items():
            if n <= scorer.n_items:
                rows += gallery.rows_of_pairs(system, scorer, codes)
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
    seed: int

    def kept_rows(
        self, setup: str, keys: Sequence[str], make: Callable[[], Search], n_query: int | None = None, **more: Any
    ) -> list[dict[str, Any]]:
        """Rows of a setup, from the run's store or measured; it is only made where it was not measured before."""
        n, run = len(self.order), self.columns.get("run")

        def measure() -> list[dict[str, Any]]:
            search, item_bytes = make()
            nearest = more["nearest"]() if "nearest" in more else None
            of = {"n_items": n, "item_bytes": item_bytes, "nearest": nearest, "timing": self.timing}
            return deploy_rows(setup, search, self.own[:n_query], **of, **self.columns)

        if run is None:
            return measure()
        corpus = self.columns.get("corpus", "")
        asked = {"own": content_digest({"own": self.own}), "n_query": n_query, "order": self.seed}
        how = {"index": asdict(self.settings), "timing": self.timing.described, "recall_at": list(RECALL_AT)}
        what = {"setup": setup, "items": n, "corpus": corpus}
        recipe = Recipe("deployment", what | asked | how, run.seed, tuple(keys))
        return run.store.records("costs/deploy", f"{setup}__{corpus}__{n}", recipe, measure)

    def _indexed(
        self, name: str, arrays: Callable[[], tuple[np.ndarray, np.ndarray]], settings: Settings
    ) -> Callable[[], Search]:
        """An index as a setup; `arrays` gives what it holds and what asks it."""

        def make() -> Search:
            held, asked = arrays()
            index, depth = filled_index(name, held, settings), min(max(RECALL_AT), len(held))
            return lambda: index.search(asked, depth)[1], index_bytes(index) / len(held)

        return make

    def rows_of_vectors(self, system: str, searched: Searchable) -> Iterator[dict[str, Any]]:
        """A dense system exhaustively, in a graph, and as ITQ codes."""

        @cache
        def arrays() -> tuple[np.ndarray, np.ndarray]:
            items, asked = searched.arrays
            return np.ascontiguousarray(items[self.order], np.float32), np.ascontiguousarray(asked, np.float32)

        @cache
        def nearest() -> np.ndarray:
            import faiss

            held, asked = arrays()
            return faiss.knn(asked, held, 1, metric=faiss.METRIC_INNER_PRODUCT)[1][:, 0]

        @cache
        def packed() -> tuple[np.ndarray, np.ndarray]:
            held, asked = arrays()
            binarise = make_binariser("itq", held, self.settings.bits)
            return binarise(held), binarise(asked)

        ways = [("flat_ip", arrays), ("hnsw_flat", arrays)]
        if self.settings.bits <= min(len(self.order), searched.arrays[0].shape[1]):
            ways += [("binary_flat_counting", packed), ("binary_ivf", packed)]
        for name, held in ways:
            make = self._indexed(name, held, self.settings)
            yield from self.kept_rows(f"{system}+{name}", [searched.key], make, nearest=nearest)

    def rows_of_codes(self, system: str, searched: Searchable) -> list[dict[str, Any]]:
        """Hash codes exhaustively."""

        def make() -> Search:
            items, asked = searched.arrays
            settings = Settings(bits=8 * items.shape[1])
            return self._indexed("binary_flat_counting", lambda: (items[self.order], asked), settings)()

        return self.kept_rows(f"{system}+binary_flat_counting", [searched.key], make)

    def rows_of_screen(self, first: tuple[str, Searchable], second: tuple[str, Searchable]) -> Iterator[dict[str, Any]]:
        """Hash codes that screen for embeddings, at each depth."""
        codes, vectors = first[1], second[1]
        screen = cache(lambda: Screen(codes.arrays[0][self.order], vectors.arrays[0][self.order]))
        for depth in self.depths:

            def make(depth: int = depth) -> Search:
                queries = codes.arrays[1], vectors.arrays[1]
                return lambda: screen().search(queries, depth)[0], screen().item_bytes

            yield from self.kept_rows(f"{first[0]}+{second[0]}@{depth}", [codes.key, vectors.key], make)

    def rows_of_pairs(
        self, system: str, scorer: PairScorer, codes: Mapping[str, Searchable]
    ) -> Iterator[dict[str, Any]]:
        """A system that scores pairs, over all items and behind each screen."""
        n, n_query = len(self.order), len(scorer.asked)

        def score(asked: np.ndarray, ids: np.ndarray) -> np.ndarray:
            return scorer.score(asked, self.order[ids])

        def search_all() -> np.ndarray:
            parts = [score(scorer.asked, np.arange(i, min(i + BLOCK, n))) for i in range(0, n, BLOCK)]
            return np.argsort(-np.concatenate(parts, 1), axis=1, kind="stable")[:, : min(max(RECALL_AT), n)]

        yield from self.kept_rows(system, [scorer.key], lambda: (search_all, scorer.item_bytes()), n_query)
        for first, searched in codes.items():
            screen = cache(lambda searched=searched: Screen(searched.arrays[0][self.order], score=score))
            for depth in self.depths:

                def make(depth: int = depth, searched: Searchable = searched, screen: Any = screen) -> Search:
                    queries = searched.arrays[1][:n_query], scorer.asked
                    return lambda: screen().search(queries, depth)[0], screen().item_bytes + scorer.item_bytes()

                yield from self.kept_rows(f"{first}+{system}@{depth}", [searched.key, scorer.key], make, n_query)
