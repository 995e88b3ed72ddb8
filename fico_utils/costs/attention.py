"""Time of what a system computes at query time, as the gallery grows (Table 6).

Cross attention (SCAN, IMRAM) scores every pair, reranking (BLIP-2, X-VLM) a fixed number of candidates a
query: the paper argues n^2 and n. The exponent is fitted and shown with its interval; beside the time of the
whole gallery stands the cost of one query, which is what a user waits for.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property
from typing import TYPE_CHECKING, Any

import numpy as np

from fico_utils import registry
from fico_utils.artifacts import Recipe
from fico_utils.costs.clock import Measurement, Timing, measure_time
from fico_utils.costs.growth import Cell, Sweep, cell_rows, check_sizes
from fico_utils.errors import InputError

if TYPE_CHECKING:
    from fico_utils.models.contract import RetrievalModel
    from fico_utils.models.serving import Items
    from fico_utils.workspace import Run

#: Raised when the meaning of what is measured here changes.
VERSIONS = {"attention_time": 1}


@dataclass(frozen=True)
class QueryWork:
    """What is computed when queries come: what `attention_rows` measures.

    Attributes
    ----------
    score : callable ``score(n_img, n_txt)``; ranks the first n_img images and the first n_txt texts against each other,
        from what is in memory.
    prepare : callable ``prepare(n_img, n_txt)`` or None, run before each `score`, outside the clock; `score` gets what
        it returns as its third argument.
    ask : callable ``ask(n_img, n_txt)`` or None; asks `asked` queries of a gallery of that size. Without it the cost of
        a query is ``seconds / (n_img + n_txt)``, a query's share of the whole.
    asked : int, queries of one `ask`.
    settings : dict, JSON-able, what the times depend on.
    """

    score: Callable[..., Any]
    prepare: Callable[[int, int], Any] | None = None
    ask: Callable[[int, int], Any] | None = None
    asked: int = 1
    settings: dict[str, Any] = field(default_factory=dict)


def attention_rows(
    work: QueryWork,
    sizes: Sequence[tuple[int, int]],
    *,
    timing: Timing | None = None,
    extrapolate_to: Sequence[tuple[int, int]] = (),
    **columns: Any,
) -> list[dict[str, Any]]:
    """Rows ``seconds`` and ``seconds_per_query`` at each size, and the ``exponent`` of growth.

    The exponent is of n_img; its `spread` is half the width of the 95 % interval. A size that runs out of memory has
    status ``dnf``, and the others are measured.

    Parameters
    ----------
    work : QueryWork
    sizes : (n_img, n_txt) to measure.
    timing : Timing; a size that the fit of at least two smaller ones puts above its limit is extrapolated, not run.
    extrapolate_to : (n_img, n_txt) that are only extrapolated.
    **columns : of `cost_row`: system, corpus, and run, in whose store each size is kept once it was measured.

    Raises
    ------
    InputError
        A size below 1, or too few sizes to extrapolate from.

    Examples
    --------
    >>> rows = attention_rows(QueryWork(lambda n, m: sum(range(n * m))), [(10, 50), (20, 100)], system="scan")
    >>> rows[-1]["quantity"]
    'exponent'
    """
    timing = timing or Timing()
    check_sizes(sizes, extrapolate_to)
    sweep = Sweep()
    columns |= {"device": timing.device}
    for size in sorted(sizes):
        if sweep.exceeds(size[0], timing.limit_s):
            sweep.extrapolate(size)
            continue
        try:
            sweep.cells.append(Cell(size, _kept_times(work, size, timing, columns), "ok"))
        except MemoryError:
            sweep.cells.append(Cell(size, {}, "dnf"))
    for size in sorted(extrapolate_to):
        sweep.extrapolate(size)
    quantities = ("seconds", "seconds_per_query")
    rows = [r for cell in sweep.cells for r in cell_rows(cell, "attention", quantities, **columns)]
    return [*rows, sweep.exponent_row("attention", **columns)]


def _kept_times(
    work: QueryWork, size: tuple[int, int], timing: Timing, columns: dict[str, Any]
) -> dict[str, Measurement]:
    """The measurements at a size, from the run's store or made."""
    run: Run | None = columns.get("run")
    if run is None:
        return _times(work, size, timing)
    system, corpus = columns.get("system", ""), columns.get("corpus", "")
    settings = {"system": system, "corpus": corpus, "size": list(size), "timing": timing.described, **work.settings}
    (times,) = run.store.records(
        "costs/attention",
        f"{system}__{corpus}__{size[0]}x{size[1]}",
        Recipe("attention_time", settings, run.seed),
        lambda: [{name: m.described for name, m in _times(work, size, timing).items()}],
    )
    return {name: Measurement.restored(described) for name, described in times.items()}


def _times(work: QueryWork, size: tuple[int, int], timing: Timing) -> dict[str, Measurement]:
    prepare = None if work.prepare is None else (lambda: work.prepare(*size))
    # what is scored is not kept
    whole = measure_time(lambda *given: work.score(*size, *given) is None, timing, prepare=prepare)
    if work.ask is None:
        one, n_query = whole, sum(size)
    else:
        one, n_query = measure_time(lambda: work.ask(*size) is None, timing), work.asked
    return {"seconds": whole, "seconds_per_query": replace(one, samples=tuple(s / n_query for s in one.samples))}


# ------------------------------------------------------------------------------------------- a system's attention


@dataclass(frozen=True)
class Pairs:
    """A system that reads pairs at query time, over what it keeps of images and of the captions that ask.

    Attributes
    ----------
    system : str, id of the registry.
    model : RetrievalModel
    encode : callable giving the `Items` of images and of captions; called once, when they are first needed.
    """

    system: str
    model: RetrievalModel
    encode: Callable[[], tuple[Items, Items]]

    @property
    def serving(self) -> Any:
        """How the system is served."""
        return registry.system(self.system).serving

    @cached_property
    def items(self) -> tuple[Items, Items]:
        """What is kept of images and captions."""
        return self.encode()

    def score(self, asked: np.ndarray, ids: np.ndarray) -> np.ndarray:
        """Scores (n, k) of captions (n,) with their candidates, images (n, k), or (k,) the same for all."""
        return self.serving.score_candidates(self.model, *self.items, asked, ids)

    def query_work(self, depth: int) -> QueryWork:
        """What is computed when all ask all, and when one image and one caption ask.

        Parameters
        ----------
        depth : int, candidates that a reranker reads a query. Its first ranking is search, not attention: outside the
            first clock, inside that of one query.
        """

        def first(n_img: int, n_txt: int) -> tuple[Items, Items]:
            return self.items[0][:n_img], self.items[1][:n_txt]

        def prepare(n_img: int, n_txt: int) -> np.ndarray | None:
            return self.serving.rank_first(self.model, *first(n_img, n_txt))

        def score(n_img: int, n_txt: int, ranking: np.ndarray | None) -> Any:
            return self.serving.read_pairs(self.model, *first(n_img, n_txt), ranking, depth)

        def ask(n_img: int, n_txt: int) -> None:
            self.serving.answer_query(self.model, *first(1, n_txt), depth)
            self.serving.answer_query(self.model, *first(n_img, 1), depth)

        settings = {"model": {k: v for k, v in self.model.settings.items() if k != "recipe"}}
        return QueryWork(score, prepare, ask, 2, settings | self.serving.settings(depth))


def check_depth(system: str, depth: int, sizes: Sequence[tuple[int, int]]) -> None:
    """InputError where a reranker is to read more candidates than the smallest gallery has."""
    smallest = min(min(size) for size in sizes)
    if registry.system(system).serving.reranks and not 1 <= depth <= smallest:
        raise InputError(
            f"reranking the first {depth} of a gallery of {smallest} was asked for; expected 1 up to the smallest "
            "gallery: choose a smaller rerank_depth or larger attention_scales"
        )
