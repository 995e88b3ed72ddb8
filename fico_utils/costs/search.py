"""Time and recall of the paper's FAISS indexes (Table 7, Figure 4).

Exhaustive binary search spends most of its time in the heap that keeps the top k, so `binary_flat_counting`, which
sorts distances by counting, stands beside the paper's four. Drawing data and binarising it lie outside the clock.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass, replace
from functools import cached_property
from typing import Any

import numpy as np

from fico_utils.costs.clock import Loading, Measurement, Timing, cost_row, kept_rows, measure_time, recipe_of
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
from fico_utils.costs.vectors import RECALL_AT, Synthetic, exact_nearest, recall_of_nearest
from fico_utils.errors import InputError

#: Raised when the meaning of what is measured here changes.
VERSIONS = {"search_time": 1}


def search_rows(
    data: Synthetic,
    *,
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
    indexes : ids out of `INDEXES`.
    beside : other binarisers, whose recall is shown beside: rows ``recall_sign@k`` of `binary_flat`, not timed.
    timing : Timing, once for building and once for searching each index; its threads are pinned and recorded. Several
        threads build a graph that differs a little from run to run.
    **columns : of `cost_row`: corpus, and run, in whose store each index is kept once it was measured.

    Raises
    ------
    InputError
        A k above the gallery, or more than fits in memory.

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
        search = _Search(data, tuple(ks), settings, replace(timing, threads=threads), columns)
        rows = [r for name in indexes for r in search.kept_rows(name, lambda name=name: search.index_rows(name))]
        if beside:
            rows += search.kept_rows("beside", lambda: search.beside_rows(beside), beside=list(beside))
    return rows


def check_search(
    data: Synthetic, names: Sequence[str], ks: Sequence[int], settings: Settings, beside: Sequence[str] = ()
) -> None:
    """Return if everything asked for can be done, before anything is timed; see `search_rows`."""
    assert set(beside) <= set(BINARISERS), f"unknown binarisers among {list(beside)}"
    assert set(names) <= set(INDEXES), f"unknown indexes among {list(names)}"
    assert names, "no index to search with"
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

    data: Synthetic
    ks: tuple[int, ...]
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
    def nearest(self) -> np.ndarray:
        """Id of each query's exact nearest neighbour, (n_query,) int64."""
        return exact_nearest(self.data)

    @cached_property
    def queries(self) -> np.ndarray:
        """The queries, (n_query, dim) float32."""
        return self.data.queries()

    @cached_property
    def codes(self) -> tuple[np.ndarray, np.ndarray]:
        """Packed codes of candidates and queries."""
        binarise = make_binariser(self.settings.binariser, self.data.train(), self.settings.bits)
        return np.concatenate([binarise(chunk) for chunk in self.data.base_chunks()]), binarise(self.queries)

    def index_rows(self, name: str) -> list[dict[str, Any]]:
        """Build and search one index."""
        if name.startswith("binary"):
            queries, chunks = self.codes[1], lambda: [self.codes[0]]
        else:
            queries, chunks = self.queries, self.data.base_chunks
        nearest, loading = self.nearest, Loading()

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
        """1-recall@k of an exhaustive search of the codes of other binarisers; a chunk at a time is binarised."""
        data, settings = self.data, self.settings
        binarisers = {m: make_binariser(m, data.train(), settings.bits) for m in dict.fromkeys(methods)}
        indexes = {m: new_index("binary_flat_counting", data.dim, data.n_base, settings) for m in binarisers}
        for chunk in data.base_chunks():
            for method, binarise in binarisers.items():
                indexes[method].add(binarise(chunk))
        values = {}
        for method, binarise in binarisers.items():
            ids = indexes[method].search(binarise(self.queries), max(self.ks))[1]
            recalls = recall_of_nearest(ids, self.nearest, self.ks)
            values |= {f"recall_{method}@{k}": value for k, value in recalls.items()}
        return self._recall_rows(values, {"system": "binary_flat", **self.columns})

    def _recall_rows(self, values: dict[str, float], columns: dict[str, Any]) -> list[dict[str, Any]]:
        columns = {**columns, "unit": "", "threads": self.timing.threads}
        return [cost_row("search", quantity, value, **columns) for quantity, value in values.items()]


def _peak_row(phase: str, measured: Measurement, columns: dict[str, Any]) -> dict[str, Any]:
    """The row of memory added by the warm-up; undefined where there was none to measure it in."""
    status = "undefined" if measured.extra_bytes is None else "ok"
    more = {"unit": "B", "repeats": 1, "threads": measured.threads, "status": status}
    return cost_row(phase, "peak_bytes", measured.extra_bytes, **more, **columns)


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

    The exponent is of the candidates; where queries grow with them, as in the paper, exhaustive search has 2.

    Parameters
    ----------
    sizes : (queries, candidates); see `doubling_sizes`.
    **options : of `search_rows`. A k above a smaller gallery is left out there, above the largest
        refused before anything is timed; `beside` is shown at the largest size.
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
        scales, seconds = zip(*((r["scale_txt"], r["value"]) for r in timed if r["system"] == name), strict=True)
        rows.append(exponent_row(scales, seconds, "search", system=name, **{"corpus": "synthetic", **columns}))
    return rows
