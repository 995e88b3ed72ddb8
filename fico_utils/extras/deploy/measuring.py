"""One index at one size: built, written, searched, timed and scored; a dict for each way to search it."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import Any

import numpy as np

from fico_utils.costs.clock import PeakMemory, Timing, measure_time
from fico_utils.costs.indexes import faiss_threads, recall_of_hits, ties_with_best
from fico_utils.evaluation.observe import observe
from fico_utils.evaluation.plan import Plan, Request
from fico_utils.evaluation.similarity import ScoreSource
from fico_utils.evaluation.summary import list_scores, middle_95
from fico_utils.evaluation.tasks import Ragged, Task
from fico_utils.extras.deploy.candidates import EXACT, Build, K, Search, make_search
from fico_utils.extras.deploy.inputs import Codes, Part

#: The task metrics, each at the level at which the paper has it.
METRICS = "recall@1,5,10 map@10"
#: Queries of a batch; resamples of a metric that are kept, from which a growth has its interval.
BATCH, DRAWS = 100, 200
#: Columns of the times, and the threads that they are of; None is all.
THREADS = {"query_ms": 1, "query_ms_all_threads": None, "batch_ms": None, "batch_ms_one_thread": 1}


class FoundScores(ScoreSource):
    """Scores (n_query, n_items) of what a search found, at the places `ids` (n_query, k); all else is not ranked."""

    dtype, may_cut = np.dtype(np.float32), True

    def __init__(self, ids: np.ndarray, scores: np.ndarray, n_items: int) -> None:
        self.found, self.scores, self.n_items = ids, scores, n_items

    def n_columns(self, direction: str) -> int:
        """How many items a row of scores holds."""
        return self.n_items

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

    `ids` and `scores` (n_query, k) stand best first; an id of -1, and whatever was not found, counts as not found.
    `task` is of these queries and of the whole gallery.
    """
    # items that nobody found and that no query asks for need no column
    columns = np.unique(np.concatenate([ids[ids >= 0], task.correct.members]))
    at = np.where(ids < 0, -1, np.searchsorted(columns, ids))
    correct = Ragged(task.correct.start, np.searchsorted(columns, task.correct.members))
    asked = replace(task, asking=np.arange(len(ids)), correct=correct)
    if task.labels is not None:
        asked = replace(asked, labels=replace(task.labels, item_owner=task.labels.item_owner[columns]))
    plan = Plan(METRICS)
    seen = observe(FoundScores(at, scores, columns.size), plan=plan, tasks=[asked])
    row: dict[str, Any] = {}
    for score in list_scores(seen, Request(plan.metrics, plan.rules)):
        name, draws = str(score.metric), score.bootstrap()
        low, high = middle_95(draws)
        row |= {name: score.value, f"{name}_ci_low": low, f"{name}_ci_high": high}
        row[f"{name}_draws"] = np.round(draws[:DRAWS], 6).tolist()
    return row


def measure_build(build: Build, part: Part, codes: Codes | None, made_s: float, quick: bool) -> list[dict[str, Any]]:
    """The rows of every way to search one index of a gallery; `codes` are of its items and queries, made in `made_s` s.

    ``build_s`` is with all threads and includes `made_s`. The times are those of `_timed_rounds`, by their columns.
    """
    n, k = len(part.items), min(K, len(part.items))
    vectors = part.items.astype(np.float16) if max(build.depths) else None
    memory, start = PeakMemory(), time.perf_counter()
    with memory:
        index = build.filled_index(part.items if codes is None else codes[0])
    build_s, held = time.perf_counter() - start + made_s, build.written_bytes(index)
    asked, rows = codes and codes[1], []
    searches = [make_search(build, index, variant, vectors, k) for variant in build.variants]
    times = _timed_rounds(searches, part.queries, asked, quick, build.clock)
    for variant, search, spent in zip(build.variants, searches, times, strict=True):
        scores, ids = search(part.queries, asked)
        stored = held + (vectors.nbytes if variant.depth else 0)
        row = {"name": build.title(variant), "factory": build.factory, "items": n, "bytes_per_item": stored / n}
        row |= {"build_s": build_s, "memory_bytes": stored, **spent}
        reached = recall_of_hits(ties_with_best(part.scores(ids), part.best), (1, ids.shape[1]))
        row |= {f"neighbour_recall@{at}": reached[min(at, ids.shape[1])] for at in (1, K)}
        row |= task_scores(ids, scores, part.task) | variant._asdict()
        if build.name == EXACT:
            row["beaten"] = part.beaten.tolist()
        rows.append(row | {"codes": build.codes, "law": build.law, "build_peak_bytes": memory.extra_bytes})
    return rows


def _timed_rounds(
    searches: Sequence[Search], queries: np.ndarray, codes: Any, quick: bool, own_clock: Callable[[], float]
) -> list[dict[str, float]]:
    """Milliseconds of one query, and of a batch of 100, on one thread and on all, by column, for each way to search.

    Medians over rounds in which all take turns, in random order. What runs on one thread is by `own_clock`, in seconds
    of CPU, which are those of a machine that does nothing else; the others are by the clock on the wall. Each is warmed
    up once. One that would use up more than its share of seconds sits out all rounds but the first two.
    """
    rounds, share = (3, 0.15) if quick else (5, 0.4)
    at, rng = np.arange(BATCH) % len(queries), np.random.default_rng(0)
    batch = queries[at], None if codes is None else codes[at]
    singles = [(batch[0][i : i + 1], None if codes is None else batch[1][i : i + 1]) for i in range(BATCH)]

    def time_run(search: Search, parts: Sequence[Any], threads: int | None) -> float:
        clock: Callable[[], float] = time.perf_counter if threads is None else own_clock
        with faiss_threads(threads):
            run = measure_time(lambda: [search(*part) for part in parts], Timing(repeats=1, warmup=0), clock=clock)
        return run.seconds / len(parts)

    runs, samples = [], {}
    for way, search in enumerate(searches):
        warm = min(time_run(search, singles[:1], 1) for _ in range(2))
        n = int(np.clip(share / 2 / rounds / max(warm, 1e-6), 3, BATCH))
        for column, threads in THREADS.items():
            runs.append((way, column, search, singles[:n] if column.startswith("query") else [batch], threads))
            time_run(search, runs[-1][3][:1], threads)
    for turn in range(rounds):
        for i in rng.permutation(len(runs)):
            way, column, search, parts, threads = runs[i]
            before = samples.setdefault((way, column), [])
            if turn < 2 or (sum(before) + max(before)) * len(parts) <= share:
                before.append(time_run(search, parts, threads))
    return [
        {column: 1e3 * float(np.median(samples[way, column])) for column in THREADS} for way in range(len(searches))
    ]
