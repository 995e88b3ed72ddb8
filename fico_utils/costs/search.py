"""Time and recall of the paper's FAISS indexes on FAISS's synthetic vectors (Table 7, Figure 4).

Exhaustive binary search spends most of its time in the heap that keeps the top k, so `binary_flat_counting`, which
sorts distances by counting, stands beside the paper's four. Drawing data and binarising it lie outside the clock.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import asdict, dataclass, replace
from functools import cached_property
from typing import Any

import numpy as np

from fico_utils.costs.clock import Loading, Timing, measure_time
from fico_utils.costs.indexes import (
    INDEXES,
    Settings,
    faiss_threads,
    index_bytes,
    make_binariser,
    new_index,
    recall_of_nearest,
    require_memory,
)
from fico_utils.costs.rows import cost_row, exponent_row, kept_rows, recipe_of
from fico_utils.errors import InputError

#: Raised when the meaning of what is measured here changes.
VERSIONS = {"search_time": 1}
#: float64 elements of one chunk; a few copies of 16 MiB live at a time.
CHUNK_ELEMENTS = 2**21
#: Candidates up to this size are drawn once and kept, B; larger ones are drawn again when they are needed.
KEEP_BYTES = 2**28
#: Dimensions that the synthetic vectors really have (FAISS's ``d1``).
INTRINSIC = 10
#: k of 1-recall@k (Figure 4a).
RECALL_AT = (1, 5, 10, 50, 100, 500, 1000)


class Synthetic:
    """The vectors of FAISS's ``SyntheticDataset(dim, n_train, n_base, n_query, seed=seed)``, drawn chunk by chunk.

    FAISS's class holds several float64 copies of everything (over 20 GB at 600K x 2048); here memory is bounded.
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

    @cached_property
    def queries(self) -> np.ndarray:
        """Queries, (n_query, dim) float32."""
        return np.concatenate(list(self._draw(2, self.n_query)))

    @cached_property
    def nearest(self) -> np.ndarray:
        """Id of each query's largest inner product among the candidates, (n_query,) int64, in bounded memory."""
        import faiss

        best, nearest = np.full(self.n_query, -np.inf, np.float32), np.zeros(self.n_query, np.int64)
        start = 0
        for chunk in self.base_chunks():
            score, ids = faiss.knn(self.queries, chunk, 1, metric=faiss.METRIC_INNER_PRODUCT)
            better = score[:, 0] > best
            best[better], nearest[better] = score[better, 0], ids[better, 0] + start
            start += len(chunk)
        return nearest


def search_rows(
    data: Synthetic,
    *,
    indexes: Sequence[str] = tuple(INDEXES),
    ks: Sequence[int] = RECALL_AT,
    settings: Settings | None = None,
    beside: Sequence[str] = (),
    timing: Timing | None = None,
    **columns: Any,
) -> list[dict[str, Any]]:
    """Rows of building and searching each index, by its id in the column `system`, at one size.

    Phase ``index``: ``seconds``, ``peak_bytes`` (memory added while building) and ``index_bytes``; phase ``search``:
    ``seconds`` for all queries at the largest k, ``peak_bytes``, and ``recall@k`` for each k against the exact inner
    product. `scale_img` holds the queries and `scale_txt` the candidates, as in Table 7.

    The recall of other binarisers is shown `beside`: rows ``recall_sign@k`` of `binary_flat`, not timed. The threads of
    `timing` are pinned and recorded; several build a graph that differs a little from run to run. `columns` are of
    `cost_row`: corpus, and run, in whose store each index is kept once it was measured. InputError for a k above the
    gallery, or for more than fits in memory.

    >>> rows = search_rows(Synthetic(32, 200, 5, 100), indexes=["flat_ip"], ks=[1, 10], timing=Timing(repeats=1))
    >>> [r["value"] for r in rows if r["quantity"] == "recall@1"]
    [1.0]
    """
    settings, timing = settings or Settings(), timing or Timing()
    check_search(data, indexes, ks, settings)
    columns = {"corpus": "synthetic", "scale_img": data.n_query, "scale_txt": data.n_base, **columns}
    with faiss_threads(timing.threads) as threads:
        search = _Search(data, tuple(ks), settings, replace(timing, threads=threads), columns)
        rows = [r for name in indexes for r in search.kept_rows(name, lambda name=name: search.index_rows(name))]
        if beside:
            rows += search.kept_rows("beside", lambda: search.beside_rows(beside), beside=list(beside))
    return rows


def check_search(data: Synthetic, names: Sequence[str], ks: Sequence[int], settings: Settings) -> None:
    """Return if everything asked for can be done, before anything is timed; see `search_rows`."""
    assert names, "no index to search with"
    assert set(names) <= set(INDEXES), f"unknown indexes among {list(names)}"
    if not ks or min(ks) < 1 or max(ks) > data.n_base:
        raise InputError(f"k = {list(ks)} was asked of a gallery of {data.n_base}; expected k from 1 to {data.n_base}")
    needed, name = max((needed_bytes(name, data, max(ks), settings), name) for name in names)
    require_memory(
        needed,
        f"{name} over {data.n_base} candidates of {data.dim} dimensions with {data.n_query} queries",
        "ask for fewer candidates or dimensions, leave this index out, or use a larger machine",
    )


def needed_bytes(name: str, data: Synthetic, depth: int, settings: Settings) -> int:
    """Memory to build and search an index, B: it twice (it grows by copying), queries, answers, chunks."""
    item = settings.bits // 8 * 2 + 8 if name.startswith("binary") else 4 * data.dim
    links = 8 * settings.neighbours + 16 if name == "hnsw_flat" else 0
    drawn = min(KEEP_BYTES, 4 * data.dim * data.n_base) + 4 * data.dim * (data.n_query + data.n_train)
    return (2 * item + links) * data.n_base + 12 * depth * data.n_query + drawn + 4 * 8 * CHUNK_ELEMENTS


@dataclass(frozen=True)
class _Search:
    """One size of the experiment; what several indexes need is made when the first of them is measured."""

    data: Synthetic
    ks: Sequence[int]
    settings: Settings
    timing: Timing
    columns: dict[str, Any]

    def kept_rows(self, name: str, build: Callable[[], list[dict]], **more: Any) -> list[dict[str, Any]]:
        """Rows from the run's store, or measured."""
        data = {name: getattr(self.data, name) for name in ("dim", "n_base", "n_query", "n_train", "seed")}
        how = {"ks": list(self.ks), "index": asdict(self.settings), "timing": self.timing.described, **more}
        recipe = recipe_of("search_time", self.columns, {"data": data, "name": name, **how})
        return kept_rows(self.columns, "search", f"{name}__{data['n_query']}x{data['n_base']}", recipe, build)

    @cached_property
    def codes(self) -> tuple[np.ndarray, np.ndarray]:
        """Packed codes of candidates and queries."""
        binarise = make_binariser(self.settings.binariser, self.data.train(), self.settings.bits)
        return np.concatenate([binarise(chunk) for chunk in self.data.base_chunks()]), binarise(self.data.queries)

    def index_rows(self, name: str) -> list[dict[str, Any]]:
        """Build and search one index."""
        if name.startswith("binary"):
            queries, chunks = self.codes[1], lambda: [self.codes[0]]
        else:
            queries, chunks = self.data.queries, self.data.base_chunks
        nearest, loading, depth = self.data.nearest, Loading(), max(self.ks)  # what is drawn here is not on the clock

        def build() -> Any:
            index = new_index(name, self.data.dim, self.data.n_base, self.settings)
            for chunk in loading.over(chunks()):
                if not index.is_trained:
                    index.train(chunk)
                index.add(chunk)
            return index

        built = measure_time(build, self.timing, loading=loading)
        index = built.result
        searched = measure_time(lambda: index.search(queries, depth), self.timing)
        # FAISS alone works here: its own threads count, not those of another library that is loaded.
        columns = {"threads": self.timing.threads, "system": name, **self.columns}
        rows = []
        for phase, measured in (("index", built), ("search", searched)):
            more = {"repeats": 1, "status": "undefined" if measured.extra_bytes is None else "ok", "unit": "B"}
            rows.append(cost_row(phase, "seconds", replace(measured, threads=self.timing.threads), **columns))
            rows.append(cost_row(phase, "peak_bytes", measured.extra_bytes, **more, **columns))
            if phase == "index":
                rows.append(cost_row(phase, "index_bytes", index_bytes(index), unit="B", **columns))
        return rows + self.recall_rows("recall", searched.result[1], nearest, name)

    def beside_rows(self, methods: Sequence[str]) -> list[dict[str, Any]]:
        """1-recall@k of an exhaustive search of the codes of other binarisers; a chunk at a time is binarised."""
        rows, data = [], self.data
        for method in dict.fromkeys(methods):
            binarise = make_binariser(method, data.train(), self.settings.bits)
            index = new_index("binary_flat_counting", data.dim, data.n_base, self.settings)
            for chunk in data.base_chunks():
                index.add(binarise(chunk))
            ids = index.search(binarise(data.queries), max(self.ks))[1]
            rows += self.recall_rows(f"recall_{method}", ids, data.nearest, "binary_flat")
        return rows

    def recall_rows(self, quantity: str, ids: np.ndarray, nearest: np.ndarray, system: str) -> list[dict[str, Any]]:
        """1-recall@k of the ids (n_query, depth) that a search gave."""
        columns = {"unit": "", "threads": self.timing.threads, "system": system, **self.columns}
        recalls = recall_of_nearest(ids, nearest, self.ks)
        return [cost_row("search", f"{quantity}@{k}", value, **columns) for k, value in recalls.items()]


def doubling_sizes(n_query: int, n_base: int, steps: int = 5) -> list[tuple[int, int]]:
    """Sizes (queries, candidates) for Figure 4b: `steps` of them, each the double of the one before.

    >>> doubling_sizes(2000, 50000, 3)
    [(500, 12500), (1000, 25000), (2000, 50000)]
    """
    if steps < 1 or min(n_query, n_base) < 2 ** (steps - 1):
        raise InputError(
            f"{steps} sizes doubling up to {n_query} queries and {n_base} candidates were asked for; "
            "expected at least one size, and no query count below 1"
        )
    return [(n_query >> i, n_base >> i) for i in reversed(range(steps))]


def search_sweep(
    sizes: Sequence[tuple[int, int]], *, dim: int = 256, seed: int = 1338, n_train: int = 10_000, **options: Any
) -> list[dict[str, Any]]:
    """Rows of `search_rows` on `Synthetic` data at each size, and each index's ``exponent`` of search seconds.

    `sizes` are (queries, candidates), see `doubling_sizes`, and `options` those of `search_rows`. A k above a smaller
    gallery is left out there, above the largest refused before anything is timed; `beside` is shown at the largest
    size. The exponent is of the candidates; where queries grow with them, as in the paper, exhaustive search has 2.
    """
    ks, names, beside = options.pop("ks", RECALL_AT), options.get("indexes", INDEXES), options.pop("beside", ())
    largest = max(sizes, key=lambda size: size[1])
    settings = options.get("settings") or Settings()
    check_search(Synthetic(dim, largest[1], largest[0], n_train, seed), names, ks, settings)
    rows = []
    for n_query, n_base in sorted(sizes):
        here = {"ks": [k for k in ks if k <= n_base], "beside": beside if n_base == largest[1] else ()}
        rows += search_rows(Synthetic(dim, n_base, n_query, n_train, seed), **here, **options)
    columns = {"corpus": "synthetic"} | {name: options[name] for name in ("corpus", "run", "source") if name in options}
    timed = [r for r in rows if (r["phase"], r["quantity"]) == ("search", "seconds")]
    for name in names:
        scales, seconds = zip(*((r["scale_txt"], r["value"]) for r in timed if r["system"] == name), strict=True)
        rows.append(exponent_row(scales, seconds, "search", system=name, **columns))
    return rows
