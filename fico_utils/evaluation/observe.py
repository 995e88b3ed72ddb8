"""One pass over the blocks of scores: what each query saw."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable
from concurrent.futures import ThreadPoolExecutor
from contextlib import AbstractContextManager, nullcontext
from functools import cache
from itertools import count
from threading import Event
from typing import Any

import numpy as np

from fico_utils.errors import InputError
from fico_utils.evaluation.observations import K, Observations
from fico_utils.evaluation.similarity import OrderedScores, score_source, sortable
from fico_utils.evaluation.tasks import DIRECTIONS, caption_index, correct_items, label_lists
from fico_utils.evaluation.ties import TIES, harmonic_numbers
from fico_utils.machine import usable_cores

#: Bytes of one thread's block beyond which nothing gets faster: floats, and codes (which fit in a cache).
USEFUL_BLOCK = {"f": 2**24, "u": 2**20}


def observe(
    images: Any = None,
    texts: Any = None,
    *,
    similarity: Any = None,
    similarity_t2i: Any = None,
    caption_image: Any = None,
    labels: Any = None,
    measure: str = "cosine",
    bits: int | None = None,
    map_at: Iterable[K] = (10, 100, "N"),
    ties: str = "expected",
    curve: bool = False,
    allow_zero: bool = False,
    block_mib: int = 256,
    sample: int | None = None,
    seed: int = 0,
    threads: int | None = None,
    device: str | None = None,
) -> Observations:
    """Per-query observations of both directions: ranks of the first correct item, average precision, curves.

    Parameters
    ----------
    images, texts, similarity, similarity_t2i, caption_image, labels, measure, bits, ties, curve, allow_zero
        As in `evaluate`.
    map_at : iterable of int or "N"
        The k at which average precision is kept (category level, if labels are given).
    block_mib : int
        Memory for the scores that are held at a time, in MiB (never less than four dozen rows of scores).
    sample : int, optional
        Score only so many queries of each direction, drawn without replacement, against the whole gallery.
    seed : int
        Of that draw.
    threads : int, optional
        Threads to use; by default one for each core this process may use.
    device : str, optional
        A torch device ("cuda") for the matrix product of continuous embeddings.

    Raises
    ------
    InputError
        On anything in the input that has no meaning, naming the row where there is one.

    >>> seen = observe(np.eye(3), np.eye(3)[[0, 0, 1, 2]], caption_image=[0, 0, 1, 2])
    >>> seen.first_hit_rank("t2i")
    array([1., 1., 1., 1.])
    """
    if ties not in TIES:
        raise InputError(f"ties is {ties!r}, expected one of {', '.join(TIES)}")
    if block_mib < 1:
        raise InputError(f"block_mib is {block_mib}, expected a number of MiB from 1")
    map_at = check_k(map_at, "map_at", with_n=True)
    source = score_source(
        images,
        texts,
        similarity=similarity,
        similarity_t2i=similarity_t2i,
        measure=measure,
        bits=bits,
        allow_zero=allow_zero,
        device=device,
    )
    if ties == "index":
        source = OrderedScores(source)
    n_img, n_txt = source.n_img, source.n_txt
    caption_image = caption_index(caption_image, n_img, n_txt)
    correct = correct_items(caption_image, n_img)
    by_image = None if labels is None else label_lists(labels, n_img)
    if sample is not None and sample < 1:
        raise InputError(f"sample is {sample}, expected a number of queries from 1")
    threads = threads or _cores()
    rng = np.random.default_rng(seed)
    directions = {}
    with _one_blas_thread():
        for direction in DIRECTIONS:
            n, m = (n_img, n_txt) if direction == "i2t" else (n_txt, n_img)
            chosen = None if sample is None or sample >= n else np.sort(rng.choice(n, sample, replace=False))
            scorer = _Direction(
                source, direction, caption_image, correct[direction], chosen, by_image, map_at, ties, curve
            )
            width = m * source.dtype.itemsize
            rows = source.tile(direction) or min(
                max(1, min(block_mib * 2**20 // threads, USEFUL_BLOCK[source.dtype.kind]) // width), scorer.units.size
            )
            workers = max(1, min(threads, block_mib * 2**20 // (rows * width)))
            _in_blocks(scorer.score, scorer.units.size, rows, m, source.dtype, workers)
            directions[direction] = scorer.results()
    return Observations(n_img, n_txt, ties, map_at if by_image else (), directions)


def check_k(values: Iterable[K], name: str, with_n: bool = False) -> tuple[K, ...]:
    """The k of a list, checked and without repeats: whole numbers from 1 and, if allowed, "N"."""
    checked = []
    for k in [values] if isinstance(values, (str, int)) else values:
        whole = isinstance(k, (int, np.integer)) and not isinstance(k, bool) and k >= 1
        if not whole and not (with_n and k == "N"):
            raise InputError(f"{name} has {k!r}, expected whole numbers from 1{', or N' if with_n else ''}")
        checked.append(int(k) if whole else "N")
    return tuple(dict.fromkeys(checked))


class _Direction:
    """The scoring of one direction: inputs of the compiled loops and the arrays they fill.

    Queries are worked on in the order of their rows of scores, ``ids``; ``units`` are the rows to ask for, and the
    queries of row ``units[u]`` are those from ``bounds[u]`` to ``bounds[u + 1]``.
    """

    def __init__(self, source, direction, caption_image, correct, chosen, by_image, map_at, ties, curve) -> None:
        self.source, self.direction = source, direction
        # of an ordered source nothing ties
        self.policy = 0 if ties == "index" else TIES.index(ties)
        image_of = {"i2t": np.arange(source.n_img), "t2i": caption_image}
        query_image, self.item_image = image_of[direction], image_of["t2i" if direction == "i2t" else "i2t"]
        chosen = np.arange(query_image.size) if chosen is None else chosen
        ids, columns = source.ids(direction), source.columns(direction)
        ids = chosen if ids is None else ids[chosen]
        self.order = np.argsort(ids, kind="stable")
        self.units, bounds = np.unique(ids[self.order], return_index=True)
        self.bounds = np.append(bounds, ids.size)
        self.ids = ids[self.order]
        chosen = chosen[self.order]
        correct = correct.take(chosen)
        members, self.start = correct.members, correct.start
        if columns is not None:
            self.item_image = self.item_image[columns]
            place = np.empty_like(columns)
            place[columns] = np.arange(columns.size)
            members = place[members]
        self.members = members
        n, m = chosen.size, self.item_image.size
        self.seen = {"image": query_image[chosen], "correct": np.diff(self.start).astype(np.int32)}
        self.seen |= {name: np.zeros(n, np.int32) for name in ("above", "tied", "tied_correct")}
        self.seen["ranked"] = np.full(n, m, np.int32)
        self.by_image = None if by_image is None else (*by_image[0], *by_image[1])
        if by_image is not None:
            k = np.array([m if x == "N" else min(x, m) for x in map_at], dtype=np.int64)
            # the compiled loop wants ascending k
            self.k_order = np.argsort(k, kind="stable")
            self.k, self.harmonic = k[self.k_order], harmonic_numbers(m)
            self.seen |= {name: np.zeros((n, k.size)) for name in ("ap", "found")}
            self.seen |= {"curve": np.zeros((n, 11 if curve else 0)), "relevant": np.zeros(n, np.int32)}

    def results(self) -> dict[str, np.ndarray]:
        """What was seen, in the order of the queries."""
        back = np.argsort(self.order)
        return {name: array[back] for name, array in self.seen.items()}

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
        from fico_utils.evaluation.kernels_category import code_category, score_category
        from fico_utils.evaluation.kernels_instance import instance_rows

        source, seen = self.source, self.seen
        instance_rows(
            scores, first, self.start, self.members, source.may_cut,
            seen["above"], seen["tied"], seen["tied_correct"], seen["ranked"],
        )  # fmt: skip
        if self.by_image is not None and (self.k.size or seen["curve"].size):
            ap, found = np.zeros((2, scores.shape[0], self.k.size))
            if source.bits:
                score, nature = code_category, source.bits
            else:
                score, nature, scores = score_category, seen["ranked"], sortable(scores)
            score(
                scores, first, nature, seen["image"], self.item_image, self.by_image, self.k,
                self.policy, self.harmonic, ap, found, seen["curve"], seen["relevant"],
            )  # fmt: skip
            mine = slice(first, first + ap.shape[0])
            seen["ap"][mine, self.k_order] = ap
            seen["found"][mine, self.k_order] = found


def _cores() -> int:
    """Cores this process may use; no more than OMP_NUM_THREADS, by which others already ask for fewer."""
    cores = usable_cores()
    asked = os.environ.get("OMP_NUM_THREADS", "")
    return max(1, min(cores, int(asked))) if asked.isdigit() else cores


def _in_blocks(
    work: Callable[[int, int, np.ndarray], None], n: int, rows: int, m: int, dtype: np.dtype, threads: int
) -> None:
    """Call ``work(start, stop, buffer)`` for all blocks, each thread taking the next one and owning a buffer."""
    turn = count()
    failed = Event()

    def loop() -> None:
        out = np.empty((rows, m), dtype)
        try:
            while (start := next(turn) * rows) < n and not failed.is_set():
                work(start, min(start + rows, n), out)
        except BaseException:
            failed.set()
            raise

    threads = min(threads, -(-n // rows))
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
    try:
        from threadpoolctl import ThreadpoolController
    except ImportError:
        return None
    return ThreadpoolController()
