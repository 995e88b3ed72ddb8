"""Time and recall of the paper's FAISS indexes (Table 7, Figure 4).

Four indexes, and one of them run two ways: exhaustive binary search spends most of its time in the heap that
keeps the top k, so `binary_flat_counting` sorts distances by counting instead. Building and searching are
timed apart; drawing the data and binarising it lie outside the clock.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

import numpy as np

from fico_utils.costs.clock import Loading, Timing, measure, row
from fico_utils.costs.growth import exponent_row
from fico_utils.costs.indexes import (
    BINARISERS,
    INDEXES,
    Settings,
    binariser,
    faiss_threads,
    index_bytes,
    needed_bytes,
    new_index,
)
from fico_utils.costs.kept import Kept
from fico_utils.costs.memory import require_memory
from fico_utils.costs.nearest import RECALL_AT, exact_nearest, recall_of_binarisers, recall_of_nearest
from fico_utils.costs.synthetic import Synthetic, Vectors
from fico_utils.errors import InputError
from fico_utils.workspace import key_of, source_key

VERSIONS = {"search_time": 1}
#: Whose code the part files depend on.
MADE_BY = tuple(f"costs/{name}.py" for name in ("clock", "indexes", "nearest", "search", "synthetic"))

# --------------------------------------------------------------------------------------------- measurement


def _check(
    data: Synthetic | Vectors, names: Sequence[str], ks: Sequence[int], settings: Settings, beside: Sequence[str] = ()
) -> None:
    """Return if everything asked for can be done, before anything is timed."""
    unknown = [method for method in beside if method not in BINARISERS]
    if unknown:
        raise InputError(f"binarisers {list(beside)} were asked for beside; expected some of {', '.join(BINARISERS)}")
    unknown = [name for name in names if name not in INDEXES]
    if unknown or not names:
        raise InputError(f"indexes {list(names)} were asked for; expected some of {', '.join(INDEXES)}")
    if not ks or min(ks) < 1 or max(ks) > data.n_base:
        raise InputError(f"k = {list(ks)} was asked of a gallery of {data.n_base}; expected k from 1 to {data.n_base}")
    if "binary_ivf" in names:
        settings.lists(data.n_base)
    needed, name = max((needed_bytes(name, data, max(ks), settings), name) for name in names)
    require_memory(
        needed,
        f"{name} over {data.n_base} candidates of {data.dim} dimensions with {data.n_query} queries",
        "ask for fewer candidates or dimensions, leave this index out, or use a larger machine",
    )


def search_rows(
    data: Synthetic | Vectors,
    *,
    codes: tuple[np.ndarray, np.ndarray] | None = None,
    indexes: Sequence[str] = INDEXES,
    ks: Sequence[int] = RECALL_AT,
    settings: Settings | None = None,
    beside: Sequence[str] = (),
    threads: int | None = None,
    repeats: int = 5,
    warmup: int = 1,
    budget_s: float | None = None,
    parts: Path | None = None,
    key: str = "",
    corpus: str = "synthetic",
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
    threads : int or None, pinned and recorded; None leaves FAISS as the run pinned it.
    repeats, warmup, budget_s : of `measure`, each for one building and one searching.
    parts : Path or None, folder of part files: an index that was measured is kept there and not measured again.
    key : str, of the vectors and codes that are searched; part files of another are measured again.
    corpus, **columns : of `row`.

    Raises
    ------
    InputError
        An unknown index or binariser, k above the gallery, more IVF lists than points, codes of another count or length
        than the vectors, a size that does not fit in memory, a budget that is not positive.

    Notes
    -----
    `hnsw_flat` built by several threads differs a little from run to run; pin one thread for equal recalls.

    Examples
    --------
    >>> rows = search_rows(Synthetic(32, 200, 5, 100), indexes=["flat_ip"], ks=[1, 10], repeats=1)
    >>> [r["value"] for r in rows if r["quantity"] == "recall@1"]
    [1.0]
    """
    settings = settings or Settings()
    _check(data, indexes, ks, settings, beside)
    protocol = {"repeats": repeats, "warmup": warmup, "budget_s": budget_s}
    with faiss_threads(threads) as pinned:
        scale = {"scale_img": data.n_query, "scale_txt": data.n_base}
        place = {"corpus": corpus, **scale, **columns}
        stamp = row("search", "recall", 0.0, threads=pinned, **place)
        about = key_of(key, stamp, ks, asdict(settings), protocol, source_key(*MADE_BY))
        size = f"{data.n_query}x{data.n_base}"
        cells = {name: Kept(parts and parts / f"{name}__{size}.json", key_of(about, name)) for name in indexes}
        if beside:
            cells["beside"] = Kept(parts and parts / f"beside__{size}.json", key_of(about, beside))
        if all(cell.content for cell in cells.values()):
            return [r for cell in cells.values() for r in cell.content["rows"]]
        nearest = Kept(parts and parts / f"nearest__{size}.safetensors", about)
        if not nearest.arrays:
            nearest.arrays = {"nearest": exact_nearest(data)}
            nearest.save()
        nearest, queries = nearest.arrays["nearest"], data.queries()
        base_codes = query_codes = None
        if any(name.startswith("binary") for name in indexes):
            base_codes, query_codes = _codes(data, queries, codes, settings)
        for name, cell in cells.items():
            if cell.content:
                continue
            if name == "beside":
                found = recall_of_binarisers(data, nearest, beside, ks, settings)
                values = {f"recall_{way}@{k}": value for way, recall in found.items() for k, value in recall.items()}
                rows = _recalls(values, pinned, {"system": "binary_flat", **place})
            else:
                binary = name.startswith("binary")
                chunks, asked = ((lambda: [base_codes]), query_codes) if binary else (data.base_chunks, queries)
                built = _build(name, data.dim, data.n_base, chunks, settings, protocol)
                searched, found = _search(built.result, asked, max(ks), protocol)
                # FAISS alone works here: its own threads count, not those of another library that is loaded.
                built, searched = replace(built, threads=pinned), replace(searched, threads=pinned)
                here = {"system": name, **place}
                values = {f"recall@{k}": value for k, value in recall_of_nearest(found, nearest, ks).items()}
                rows = [
                    row("index", "seconds", built, **here),
                    _peak("index", built, here),
                    row("index", "index_bytes", index_bytes(built.result), unit="B", threads=pinned, **here),
                    row("search", "seconds", searched, **here),
                    _peak("search", searched, here),
                    *_recalls(values, pinned, here),
                ]
            cell.content = {"rows": rows}
            cell.save()
    return [r for cell in cells.values() for r in cell.content["rows"]]


def _recalls(values: dict[str, float], threads: int, place: dict[str, Any]) -> list[dict[str, Any]]:
    return [row("search", quantity, value, unit="", threads=threads, **place) for quantity, value in values.items()]


def _peak(phase: str, timing: Timing, place: dict[str, Any]) -> dict[str, Any]:
    """The row of memory added by the warm-up; undefined where there was none to measure it in."""
    status = "undefined" if timing.extra_bytes is None else "ok"
    measured = {"unit": "B", "repeats": 1, "threads": timing.threads, "status": status}
    return row(phase, "peak_bytes", timing.extra_bytes, **measured, **place)


def _codes(
    data: Synthetic | Vectors,
    queries: np.ndarray,
    codes: tuple[np.ndarray, np.ndarray] | None,
    settings: Settings,
) -> tuple[np.ndarray, np.ndarray]:
    """Packed codes of candidates and queries: those given, once checked, or the vectors binarised."""
    if codes is None:
        binarise = binariser(settings.binariser, data.train(), settings.bits)
        return np.concatenate([binarise(chunk) for chunk in data.base_chunks()]), binarise(queries)
    width = settings.bits // 8
    for what, code, n in (("candidates", codes[0], data.n_base), ("queries", codes[1], data.n_query)):
        if code.shape != (n, width) or code.dtype != np.uint8:
            raise InputError(
                f"codes of shape {code.shape} ({code.dtype}) were given for {n} {what}; "
                f"expected ({n}, {width}) packed uint8"
            )
    return np.ascontiguousarray(codes[0]), np.ascontiguousarray(codes[1])


def _build(
    name: str, dim: int, n_base: int, chunks: Callable[[], Any], settings: Settings, protocol: dict[str, Any]
) -> Timing:
    """The `Timing` of training (IVF) and filling an index; its result is the index of the last run."""
    loading = Loading()

    def run() -> Any:
        index = new_index(name, dim, n_base, settings)
        for chunk in loading.over(chunks()):
            if not index.is_trained:
                index.train(chunk)
            index.add(chunk)
        return index

    return measure(run, loading=loading, **protocol)


def _search(index: Any, queries: np.ndarray, depth: int, protocol: dict[str, Any]) -> tuple[Timing, np.ndarray]:
    """The `Timing` of asking all queries for `depth` candidates, and the ids found."""
    timing = measure(lambda: index.search(queries, depth), **protocol)
    return timing, timing.result[1]


def growing(n_query: int, n_base: int, steps: int = 5) -> list[tuple[int, int]]:
    """Sizes (queries, candidates) for Figure 4b: `steps` of them, each the double of the one before.

    >>> growing(2000, 50000, 3)
    [(500, 12500), (1000, 25000), (2000, 50000)]
    """
    if steps < 1 or min(n_query, n_base) < 2 ** (steps - 1):
        raise InputError(
            f"{steps} sizes doubling up to {n_query} queries and {n_base} candidates were asked for; "
            "expected at least one size, and no query count below 1"
        )
    return [(n_query >> i, n_base >> i) for i in reversed(range(steps))]


def search_sweep(
    sizes: Sequence[tuple[int, int]],
    *,
    dim: int = 256,
    seed: int = 1338,
    n_train: int = 10_000,
    **options: Any,
) -> list[dict[str, Any]]:
    """Rows of `search_rows` on synthetic data at each size, and each index's ``exponent`` of search seconds.

    The exponent is of the candidates; where queries grow with them, as in the paper, exhaustive search has 2.

    Parameters
    ----------
    sizes : (queries, candidates); see `growing`.
    dim, seed, n_train : of `Synthetic`.
    **options : of `search_rows`. A k above a smaller gallery is left out there, above the largest
        refused; `beside` is shown at the largest size.

    Raises
    ------
    InputError
        No sizes, or what `search_rows` refuses, at the largest size and before anything is timed.
    """
    if not sizes:
        raise InputError(
            "no sizes were given to search at; expected (queries, candidates), such as growing(2000, 50000)"
        )
    ks = options.pop("ks", RECALL_AT)
    names = options.get("indexes", INDEXES)
    largest = max(sizes, key=lambda size: size[1])
    settings = options.get("settings") or Settings()
    beside = options.get("beside", ())
    _check(Synthetic(dim, largest[1], largest[0], n_train, seed), names, ks, settings, beside)
    rows = []
    for n_query, n_base in sorted(sizes):
        here = [k for k in ks if k <= n_base]
        own = {**options, "ks": here, "beside": beside if n_base == largest[1] else ()}
        own["key"] = key_of(dim, n_base, n_query, n_train, seed)
        rows += search_rows(Synthetic(dim, n_base, n_query, n_train, seed), **own)
    place = {name: value for name, value in options.items() if name in ("corpus", "run", "source")}
    for name in names:
        points = [
            (r["scale_txt"], r["value"])
            for r in rows
            if (r["system"], r["phase"], r["quantity"]) == (name, "search", "seconds")
        ]
        rows.append(exponent_row(points, "search", system=name, **{"corpus": "synthetic", **place}))
    return rows
