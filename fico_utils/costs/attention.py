"""Time of what a system computes at query time, as the gallery grows (Table 6).

Cross attention (SCAN, IMRAM) scores every pair, reranking (BLIP-2, X-VLM) a fixed number of candidates a query: the
paper argues n^2 and n. Beside the time of the whole gallery stands the cost of one query, which a user waits for.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from typing import TYPE_CHECKING, Any

import numpy as np

from fico_utils import registry
from fico_utils.artifacts import Recipe
from fico_utils.costs.clock import Measurement, Timing, measure_time
from fico_utils.costs.growth import Cell, Sweep, check_sizes
from fico_utils.errors import InputError

if TYPE_CHECKING:
    from fico_utils.models.contract import RetrievalModel
    from fico_utils.models.serving import Items

#: Raised when the meaning of what is measured here changes.
VERSIONS = {"attention_time": 1}
#: What is measured at each size.
QUANTITIES = ("seconds", "seconds_per_query")


@dataclass(frozen=True)
class QueryWork:
    """What is computed when queries come; its functions take a size, (n_img, n_txt).

    Attributes
    ----------
    score : ranks the first n_img images and the first n_txt texts against each other, from what is in memory.
    prepare : None, or what runs before each `score`, outside the clock; its result is the third argument of `score`.
    ask : None, or what asks `asked` queries of a gallery of that size; without it a query costs its share of the whole,
        ``seconds / (n_img + n_txt)``.
    settings : dict, JSON-able, what the times depend on.
    """

    score: Callable[..., Any]
    prepare: Callable[[int, int], Any] | None = None
    ask: Callable[[int, int], Any] | None = None
    asked: int = 1
    settings: dict[str, Any] = field(default_factory=dict)

    def measure(self, size: tuple[int, int], timing: Timing) -> dict[str, Measurement]:
        """The measurement of each of `QUANTITIES`."""
        prepare = None if self.prepare is None else (lambda: self.prepare(*size))
        # what is scored is not kept
        whole = measure_time(lambda *prepared: self.score(*size, *prepared) is None, timing, prepare=prepare)
        if self.ask is None:
            return dict(zip(QUANTITIES, (whole, whole.shared_by(sum(size))), strict=True))
        one = measure_time(lambda: self.ask(*size) is None, timing).shared_by(self.asked)
        return dict(zip(QUANTITIES, (whole, one), strict=True))


def attention_rows(
    work: QueryWork,
    sizes: Sequence[tuple[int, int]],
    *,
    timing: Timing | None = None,
    extrapolate_to: Sequence[tuple[int, int]] = (),
    **columns: Any,
) -> list[dict[str, Any]]:
    """Rows ``seconds`` and ``seconds_per_query`` at each size (n_img, n_txt), and the ``exponent`` of n_img.

    A size that runs out of memory has status ``dnf``, and the others are measured.

    Parameters
    ----------
    timing : Timing; a size that the fit of at least two smaller ones puts above its limit is extrapolated, not run.
    extrapolate_to : sizes that are only extrapolated.
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
    timing, sweep = timing or Timing(), Sweep()
    check_sizes(sizes, extrapolate_to)
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
    rows = [row for cell in sweep.cells for row in cell.rows("attention", QUANTITIES, **columns)]
    return [*rows, sweep.exponent_row("attention", **columns)]


def _kept_times(
    work: QueryWork, size: tuple[int, int], timing: Timing, columns: dict[str, Any]
) -> dict[str, Measurement]:
    """The measurements at a size, from the run's store or made."""
    run = columns.get("run")
    if run is None:
        return work.measure(size, timing)
    system, corpus = columns.get("system", ""), columns.get("corpus", "")
    settings = {"system": system, "corpus": corpus, "size": list(size), "timing": timing.described, **work.settings}
    (times,) = run.store.records(
        "costs/attention",
        f"{system}__{corpus}__{size[0]}x{size[1]}",
        Recipe("attention_time", settings, run.seed),
        lambda: [{name: m.described for name, m in work.measure(size, timing).items()}],
    )
    return {name: Measurement.restored(described) for name, described in times.items()}


@dataclass(frozen=True)
class Pairs:
    """A system that reads pairs at query time; `encode` gives its `Items` of images and of captions, when needed."""

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

        A reranker reads `depth` candidates a query. Its first ranking is search, not attention: outside the first
        clock, inside that of one query.
        """
        serving, model = self.serving, self.model

        def first(n_img: int, n_txt: int) -> tuple[Items, Items]:
            return self.items[0][:n_img], self.items[1][:n_txt]

        def prepare(n_img: int, n_txt: int) -> np.ndarray | None:
            return serving.rank_first(model, *first(n_img, n_txt))

        def score(n_img: int, n_txt: int, ranking: np.ndarray | None) -> Any:
            return serving.read_pairs(model, *first(n_img, n_txt), ranking, depth)

        def ask(n_img: int, n_txt: int) -> None:
            serving.answer_query(model, *first(1, n_txt), depth)
            serving.answer_query(model, *first(n_img, 1), depth)

        settings = {"model": {k: v for k, v in model.settings.items() if k != "recipe"}}
        return QueryWork(score, prepare, ask, 2, settings | serving.settings(depth))


def check_depth(system: str, depth: int, sizes: Sequence[tuple[int, int]]) -> None:
    """InputError where a reranker is to read more candidates than the smallest gallery has."""
    smallest = min(min(size) for size in sizes)
    if registry.system(system).serving.reranks and not 1 <= depth <= smallest:
        raise InputError(
            f"reranking the first {depth} of a gallery of {smallest} was asked for; expected 1 up to the smallest "
            "gallery: choose a smaller rerank_depth or larger attention_scales"
        )
