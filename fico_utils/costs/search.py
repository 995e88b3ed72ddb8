"""Time and recall of the paper's FAISS indexes (Table 7, Figure 4).

Four indexes, and one of them run two ways: exhaustive binary search spends most of its time in the heap that
keeps the top k, so `binary_flat_counting` sorts distances by counting instead. Building and searching are
timed apart; drawing the data and binarising it lie outside the clock.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass, replace
from functools import cached_property
from typing import TYPE_CHECKING, Any

import numpy as np

from fico_utils.artifacts import Recipe
from fico_utils.costs.clock import Loading, Measurement, Timing, cost_row, measure_time
from fico_utils.costs.growth import exponent_row
from fico_utils.costs.indexes import (
    BINARISERS,
    INDEXES,
    Settings,
    faiss_threads,
    index_bytes,
    make_binariser,
    needed_bytes,
    new_index,
)
from fico_utils.costs.memory import require_memory
from fico_utils.costs.vectors import RECALL_AT, Synthetic, Vectors, exact_nearest, recall_of_nearest
from fico_utils.errors import InputError

if TYPE_CHECKING:
    from fico_utils.workspace import Run

#: Raised when the meaning of what is measured here changes.
VERSIONS = {"search_time": 1}


def recall_of_binarisers(
    data: Synthetic | Vectors, nearest: np.ndarray, methods: Sequence[str], ks: Sequence[int], settings: Settings
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
    binarisers = {method: make_binariser(method, data.train(), settings.bits) for method in dict.fromkeys(methods)}
    indexes = {m: new_index("binary_flat_counting", data.dim, data.n_base, settings) for m in binarisers}
    for chunk in data.base_chunks():
        for method, binarise in binarisers.items():
            indexes[method].add(binarise(chunk))
    queries = data.queries()
    return {
        method: recall_of_nearest(indexes[method].search(binarise(queries), max(ks))[1], nearest, ks)
        for method, binarise in binarisers.items()
    }


# ------------------------------------------------------------------------------------------------ measurement


def search_rows(
    data: Synthetic | Vectors,
    *,
    codes: tuple[np.ndarray, np.ndarray] | None = None,
    indexes: Sequence[str] = INDEXES,
    ks: Sequence[int] = RECALL_AT,
    settings: Settings | None = None,
    beside: Sequence[str] = (),
    timing: Timing | None = None,
    **columns: Any,
) -> list[dict[str, Any]]:
    """Rows of building and searching each index at one size.

    For each index (its id stands in the column `system`): phase ``index``: ``seconds``, ``peak_bytes``
    (memory added while building) and ``index_bytes``; phase ``search``: ``seconds`` for all queries at the
    largest k, ``peak_bytes``, and ``recall@k`` for each k against the exact inner product. `scale_img` holds
    the queries and `scale_txt` the candidates, as in Table 7.

    Parameters
    ----------
    data : `Synthetic` or `Vectors`.
    codes : ((n_base, bits / 8), (n_query, bits / 8)) packed uint8, a system's own; None binarises `data`.
    indexes : ids out of `INDEXES`.
    ks : depths; the search is timed at the largest.
    settings : Settings of the indexes.
    beside : other binarisers, whose recall is shown beside: rows ``recall_sign@k`` of `binary_flat`, not timed.
    timing : Timing, once for building and once for searching each index; its threads are pinned and recorded.
    **columns : of `cost_row`: corpus, and run, in whose store each index of `Synthetic` data is kept once measured.

    Raises
    ------
    InputError
        An unknown index or binariser, k above the gallery, more IVF lists than points, codes of another count or length
        than the vectors, or a size that does not fit in memory.

    Notes
    -----
    `hnsw_flat` built by several threads differs a little from run to run; pin one thread for equal recalls.

    Examples
    --------
    >>> rows = search_rows(Synthetic(32, 200, 5, 100), indexes=["flat_ip"], ks=[1, 10], timing=Timing(repeats=1))
    >>> [r["value"] for r in rows if r["quantity"] == "recall@1"]
    [1.0]
    """
    settings, timing = settings or Settings(), timing or Timing()
    check_search(data, indexes, ks, settings, beside)
    columns = {"corpus": "synthetic", "scale_img": data.n_query, "scale_txt": data.n_base, **columns}
    with faiss_threads(timing.threads) as threads:
        timing = replace(timing, threads=threads)
        search = _Search(data, codes, tuple(ks), settings, timing, columns)
        rows = [r for name in indexes for r in search.kept_rows(name, lambda name=name: search.index_rows(name))]
        if beside:
            rows += search.kept_rows("beside", lambda: search.beside_rows(beside), beside=list(beside))
    return rows


def check_search(
    data: Synthetic | Vectors, names: Sequence[str], ks: Sequence[int], settings: Settings, beside: Sequence[str] = ()
) -> None:
    """Return if everything asked for can be done, before anything is timed; see `search_rows`."""
    if any(method not in BINARISERS for method in beside):
        raise InputError(f"binarisers {list(beside)} were asked for beside; expected some of {', '.join(BINARISERS)}")
    if not names or any(name not in INDEXES for name in names):
        raise InputError(f"indexes {list(names)} were asked for; expected some of {', '.join(INDEXES)}")
    if not ks or min(ks) < 1 or max(ks) > data.n_base:
        raise InputError(f"k = {list(ks)} was asked of a gallery of {data.n_base}; expected k from 1 to {data.n_base}")
    if "binary_ivf" in names:
        settings.ivf_lists(data.n_base)
    needed, name = max((needed_bytes(name, data, max(ks), settings), name) for name in names)
    require_memory(
        needed,
        f"{name} over {data.n_base} candidates of {data.dim} dimensions with {data.n_query} queries",
        "ask for fewer candidates or dimensions, leave this index out, or use a larger machine",
    )


@dataclass(frozen=True)
class _Search:
    """One size of the experiment; what several indexes need is made when the first of them is measured."""

    data: Synthetic | Vectors
    given_codes: tuple[np.ndarray, np.ndarray] | None
    ks: tuple[int, ...]
    settings: Settings
    timing: Timing
    columns: dict[str, Any]

    def recipe(self, **more: Any) -> Recipe:
        """The recipe of a measurement on synthetic vectors."""
        of_data = {name: getattr(self.data, name) for name in ("dim", "n_base", "n_query", "n_train", "seed")}
        settings = {"data": of_data, "ks": list(self.ks), "index": asdict(self.settings), **more}
        return Recipe("search_time", settings, self.columns["run"].seed)

    def kept_rows(self, name: str, build: Callable[[], list[dict]], **more: Any) -> list[dict[str, Any]]:
        """Rows from the run's store, or measured; those of vectors that no recipe describes are measured each time."""
        run: Run | None = self.columns.get("run")
        if run is None or not isinstance(self.data, Synthetic) or self.given_codes is not None:
            return build()
        recipe = self.recipe(name=name, corpus=self.columns["corpus"], timing=self.timing.described, **more)
        return run.store.records("costs/search", f"{name}__{self.data.n_query}x{self.data.n_base}", recipe, build)

    @cached_property
    def nearest(self) -> np.ndarray:
        """Id of each query's exact nearest neighbour, (n_query,) int64."""
        return exact_nearest(self.data)

    @cached_property
    def queries(self) -> np.ndarray:
        """The queries, (n_query, dim) float32."""
        return self.data.queries()

    @cached_property
    def codes(self) -> tuple[np.ndarray, np.ndarray]:
        """Packed codes of candidates and queries: those given, once checked, or the vectors binarised."""
        if self.given_codes is None:
            binarise = make_binariser(self.settings.binariser, self.data.train(), self.settings.bits)
            return np.concatenate([binarise(chunk) for chunk in self.data.base_chunks()]), binarise(self.queries)
        width, counts = self.settings.bits // 8, (self.data.n_base, self.data.n_query)
        for what, code, n in zip(("candidates", "queries"), self.given_codes, counts, strict=True):
            if code.shape != (n, width) or code.dtype != np.uint8:
                raise InputError(
                    f"codes of shape {code.shape} ({code.dtype}) were given for {n} {what}; "
                    f"expected ({n}, {width}) packed uint8"
                )
        return np.ascontiguousarray(self.given_codes[0]), np.ascontiguousarray(self.given_codes[1])

    def index_rows(self, name: str) -> list[dict[str, Any]]:
        """Build and search one index."""
        if name.startswith("binary"):
            queries, chunks = self.codes[1], lambda: [self.codes[0]]
        else:
            queries, chunks = self.queries, self.data.base_chunks
        nearest = self.nearest
        loading = Loading()

        def build() -> Any:
            index = new_index(name, self.data.dim, self.data.n_base, self.settings)
            for chunk in loading.over(chunks()):
                if not index.is_trained:
                    index.train(chunk)
                index.add(chunk)
            return index

        built = measure_time(build, self.timing, loading=loading)
        index, depth = built.result, max(self.ks)
        searched = measure_time(lambda: index.search(queries, depth), self.timing)
        recalls = recall_of_nearest(searched.result[1], nearest, self.ks)
        # FAISS alone works here: its own threads count, not those of another library that is loaded.
        threads = self.timing.threads
        built, searched = replace(built, threads=threads), replace(searched, threads=threads)
        columns = {"system": name, **self.columns}
        return [
            cost_row("index", "seconds", built, **columns),
            _peak_row("index", built, columns),
            cost_row("index", "index_bytes", index_bytes(index), unit="B", threads=threads, **columns),
            cost_row("search", "seconds", searched, **columns),
            _peak_row("search", searched, columns),
            *self._recall_rows({f"recall@{k}": value for k, value in recalls.items()}, columns),
        ]

    def beside_rows(self, methods: Sequence[str]) -> list[dict[str, Any]]:
        """Recalls of other binarisers."""
        recalls = recall_of_binarisers(self.data, self.nearest, methods, self.ks, self.settings)
        values = {f"recall_{method}@{k}": value for method, recall in recalls.items() for k, value in recall.items()}
        return self._recall_rows(values, {"system": "binary_flat", **self.columns})

    def _recall_rows(self, values: dict[str, float], columns: dict[str, Any]) -> list[dict[str, Any]]:
        columns = {**columns, "unit": "", "threads": self.timing.threads}
        return [cost_row("search", quantity, value, **columns) for quantity, value in values.items()]


def _peak_row(phase: str, measured: Measurement, columns: dict[str, Any]) -> dict[str, Any]:
    """The row of memory added by the warm-up; undefined where there was none to measure it in."""
    status = "undefined" if measured.extra_bytes is None else "ok"
    more = {"unit": "B", "repeats": 1, "threads": measured.threads, "status": status}
    return cost_row(phase, "peak_bytes", measured.extra_bytes, **more, **columns)


# ------------------------------------------------------------------------------------------------------ sweeps


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
    """Rows of `search_rows` on synthetic data at each size, and each index's ``exponent`` of search seconds.

    The exponent is of the candidates; where queries grow with them, as in the paper, exhaustive search has 2.

    Parameters
    ----------
    sizes : (queries, candidates); see `doubling_sizes`.
    dim, seed, n_train : of `Synthetic`.
    **options : of `search_rows`. A k above a smaller gallery is left out there, above the largest
        refused; `beside` is shown at the largest size.

    Raises
    ------
    InputError
        What `search_rows` refuses, at the largest size and before anything is timed.
    """
    ks, names, beside = options.pop("ks", RECALL_AT), options.get("indexes", INDEXES), options.pop("beside", ())
    largest = max(sizes, key=lambda size: size[1])
    settings = options.get("settings") or Settings()
    check_search(Synthetic(dim, largest[1], largest[0], n_train, seed), names, ks, settings, beside)
    rows = []
    for n_query, n_base in sorted(sizes):
        here = {"ks": [k for k in ks if k <= n_base], "beside": beside if n_base == largest[1] else ()}
        rows += search_rows(Synthetic(dim, n_base, n_query, n_train, seed), **here, **options)
    columns = {name: value for name, value in options.items() if name in ("corpus", "run", "source")}
    timed = [r for r in rows if (r["phase"], r["quantity"]) == ("search", "seconds")]
    for name in names:
        points = [(r["scale_txt"], r["value"]) for r in timed if r["system"] == name]
        rows.append(exponent_row(points, "search", system=name, **{"corpus": "synthetic", **columns}))
    return rows
