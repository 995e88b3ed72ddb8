"""One index at one size: built, written, searched, timed and scored; a dict for each way to search it."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import Any

import numpy as np

from fico_utils.costs.clock import PeakMemory, Timing, measure_time
from fico_utils.costs.indexes import faiss_threads
from fico_utils.evaluation.observe import observe
from fico_utils.evaluation.plan import Plan
from fico_utils.evaluation.similarity import ScoreSource
from fico_utils.evaluation.summary import list_scores, middle_95
from fico_utils.evaluation.tasks import Ragged, Task
from fico_utils.extras.deploy.candidates import Build, K, Search, make_search
from fico_utils.extras.deploy.inputs import Part

#: The task metrics, each at the level at which the paper has it.
METRICS = "recall@1,5,10 map@10"
#: Scores that differ by less are equal: the rounding of single precision.
ROUNDING = 1e-6
#: Queries of a batch; resamples of a metric that are kept, from which a growth has its interval.
BATCH, DRAWS = 100, 200


class FoundScores(ScoreSource):
    """Scores (n_query, n_items) of what a search found, at the places `ids` (n_query, k); all else is not ranked."""

    dtype, may_cut = np.dtype(np.float32), True

    def __init__(self, ids: np.ndarray, scores: np.ndarray, n_items: int) -> None:
        self.shape = (n_items, len(ids))  # as of captions that ask images
        self.found, self.scores = ids, scores

    def n_columns(self, direction: str) -> int:
        """How many items a row of scores holds."""
        return self.shape[0]

    def rows(self, direction: str, numbers: slice | np.ndarray, out: np.ndarray) -> np.ndarray:
        """Scores of some queries, in ``out``."""
        ids = self.found[numbers]
        rows, columns = np.nonzero(ids >= 0)
        out = out[: len(ids)]
        out[:] = -np.inf
        out[rows, ids[rows, columns]] = self.scores[numbers][rows, columns]
        return out


def task_scores(ids: np.ndarray, scores: np.ndarray, task: Task) -> dict[str, Any]:
    """The metrics of what a search found, by `evaluate`'s engine: value, interval, and resamples of each.

    `ids` and `scores` (n_query, k) stand best first, and -1 is none: what was not found counts as not found. `task` is
    of these queries, its items are those of the gallery.
    """
    # items that nobody found and that no query asks for stand below all others, and need no column
    columns = np.unique(np.concatenate([ids[ids >= 0], task.correct.members]))
    at = np.where(ids < 0, -1, np.searchsorted(columns, ids))
    correct = Ragged(task.correct.start, np.searchsorted(columns, task.correct.members))
    asked = replace(task, asking=np.arange(len(ids)), correct=correct)
    if task.labels is not None:
        asked = replace(asked, labels=replace(task.labels, item_owner=task.labels.item_owner[columns]))
    seen = observe(FoundScores(at, scores, columns.size), plan=Plan(METRICS), tasks=[asked])
    seen.seen[task.direction]["ranked"][:] = min(ids.shape[1], task.n_item)
    row: dict[str, Any] = {}
    for score in list_scores(seen, METRICS):
        name, draws = str(score.metric), score.bootstrap()
        low, high = middle_95(draws)
        row |= {name: score.value, f"{name}_ci_low": low, f"{name}_ci_high": high}
        row[f"{name}_draws"] = np.round(draws[:DRAWS], 6).tolist()
    return row


def neighbour_recalls(part: Part, ids: np.ndarray) -> dict[str, float]:
    """The share of queries for which one of the first k found scores as high as the exact best; equal vectors count."""
    reached = part.scores(ids) >= part.best[:, None] - ROUNDING
    return {f"neighbour_recall@{k}": float(reached[:, :k].any(axis=1).mean()) for k in (1, K)}


def measure_build(
    build: Build, part: Part, codes: tuple[np.ndarray, np.ndarray] | None, made_s: float, quick: bool
) -> list[dict[str, Any]]:
    """The rows of every way to search one index, built of a gallery; `codes` are those of its items and queries.

    ``build_s`` is with all threads, `made_s` (s) for the codes included; ``query_ms`` is of one query at a time, in
    seconds of its one thread, ``batch_ms`` of 100 at once on all of them, by the clock on the wall; both are medians of
    rounds in which the ways take turns.
    """
    items, n = part.items if codes is None else codes[0], len(part.items)
    depth = max(variant.depth for variant in build.variants)
    vectors = part.items.astype(np.float16) if depth else None
    memory, start = PeakMemory(), time.perf_counter()
    with memory:
        index = build.filled_index(items)
    build_s = time.perf_counter() - start + made_s
    held, k, rows = written_bytes(index), min(K, n), []
    searches = [make_search(build, index, variant, vectors, k) for variant in build.variants]
    asked = codes and codes[1]
    times = _timed_rounds(searches, part.queries, asked, quick)
    for variant, search, (query_ms, batch_ms) in zip(build.variants, searches, times, strict=True):
        scores, ids = search(part.queries, asked)
        stored = held + (vectors.nbytes if variant.depth else 0)
        row = {"name": build.title(variant), "factory": build.factory, "items": n, "bytes_per_item": stored / n}
        row |= {"build_s": build_s, "query_ms": query_ms, "batch_ms": batch_ms, "memory_bytes": stored}
        row |= neighbour_recalls(part, ids) | task_scores(ids, scores, part.task)
        row |= {"search": variant.search, "codes": build.codes, "depth": variant.depth, "law": build.law}
        rows.append(row | {"build_peak_bytes": memory.extra_bytes})
    return rows


def written_bytes(index: Any) -> int:
    """Bytes of an index as FAISS writes it."""
    import faiss

    count = 0

    def take(piece: Any) -> int:
        nonlocal count
        count += len(piece)
        return len(piece)

    write = faiss.write_index if isinstance(index, faiss.Index) else faiss.write_index_binary
    write(index, faiss.PyCallbackIOWriter(take))
    return count


def _timed_rounds(
    searches: Sequence[Search], queries: np.ndarray, codes: np.ndarray | None, quick: bool
) -> list[tuple[float, float]]:
    """Milliseconds of one query, and of a batch, for each way to search: medians over rounds in random order.

    Each is warmed up once. One that has used up its share of seconds sits out further rounds, after one sample.
    """
    rounds, share = (3, 0.3) if quick else (5, 1.0)
    rows = np.arange(BATCH) % len(queries)
    batch, batch_codes = queries[rows], None if codes is None else codes[rows]
    rng, samples = np.random.default_rng(0), {}

    def one_by_one(search: Search, n: int) -> Callable[[], None]:
        parts = [(batch[i : i + 1], None if codes is None else batch_codes[i : i + 1]) for i in range(n)]
        return lambda: [search(*part) for part in parts]

    def timed(run: Callable[[], Any], threads: int | None) -> float:
        # one thread's own seconds are those of an idle machine
        clock = time.perf_counter if threads is None else time.thread_time
        with faiss_threads(threads):
            return measure_time(run, Timing(repeats=1, warmup=0), clock=clock).seconds

    runs = []
    for way, search in enumerate(searches):
        timed(one_by_one(search, 1), 1)
        n = int(np.clip(share / 4 / rounds / max(timed(one_by_one(search, 1), 1), 1e-6), 3, BATCH))
        runs.append((way, 0, 1, one_by_one(search, n), n))
        runs.append((way, 1, None, lambda search=search: search(batch, batch_codes), 1))
        search(batch, batch_codes)
    for _ in range(rounds):
        for at in rng.permutation(len(runs)):
            way, kind, threads, run, n = runs[at]
            before = samples.setdefault((way, kind), [])
            if not before or sum(before) * n / 1e3 + max(before) * n / 1e3 <= share:
                before.append(1e3 * timed(run, threads) / n)
    return [tuple(float(np.median(samples[way, kind])) for kind in (0, 1)) for way in range(len(searches))]
