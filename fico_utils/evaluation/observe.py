"""One pass over the blocks of scores: what each query saw."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable
from concurrent.futures import ThreadPoolExecutor
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass
from functools import cache
from typing import Any

import numpy as np

from fico_utils.errors import InputError
from fico_utils.evaluation.metrics import DEFAULT_METRICS, Metric, parse_metrics
from fico_utils.evaluation.observations import FOUND, K, Observations
from fico_utils.evaluation.similarity import OrderedScores, Source, sortable_words
from fico_utils.evaluation.tasks import (
    CATEGORY,
    INSTANCE,
    LEVELS,
    Ragged,
    caption_index,
    group_members,
    label_lists,
)
from fico_utils.evaluation.ties import TIES, harmonic_numbers
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
    source: Source,
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
    source : Source, of the scores, see `score_source`.
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
    plan = plan or Plan()
    if plan.ties == "index":
        source = OrderedScores(source)
    index = caption_index(caption_image, source.n_img, source.n_txt)
    images, captions = np.arange(source.n_img), np.arange(source.n_txt)
    lists = None if labels is None else label_lists(labels, source.n_img)
    # the image of each query and of each item, and the correct items of each query
    sides = {
        "i2t": (images, index, group_members(index, captions, source.n_img)),
        "t2i": (index, images, Ragged(np.arange(source.n_txt + 1, dtype=np.int64), index)),
    }
    threads = threads or _usable_threads()
    rng = np.random.default_rng(plan.seed)
    directions = {}
    with _one_blas_thread():
        for direction, side in sides.items():
            n = side[0].size
            drawn = plan.sample is not None and plan.sample < n
            chosen = np.sort(rng.choice(n, plan.sample, replace=False)) if drawn else np.arange(n)
            observer = _Observer(source, direction, side, lists, chosen, plan)
            width, bytes_in_all = observer.n_item * source.dtype.itemsize, block_mib * 2**20
            useful = min(bytes_in_all // threads, USEFUL_BLOCK[source.dtype.kind])
            rows = source.tile[direction] or min(max(1, useful // width), observer.units.size)
            workers = max(1, min(threads, bytes_in_all // (rows * width)))
            _score_blocks(observer.score, observer.units.size, (rows, observer.n_item), source.dtype, workers)
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
        source: Source,
        direction: str,
        side: tuple[np.ndarray, np.ndarray, Ragged],
        lists: tuple[Ragged, Ragged] | None,
        chosen: np.ndarray,
        plan: Plan,
    ) -> None:
        from fico_utils.evaluation.kernels_category import Marks
        from fico_utils.evaluation.kernels_instance import Counts

        self.source, self.direction = source, direction
        # of an ordered source nothing ties
        self.policy = 0 if plan.ties == "index" else TIES.index(plan.ties)
        query_image, self.item_image, correct = side
        ids, columns = source.ids[direction], source.columns[direction]
        ids = chosen if ids is None else ids[chosen]
        self.order = np.argsort(ids, kind="stable")
        self.units, bounds = np.unique(ids[self.order], return_index=True)
        self.bounds = np.append(bounds, ids.size)
        chosen = chosen[self.order]
        self.query_image, self.correct = query_image[chosen], correct.take(chosen)
        if columns is not None:
            self.item_image = self.item_image[columns]
            place = np.empty_like(columns)
            place[columns] = np.arange(columns.size)
            self.correct = self.correct._replace(members=place[self.correct.members])
        n, m = self.query_image.size, self.item_image.size
        self.n_item, self.k, self.k_column = m, {}, {}
        for level in LEVELS:
            k = np.array([m if x == "N" else min(x, m) for x in plan.ks(level)], dtype=np.int64)
            self.k[level], self.k_column[level] = np.unique(k, return_inverse=True)
        above, tied, tied_correct = np.zeros((3, n), np.int32)
        found = np.zeros((n, self.k[INSTANCE].size))
        self.counts = Counts(above, tied, tied_correct, np.full(n, m, np.int32), found)
        self.marks = None
        if lists is not None:
            self.labels, self.harmonic = (*lists[0], *lists[1]), harmonic_numbers(m)
            ap, found = np.zeros((2, n, self.k[CATEGORY].size))
            self.marks = Marks(ap, found, np.zeros((n, 11 if plan.curve else 0)), np.zeros(n, np.int32))

    def results(self) -> dict[str, np.ndarray]:
        """What was seen, in the order of the queries and of the k asked for."""
        back = np.argsort(self.order)
        seen = {"image": self.query_image, "correct": np.diff(self.correct.start).astype(np.int32)}
        seen |= self.counts._asdict()
        seen[FOUND[INSTANCE]] = seen.pop("found")[:, self.k_column[INSTANCE]]
        if self.marks is not None:
            seen |= self.marks._asdict()
            seen |= {name: seen[name][:, self.k_column[CATEGORY]] for name in ("ap", "found")}
        return {name: array[back] for name, array in seen.items()}

    def score(self, start: int, stop: int, out: np.ndarray) -> None:
        """Score the queries of the units ``start ... stop`` and keep what they saw."""
        numbers = self.units[start:stop]
        if numbers[-1] - numbers[0] == stop - start - 1:
            numbers = slice(int(numbers[0]), int(numbers[-1]) + 1)
        scores = self.source.rows(self.direction, numbers, out)
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
        if self.k[INSTANCE].size:
            count_found(scores, first, *self.correct, self.k[INSTANCE], self.policy, self.counts)
        if self.marks is not None and (self.k[CATEGORY].size or self.marks.curve.size):
            bits = self.source.bits or None
            mark_block(
                scores if bits else sortable_words(scores), first, bits, self.counts.ranked,
                (self.query_image, self.item_image), self.labels, self.k[CATEGORY], self.policy, self.harmonic, self.marks,
            )  # fmt: skip


def _usable_threads() -> int:
    """Cores this process may use; no more than OMP_NUM_THREADS, by which others already ask for fewer."""
    asked = os.environ.get("OMP_NUM_THREADS", "")
    return max(1, min(usable_cores(), int(asked))) if asked.isdigit() else usable_cores()


def _score_blocks(
    work: Callable[[int, int, np.ndarray], None], n: int, shape: tuple[int, int], dtype: np.dtype, threads: int
) -> None:
    """Call ``work(start, stop, buffer)`` for all blocks, each thread taking the next one and owning a buffer."""
    starts = iter(range(0, n, shape[0]))

    def loop() -> None:
        out = np.empty(shape, dtype)
        try:
            for start in starts:
                work(start, min(start + shape[0], n), out)
        finally:
            for _ in starts:  # after an error the other threads find nothing more to do
                pass

    threads = min(threads, -(-n // shape[0]))
    if threads == 1:
        loop()
        return
    with ThreadPoolExecutor(threads) as pool:
        for done in [pool.submit(loop) for _ in range(threads)]:
            done.result()


def _one_blas_thread() -> AbstractContextManager:
    """Keep BLAS from starting threads of its own beside ours, where threadpoolctl is installed."""
    controller = _blas_controller()
    return nullcontext() if controller is None else controller.limit(limits=1, user_api="blas")


@cache
def _blas_controller() -> Any:
    """Made once, as it looks through all loaded libraries, which takes milliseconds."""
    try:
        from threadpoolctl import ThreadpoolController
    except ImportError:
        return None
    return ThreadpoolController()
