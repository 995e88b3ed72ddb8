"""One pass over the blocks of scores: what each query saw."""

from __future__ import annotations

import os
import threading
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import AbstractContextManager
from functools import cache
from typing import Any

import numpy as np

from fico_utils.errors import InputError
from fico_utils.evaluation import kernels_instance as kernels
from fico_utils.evaluation.compiling import fastest
from fico_utils.evaluation.kernels_ranking import rank_block
from fico_utils.evaluation.levels import Level
from fico_utils.evaluation.observations import Observations
from fico_utils.evaluation.plan import Plan
from fico_utils.evaluation.relevance import image_text_tasks
from fico_utils.evaluation.similarity import ScoreSource, sortable_words
from fico_utils.evaluation.tasks import INSTANCE, Task
from fico_utils.machine import usable_cores

#: Bytes of one thread's block beyond which nothing gets faster: floats, and codes (which fit in a cache).
USEFUL_BLOCK = {"f": 2**24, "u": 2**20}
#: Bytes of the groups of some queries, which a thread makes and measures before those of the next.
GROUPS = 2**23


def observe(
    source: ScoreSource,
    caption_image: Any = None,
    labels: Any = None,
    plan: Plan | None = None,
    *,
    tasks: Sequence[Task] = (),
    block_mib: int = 256,
    threads: int | None = None,
) -> Observations:
    """Per-query observations of all directions: ranks of the first relevant item, average precision, curves.

    Parameters
    ----------
    source : ScoreSource, of the scores, see `score_source`.
    caption_image, labels : as in `evaluate`; what has no meaning is an InputError that names the row.
    plan : Plan, what is kept.
    tasks : Task, instead of caption_image and labels, one for each direction of the source.
    block_mib : int, memory for the scores that are held at a time, in MiB (never less than four dozen rows of scores).
    threads : int, by default one for each core this process may use. Neither changes the result.

    Examples
    --------
    >>> from fico_utils.evaluation import score_source
    >>> seen = observe(score_source(np.eye(3), np.eye(3)[[0, 0, 1, 2]]), caption_image=[0, 0, 1, 2])
    >>> seen.first_hit_rank("t2i")
    array([1., 1., 1., 1.])
    """
    if block_mib < 1:
        raise InputError(f"block_mib is {block_mib}, expected a number of MiB from 1")
    plan, threads, bytes_in_all = plan or Plan(), threads or _usable_threads(), block_mib * 2**20
    if plan.radii and max(plan.radii) > (source.bits or 0):
        given = f"codes of {source.bits} bits" if source.bits else "no hash codes (measure hamming)"
        raise InputError(f"radius{max(plan.radii)} is a Hamming distance, and the input has {given}")
    tasks = tasks or image_text_tasks(*source.shape, caption_image, labels)
    seen, sizes, rng = {}, {}, np.random.default_rng(plan.seed)
    with _blas_limit()(limits=1, user_api="blas"):
        for task in (task.sample(plan.sample, rng) for task in tasks):
            observer = _Observer(source, task, plan, min(GROUPS, bytes_in_all // 8))
            width = source.n_columns(task.direction)
            useful = min(bytes_in_all // threads, USEFUL_BLOCK[source.dtype.kind])
            rows = source.tile[task.direction] or min(
                max(1, useful // (width * source.dtype.itemsize)), task.asking.size
            )
            workers = max(1, min(threads, bytes_in_all // (rows * width * source.dtype.itemsize)))
            _score_blocks(observer.score, observer.units.size, (rows, width), source.dtype, workers)
            seen[task.direction], sizes[task.direction] = observer.results(), task.n_item
    columns = {level: plan.columns(level) for level in tasks[0].levels}
    return Observations(sizes, columns, seen, plan.rules, plan.radii)


class _Observer:
    """The scoring of one direction: inputs of the compiled loops and the arrays they fill.

    Queries are worked on in the order of their rows of scores, ``ids``; ``units`` are the rows to ask for, and the
    queries of row ``units[u]`` are those from ``bounds[u]`` to ``bounds[u + 1]``.
    """

    def __init__(self, source: ScoreSource, task: Task, plan: Plan, room: int) -> None:
        ids = task.asking if source.ids[task.direction] is None else source.ids[task.direction][task.asking]
        self.order = np.argsort(ids, kind="stable")
        self.units, bounds = np.unique(ids[self.order], return_index=True)
        self.bounds = np.append(bounds, ids.size)
        self.source, self.task, self.plan, self.room = source, task.take(self.order), plan, room
        task, n, width = self.task, self.task.asking.size, source.n_columns(task.direction)
        self.columns = source.columns[task.direction]
        self.sorted_columns, places = None, np.arange(width)  # where each item stands
        if self.columns is not None:
            places = np.argsort(self.columns)
            if plan.by_index:
                self.sorted_columns, self.columns, places = places, None, np.arange(width)
        self.lowest = source.dtype.type(0 if source.bits else -np.inf)
        self.ranked, self.balls = np.full(n, task.n_item, np.int32), np.zeros((n, len(plan.radii)), np.int32)
        self.least = np.array([max(1, source.bits + 1 - radius) for radius in plan.radii], np.int64)
        self.left_out = places[task.asking] if task.leaves_out else np.zeros(0, np.int64)
        self.correct = task.correct and task.correct._replace(members=places[task.correct.members])
        self.judged = (np.zeros(0), np.zeros(0))
        if task.grades is not None:
            self.judged = task.grades, task.grades if plan.linear_gain else 2.0**task.grades - 1
        if task.labels is not None:
            item_owner = task.labels.item_owner if self.columns is None else task.labels.item_owner[self.columns]
            held = np.bincount(item_owner, minlength=task.labels.n_owners + 1)
            self.owners = task.labels.query_owner, item_owner, held
            self.lists = (*task.labels.of_owner, *task.labels.members)
        self.levels = [Level(level, task, plan, width) for level in task.levels]

    def results(self) -> dict[str, np.ndarray]:
        """What was seen, in the order of the queries."""
        seen = {"query": self.task.asking, "image": self.task.unit, "ranked": self.ranked, "balls": self.balls}
        for level in self.levels:
            seen |= {f"{level.level}/{name}": array for name, array in level.results(self.task.n_item).items()}
        back = np.argsort(self.order)
        return {name: array[back] for name, array in seen.items()}

    def score(self, start: int, stop: int, out: np.ndarray) -> None:
        """Score the queries of the units ``start ... stop`` and keep what they saw."""
        numbers = self.units[start:stop]
        if numbers[-1] - numbers[0] == stop - start - 1:
            numbers = slice(int(numbers[0]), int(numbers[-1]) + 1)
        scores = self.source.rows(self.task.direction, numbers, out)
        if self.sorted_columns is not None:
            scores = np.take(scores, self.sorted_columns, axis=1, mode="clip")
        first, last = self.bounds[start], self.bounds[stop]
        if last - first == stop - start:
            self._keep(scores, first)
            return
        # some queries are equal: each looks for its own items in the same row
        row = np.repeat(np.arange(stop - start), np.diff(self.bounds[start : stop + 1]))
        for begin in range(0, row.size, out.shape[0]):
            self._keep(scores[row[begin : begin + out.shape[0]]], first + begin)

    def _keep(self, scores: np.ndarray, first: int) -> None:
        """Count and rank for the queries from ``first``, one for each row of ``scores``."""
        if self.left_out.size:
            scores[np.arange(len(scores)), self.left_out[first : first + len(scores)]] = self.lowest
        if self.source.may_cut:
            fastest(kernels.count_ranked, scores.size)(scores, first, self.lowest, self.ranked)
        if self.plan.radii and (self.task.labels is None or not self.levels[-1].is_grouped):
            least = self.least.astype(scores.dtype)
            fastest(kernels.count_balls, scores.size)(scores, first, least, self.balls)
        for level in reversed(self.levels):  # a ranking counts the balls, too
            if level.is_grouped:
                self._measure(level, scores, first)
            elif level.level == INSTANCE:
                counts = kernels.Counts(*(level.filled[name] for name in kernels.Counts._fields))
                count = fastest(kernels.count_instances, scores.size)
                count(scores, first, *self.correct, self.lowest, self.ranked, counts)

    def _measure(self, level: Level, scores: np.ndarray, first: int) -> None:
        """Find the groups of some queries at one level, and measure them."""
        instance, highest = level.level == INSTANCE, None if self.source.bits is None else self.source.bits + 1
        width = scores.shape[1] if highest is None else min(scores.shape[1], highest)
        block = level.block(len(scores), level.n_listed if instance else width, self.room)
        for begin in range(0, len(scores), len(block.n)):
            part, at = scores[begin : begin + len(block.n)], first + begin
            if instance:
                group = fastest(kernels.group_correct, part.size)
                group(part, at, *self.correct, self.judged, self.lowest, block)
            else:
                words = part if highest else sortable_words(part)
                seen = self.ranked, level.relevant, self.balls, self.least
                rank = fastest(rank_block, part.size)
                rank(words, at, highest, level.depths, self.owners, self.left_out, self.lists, block, seen)
            level.measure(block, at, len(part), (self.ranked, self.balls, self.task.n_item))


def _usable_threads() -> int:
    """Cores this process may use; no more than OMP_NUM_THREADS, by which others already ask for fewer."""
    asked = os.environ.get("OMP_NUM_THREADS", "")
    return max(1, min(usable_cores(), int(asked))) if asked.isdigit() else usable_cores()


def _score_blocks(
    work: Callable[[int, int, np.ndarray], None], n: int, shape: tuple[int, int], dtype: np.dtype, threads: int
) -> None:
    """Call ``work(start, stop, buffer)`` for all blocks of ``shape[0]`` rows; each thread has a buffer of its own."""
    thread = threading.local()

    def score(start: int) -> None:
        if not hasattr(thread, "buffer"):
            thread.buffer = np.empty(shape, dtype)
        work(start, min(start + shape[0], n), thread.buffer)

    with ThreadPoolExecutor(threads) as pool:
        for _ in pool.map(score, range(0, n, shape[0])):  # ends at the first error
            pass


@cache
def _blas_limit() -> Callable[..., AbstractContextManager]:
    """What keeps BLAS from starting threads beside ours; made once, as it looks through all loaded libraries.

    A product on several threads is also added up in another order, and differs in its last digits.
    """
    from threadpoolctl import ThreadpoolController

    return ThreadpoolController().limit
