"""Ways to search one collection, measured as what they are to a user: seconds a query, bytes an item, right answers.

A setup is a system searched exhaustively, a system on an index, or a screen with what reads its candidates again. All
are asked the same captions in the same gallery, whose order is shuffled: an index lists codes of equal distance in the
order it holds them, and the scenes asked about were the first.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np

from fico_utils.costs.clock import Timing, measure, row
from fico_utils.costs.indexes import Settings, binariser, faiss_threads, index_bytes, new_index
from fico_utils.costs.kept import Kept
from fico_utils.costs.nearest import recall_of_nearest
from fico_utils.costs.pairwise import Pairwise
from fico_utils.costs.stages import digest
from fico_utils.errors import InputError
from fico_utils.extras.galleries.screens import Screen
from fico_utils.workspace import key_of, source_key

VERSIONS = {"deployment": 1}
#: Whose code the part files depend on.
MADE_BY = tuple(
    [f"costs/{name}.py" for name in ("clock", "indexes", "nearest", "pairwise")]
    + [f"extras/galleries/{name}.py" for name in ("screens", "setups")]
)
#: Items that a system which scores pairs reads at once when it reads all; bounds the memory.
BLOCK = 1 << 12
#: What answers the queries of a setup, and the bytes an item takes in it.
Search = tuple[Callable[[], np.ndarray], float]


def deploy_rows(
    setup: str,
    find: Callable[[], np.ndarray],
    own: np.ndarray,
    *,
    n_items: int,
    item_bytes: float,
    direction: str = "t2i",
    ks: Sequence[int] = (1, 5, 10),
    nearest: np.ndarray | None = None,
    threads: int | None = None,
    repeats: int = 5,
    warmup: int = 1,
    budget_s: float | None = None,
    **columns: Any,
) -> list[dict[str, Any]]:
    """Rows of phase ``deploy``: ``seconds_per_query``, ``item_bytes`` and recalls of one way to search.

    Parameters
    ----------
    setup : str, ``beit3``, ``beit3+hnsw_flat`` or ``ucch+beit3@100``.
    find : callable; asks all queries and gives the ids found, (n_query, depth), best first.
    own : (n_query,) or (n_query, m) int64, each query's own items.
    n_items, item_bytes : size of the gallery, and bytes an item takes in it.
    direction : ``t2i`` or ``i2t``.
    ks : of ``recall``: an own item among the first k. Those above the depth found are left out.
    nearest : (n_query,) int64 or None, the exact search's first item; with it comes ``nearest``, 1-recall@k.
    threads, repeats, warmup, budget_s : pinned threads of FAISS, and of `measure`.
    **columns : of `row`: corpus, run.

    Raises
    ------
    InputError
        Another number of queries found than asked, or a budget that is not positive.
    """
    own = own.reshape(len(own), -1)
    with faiss_threads(threads) as pinned:
        timing = measure(find, repeats=repeats, warmup=warmup, budget_s=budget_s)
    found = timing.result
    if len(found) != len(own):
        raise InputError(f"{len(found)} queries were answered and {len(own)} asked; expected one answer each")
    each = Timing(tuple(s / len(own) for s in timing.samples), timing.warm, pinned, timing.device)
    place = {"system": setup, "scale_img": n_items, "scale_txt": len(own), **columns}
    rows = [
        row("deploy", "seconds_per_query", each, **place),
        row("deploy", "item_bytes", item_bytes, unit="B", threads=pinned, **place),
    ]
    ks = [k for k in ks if k <= found.shape[1]]
    for k in ks:
        hit = (found[:, :k, None] == own[:, None, :]).any((1, 2)).mean()
        rows.append(row("deploy", f"recall_{direction}@{k}", float(hit), unit="", threads=pinned, **place))
    if nearest is not None:
        for k, value in recall_of_nearest(found, nearest, ks).items():
            rows.append(row("deploy", f"nearest_{direction}@{k}", value, unit="", threads=pinned, **place))
    return rows


def setup_rows(
    sizes: Sequence[int],
    own: np.ndarray,
    *,
    dense: Mapping[str, tuple[np.ndarray, np.ndarray]],
    codes: Mapping[str, tuple[np.ndarray, np.ndarray]] | None = None,
    pairwise: Mapping[str, Pairwise] | None = None,
    depths: Sequence[int] = (100,),
    ks: Sequence[int] = (1, 5, 10),
    settings: Settings | None = None,
    seed: int = 0,
    parts: Path | None = None,
    **options: Any,
) -> list[dict[str, Any]]:
    """Rows of phase ``deploy`` of every setup that can be made of some systems, at each size of the gallery.

    Each dense system exhaustively, in an HNSW graph and as ITQ codes; each hash code exhaustively; each hash code as a
    screen for every dense and every pairwise system at each depth; each pairwise system over all items.

    Parameters
    ----------
    sizes : numbers of items; the first so many are the gallery.
    own : (n_query,) int64, each query's own item, below the smallest size.
    dense : system -> (items (n, d), queries (n_query, d)), compared by inner product.
    codes : system -> (items, queries), packed uint8.
    pairwise : system -> Pairwise.
    depths : candidates that are read again; those above a gallery are left out there.
    ks, **options : of `deploy_rows`.
    settings : Settings of the indexes.
    seed : int, of the order in which an index holds the items.
    parts : Path or None, folder of part files: a setup that was measured is kept there and not measured again.

    Raises
    ------
    InputError
        A size beyond the items, a depth below 1 or above the largest gallery, own items outside the smallest one, or
        systems that hold different numbers of items or queries.
    """
    codes, pairwise, settings = codes or {}, pairwise or {}, settings or Settings()
    counts = {(len(items), len(asked)) for items, asked in (*dense.values(), *codes.values())}
    if len(counts) != 1:
        raise InputError(f"systems with (items, queries) {sorted(counts)} were given; expected the same for all")
    n_items, n_query = counts.pop()
    if not sizes or min(sizes) < 1 or max(sizes) > n_items or n_query != len(own) or own.max() >= min(sizes):
        raise InputError(
            f"galleries of {list(sizes)} of {n_items} items were asked {n_query} queries about items up to "
            f"{own.max()}; expected sizes up to {n_items}, each holding every item asked about"
        )
    if not depths or min(depths) < 1 or max(depths) > max(sizes):
        raise InputError(f"depths {list(depths)} were given for galleries of {list(sizes)}; expected 1 to {max(sizes)}")
    rows, run = [], options.get("run")
    keys = {s: digest({"items": items, "asked": asked}) for s, (items, asked) in (*dense.items(), *codes.items())}
    keys |= {s: pairs.key for s, pairs in pairwise.items()}
    about = key_of(
        digest({"own": own}),
        list(ks),
        asdict(settings),
        seed,
        {**options, "run": run and run.stamp},
        source_key(*MADE_BY),
    )
    for n in sorted(set(sizes)):
        order = np.random.default_rng(seed).permutation(n)
        within = [d for d in depths if d <= n]
        gallery = _Gallery(order, np.argsort(order)[own], within, settings, ks, options, parts, about, keys)
        for system, vectors in dense.items():
            rows += gallery.of_vectors(system, *vectors)
        for system, packed in codes.items():
            rows += gallery.of_codes(system, *packed)
            for second, vectors in dense.items():
                rows += gallery.screened(system, packed, second, vectors)
        for system, pairs in pairwise.items():
            if n <= pairs.n_items:
                rows += gallery.of_pairs(system, pairs, codes)
    return rows


@dataclass(frozen=True)
class _Gallery:
    """One size: the shuffled order, the queries' own items in it, how to measure, and where it is kept."""

    order: np.ndarray
    own: np.ndarray
    depths: list[int]
    settings: Settings
    ks: Sequence[int]
    options: dict[str, Any]
    parts: Path | None
    about: str
    keys: dict[str, str]

    def rows(
        self, setup: str, systems: Sequence[str], make: Callable[[], Search], n_query: int | None = None, **more: Any
    ) -> list[dict[str, Any]]:
        """Rows of a setup of some systems; it is only made where it was not measured before."""
        n = len(self.order)
        key = key_of(self.about, n, setup, [self.keys[s] for s in systems], n_query)
        kept = Kept(self.parts and self.parts / f"{setup}__{n}.json", key)
        if not kept.content:
            find, item_bytes = make()
            own = self.own[:n_query]
            found = deploy_rows(setup, find, own, n_items=n, item_bytes=item_bytes, ks=self.ks, **more, **self.options)
            kept.content = {"rows": found}
            kept.save()
        return kept.content["rows"]

    def indexed(
        self,
        system: str,
        name: str,
        arrays: Callable[[], tuple[np.ndarray, np.ndarray]],
        settings: Settings,
        **more: Any,
    ) -> list[dict[str, Any]]:
        """Rows of a system on an index; `arrays` gives what it holds and what asks it."""

        def make() -> Search:
            held, asked = arrays()
            index = new_index(name, held.shape[1], len(held), settings)
            if not index.is_trained:
                index.train(held)
            index.add(held)
            depth = min(max(self.ks), len(held))
            return lambda: index.search(asked, depth)[1], index_bytes(index) / len(held)

        return self.rows(f"{system}+{name}", [system], make, **more)

    def of_vectors(self, system: str, items: np.ndarray, asked: np.ndarray) -> Iterator[dict[str, Any]]:
        import faiss

        held, asked = np.ascontiguousarray(items[self.order], np.float32), np.ascontiguousarray(asked, np.float32)
        nearest = faiss.knn(asked, held, 1, metric=faiss.METRIC_INNER_PRODUCT)[1][:, 0]
        for name in ("flat_ip", "hnsw_flat"):
            yield from self.indexed(system, name, lambda: (held, asked), self.settings, nearest=nearest)
        if self.settings.bits <= min(held.shape):

            @cache
            def packed() -> tuple[np.ndarray, np.ndarray]:
                encode = binariser("itq", held, self.settings.bits)
                return encode(held), encode(asked)

            for name in ("binary_flat_counting", "binary_ivf"):
                yield from self.indexed(system, name, packed, self.settings, nearest=nearest)

    def of_codes(self, system: str, items: np.ndarray, asked: np.ndarray) -> list[dict[str, Any]]:
        settings = Settings(bits=8 * items.shape[1])
        return self.indexed(system, "binary_flat_counting", lambda: (items[self.order], asked), settings)

    def screened(
        self, first: str, packed: tuple[np.ndarray, np.ndarray], second: str, vectors: tuple[np.ndarray, np.ndarray]
    ) -> Iterator[dict[str, Any]]:
        screen = cache(lambda: Screen(packed[0][self.order], vectors[0][self.order]))
        for depth in self.depths:
            make = _maker(screen, (packed[1], vectors[1]), depth)
            yield from self.rows(f"{first}+{second}@{depth}", (first, second), make)

    def of_pairs(
        self, system: str, pairs: Pairwise, codes: Mapping[str, tuple[np.ndarray, np.ndarray]]
    ) -> Iterator[dict[str, Any]]:
        n, n_query = len(self.order), len(pairs.asked)

        def score(asked: np.ndarray, ids: np.ndarray) -> np.ndarray:
            return pairs.score(asked, self.order[ids])

        def exhaustive() -> np.ndarray:
            parts = [score(pairs.asked, np.arange(i, min(i + BLOCK, n))) for i in range(0, n, BLOCK)]
            return np.argsort(-np.concatenate(parts, 1), axis=1, kind="stable")[:, : min(max(self.ks), n)]

        yield from self.rows(system, [system], lambda: (exhaustive, pairs.item_bytes), n_query)
        for first, (items, asked) in codes.items():
            screen = cache(lambda items=items: Screen(items[self.order], score=score))
            for depth in self.depths:
                make = _maker(screen, (asked[:n_query], pairs.asked), depth, pairs.item_bytes)
                yield from self.rows(f"{first}+{system}@{depth}", (first, system), make, n_query)


def _maker(
    screen: Callable[[], Screen], queries: tuple[np.ndarray, Any], depth: int, beside: float = 0.0
) -> Callable[[], Search]:
    """A search of the first `depth` of a screen; `beside` are bytes an item that the screen does not know of."""
    return lambda: (lambda: screen().search(queries, depth)[0], screen().item_bytes + beside)
