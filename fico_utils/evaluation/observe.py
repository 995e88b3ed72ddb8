"""One pass over the blocks of scores: what each query saw."""

from __future__ import annotations

import os
import threading
from collections.abc import Callable, Iterable
from concurrent.futures import ThreadPoolExecutor
from contextlib import AbstractContextManager
from dataclasses import dataclass
from functools import cache
from typing import Any

import numpy as np

from fico_utils.errors import InputError
from fico_utils.evaluation.metrics import DEFAULT_METRICS, Metric, parse_metrics
from fico_utils.evaluation.observations import K, Observations
from fico_utils.evaluation.similarity import ScoreSource, break_ties, sortable_words
from fico_utils.evaluation.tasks import (
    CATEGORY,
    EXPECTED,
    INSTANCE,
    LEVELS,
    TIES,
    Ragged,
    caption_index,
    group_members,
    label_lists,
)
from fico_utils.evaluation.ties import harmonic_numbers
from fico_utils.machine import usable_cores

#: Bytes of one thread's block beyond which nothing gets faster: floats, and codes (which fit in a cache).
USEFUL_BLOCK = {"f": 2**24, "u": 2**20}


@dataclass(frozen=True)
class Plan:
    """What is kept of each query; InputError on a metric, an order of ties or a sample that has no meaning.

    Of the metrics, recall and ranks need nothing of their own; the k of average precision and precision can only be
    kept while scores are at hand.
    """

    metrics: str | Iterable[Metric] = DEFAULT_METRICS
    ties: str = "expected"
    curve: bool = False  # keep the 11-point curve, if there are labels
    sample: int | None = None  # score only so many queries a direction, drawn at random, against the whole gallery
    seed: int = 0  # of that draw

    def __post_init__(self) -> None:
        object.__setattr__(self, "metrics", parse_metrics(self.metrics))
        if self.ties not in TIES:
            raise InputError(f"ties is {self.ties!r}, expected one of {', '.join(TIES)}")
        if self.sample is not None and self.sample < 1:
            raise InputError(f"sample is {self.sample}, expected a number of queries from 1")

    def ks(self, level: str) -> tuple[K, ...]:
        """The k of one level at which something is kept."""
        kept = [metric.k for metric in self.metrics if metric.entry.kept and level in metric.entry.levels]
        return tuple(dict.fromkeys(kept))


def observe(
    source: ScoreSource,
    caption_image: Any = None,
    labels: Any = None,
    plan: Plan | None = None,
    *,
    block_mib: int = 256,
    threads: int | None = None,
) -> Observations:
    """Per-query observations of both directions: ranks of the first correct item, average precision, curves.

    Parameters
    ----------
    source : ScoreSource, of the scores, see `score_source`.
    caption_image, labels : as in `evaluate`; what has no meaning is an InputError that names the row.
    plan : Plan, what is kept.
    block_mib : int, memory for the scores that are held at a time, in MiB (never less than four dozen rows of scores).
    threads : int, by default one for each core this process may use. Neither changes the result.

    >>> from fico_utils.evaluation import score_source
    >>> seen = observe(score_source(np.eye(3), np.eye(3)[[0, 0, 1, 2]]), caption_image=[0, 0, 1, 2])
    >>> seen.first_hit_rank("t2i")
    array([1., 1., 1., 1.])
    """
    if block_mib < 1:
        raise InputError(f"block_mib is {block_mib}, expected a number of MiB from 1")
    plan, threads, bytes_in_all = plan or Plan(), threads or _usable_threads(), block_mib * 2**20
    index = caption_index(caption_image, source.n_img, source.n_txt)
    lists = None if labels is None else label_lists(labels, source.n_img)
    # the image of each query and of each item
    images = {"i2t": (np.arange(source.n_img), index), "t2i": (index, np.arange(source.n_img))}
    directions, rng = {}, np.random.default_rng(plan.seed)
    with _blas_limit()(limits=1, user_api="blas"):
        for direction, (query_image, item_image) in images.items():
            n, width = query_image.size, item_image.size * source.dtype.itemsize
            drawn = plan.sample is not None and plan.sample < n
            chosen = np.sort(rng.choice(n, plan.sample, replace=False)) if drawn else np.arange(n)
            observer = _Observer(source, direction, query_image, item_image, lists, chosen, plan)
            useful = min(bytes_in_all // threads, USEFUL_BLOCK[source.dtype.kind])
            rows = source.tile[direction] or min(max(1, useful // width), observer.units.size)
            workers = max(1, min(threads, bytes_in_all // (rows * width)))
            _score_blocks(observer.score, observer.units.size, (rows, item_image.size), source.dtype, workers)
            directions[direction] = observer.results()
    ks = {level: plan.ks(level) if level == INSTANCE or lists else () for level in LEVELS}
    return Observations(source.n_img, source.n_txt, plan.ties, ks, directions)


class _Observer:
    """The scoring of one direction: inputs of the compiled loops and the arrays they fill.

    Queries are worked on in the order of their rows of scores, ``ids``; ``units`` are the rows to ask for, and the
    queries of row ``units[u]`` are those from ``bounds[u]`` to ``bounds[u + 1]``.
    """

    def __init__(
        self,
        source: ScoreSource,
        direction: str,
        query_image: np.ndarray,
        item_image: np.ndarray,
        lists: tuple[Ragged, Ragged] | None,
        chosen: np.ndarray,
        plan: Plan,
    ) -> None:
        from fico_utils.evaluation.kernels_category import Marks
        from fico_utils.evaluation.kernels_instance import Counts

        self.source, self.direction, self.by_index = source, direction, plan.ties == "index"
        self.policy = EXPECTED if self.by_index else TIES.index(plan.ties)  # places, by which we rank then, never tie
        ids = chosen if source.ids[direction] is None else source.ids[direction][chosen]
        self.order = np.argsort(ids, kind="stable")
        self.units, bounds = np.unique(ids[self.order], return_index=True)
        self.bounds = np.append(bounds, ids.size)
        query_image = query_image[chosen[self.order]]
        n, m = query_image.size, item_image.size
        self.correct = group_members(item_image, np.arange(m), source.n_img).take(query_image)
        columns = source.columns[direction]
        if columns is not None and not self.by_index:
            item_image = item_image[columns]
            self.correct = self.correct._replace(members=np.argsort(columns)[self.correct.members])
        self.images = query_image, item_image
        ks = {level: np.array([m if k == "N" else min(k, m) for k in plan.ks(level)], np.int64) for level in LEVELS}
        self.ks, (self.marked_ks, self.columns) = ks[INSTANCE], np.unique(ks[CATEGORY], return_inverse=True)
        above, tied, tied_correct = np.zeros((3, n), np.int32)
        self.counts = Counts(above, tied, tied_correct, np.full(n, m, np.int32), np.zeros((n, self.ks.size)))
        self.marks = None
        if lists is not None:
            self.labels, self.harmonic = (*lists[0], *lists[1]), harmonic_numbers(m)
            ap, found = np.zeros((2, n, self.marked_ks.size))
            self.marks = Marks(ap, found, np.zeros((n, 11 if plan.curve else 0)), np.zeros(n, np.int32))

    def results(self) -> dict[str, np.ndarray]:
        """What was seen, in the order of the queries and of the k asked for."""
        seen = {"image": self.images[0], "correct": np.diff(self.correct.start).astype(np.int32)}
        seen |= self.counts._asdict()
        if self.marks is not None:
            seen |= self.marks._asdict()
            seen |= {name: seen[name][:, self.columns] for name in ("ap", "found")}
        back = np.argsort(self.order)
        return {name: array[back] for name, array in seen.items()}

    def score(self, start: int, stop: int, out: np.ndarray) -> None:
        """Score the queries of the units ``start ... stop`` and keep what they saw."""
        numbers = self.units[start:stop]
        if numbers[-1] - numbers[0] == stop - start - 1:
            numbers = slice(int(numbers[0]), int(numbers[-1]) + 1)
        scores = self.source.rows(self.direction, numbers, out)
        if self.by_index:
            scores = break_ties(scores, self.source.columns[self.direction])
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
        from fico_utils.evaluation.kernels_category import mark_block
        from fico_utils.evaluation.kernels_instance import count_found, count_instances

        count_instances(scores, first, *self.correct, self.source.may_cut, self.counts)
        if self.ks.size:
            count_found(scores, first, *self.correct, self.ks, self.policy, self.counts)
        if self.marks is not None and (self.marked_ks.size or self.marks.curve.size):
            bits = None if self.by_index else self.source.bits
            words = sortable_words(scores) if bits is None else scores
            how = self.labels, self.marked_ks, self.policy, self.harmonic, self.marks
            mark_block(words, first, bits, self.counts.ranked, self.images, *how)


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
