"""One index at one size: built, written, searched, timed and scored; a dict for each way to search it."""

from __future__ import annotations

import ctypes
import time
from collections.abc import Collection
from contextlib import suppress
from dataclasses import replace
from typing import Any

import numpy as np

from fico_utils.costs.clock import PeakMemory
from fico_utils.costs.indexes import recall_of_hits, ties_with_best
from fico_utils.evaluation.observe import observe
from fico_utils.evaluation.plan import Plan, Request
from fico_utils.evaluation.similarity import ScoreSource
from fico_utils.evaluation.summary import list_scores, middle_95
from fico_utils.evaluation.tasks import Ragged, Task
from fico_utils.extras.deploy.candidates import EXACT, Build, find_all, make_search
from fico_utils.extras.deploy.inputs import Codes, K, Part
from fico_utils.extras.deploy.timing import Rounds, time_searches

#: The task metrics, each at the level at which the paper has it.
METRICS = "recall@1,5,10 map@10"
#: Resamples of a metric that are kept, from which a growth has its interval; rounds from which a time has one.
DRAWS, SURE = 200, 20


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


def measure_build(build: Build, part: Part, codes: Codes | None, made_s: float, rounds: Rounds) -> list[dict[str, Any]]:
    """The rows of every way to search one index of a gallery; `codes` are of its items and queries, made in `made_s` s.

    ``build_s`` is with all threads, but for product quantisers, and includes `made_s`. The times are those of
    `time_searches`, by their columns.
    """
    n, k = len(part.items), min(K, len(part.items))
    vectors = part.halves if max(build.depths) else None
    memory, start = PeakMemory(), time.perf_counter()
    with memory:
        index = build.filled_index(part.items if codes is None else codes[0], part.folder)
    build_s, held = time.perf_counter() - start + made_s, build.written_bytes(index)
    asked, rows = codes and codes[1], []
    searches = [make_search(build, index, variant, vectors, k) for variant in build.variants]
    times = time_searches(searches, part.queries, asked, rounds, build.clock)
    found = [part.nearest] if build.name == EXACT else find_all(build, index, n, vectors, part.queries, asked)
    for variant, spent, (scores, ids) in zip(build.variants, times, found, strict=True):
        stored = held + (vectors.nbytes if variant.depth else 0)
        row = {"name": build.title(variant), "factory": build.factory, "items": n, "bytes_per_item": stored / n}
        row |= {"build_s": build_s, "memory_bytes": stored, **spent.row()}
        if rounds.n >= SURE:
            row |= spent.interval("query_ms")
        reached = recall_of_hits(ties_with_best(part.scores(ids), part.best), (1, ids.shape[1]))
        row |= {f"neighbour_recall@{at}": reached[min(at, ids.shape[1])] for at in (1, K)}
        row |= task_scores(ids, scores, part.task) | variant._asdict()
        if build.name == EXACT:
            row |= {"beaten": part.beaten.tolist(), "others": part.n_others}
        rows.append(row | {"codes": build.codes, "law": build.law, "build_peak_bytes": memory.extra_bytes})
    return rows


def release_memory() -> None:
    """Give what was freed back to the system, which Linux's allocator else keeps, for another index to be built in.

    From then on, arrays of a mebibyte and more go back as soon as they are freed.
    """
    with suppress(AttributeError, OSError, TypeError):
        ctypes.CDLL(None).mallopt(-3, 2**20)  # M_MMAP_THRESHOLD, which grows with what is freed where nobody sets it
        ctypes.CDLL(None).malloc_trim(0)


def measure_again(
    build: Build, names: Collection[str], part: Part, codes: Codes | None, rounds: Rounds
) -> list[dict[str, Any]]:
    """The times of some ways to search one index, by name, from an index that is built anew.

    ``query_ms_low`` and ``query_ms_high`` are the ends of the interval that holds 95 % of the rounds.
    """
    variants = [variant for variant in build.variants if build.title(variant) in names]
    vectors = part.halves if max(build.depths) else None
    index = build.filled_index(part.items if codes is None else codes[0], part.folder)
    searches = [make_search(build, index, variant, vectors, min(K, len(part.items))) for variant in variants]
    times = time_searches(searches, part.queries, codes and codes[1], rounds, build.clock)
    return [
        {"name": build.title(variant), **spent.row(), **spent.interval("query_ms")}
        for variant, spent in zip(variants, times, strict=True)
    ]
