"""Time of what a system computes at query time, as the gallery grows (Table 6).

Cross attention (SCAN, IMRAM) scores every pair, reranking (BLIP-2, X-VLM) a fixed number of candidates a query: the
paper argues n^2 and n. Beside the time of the whole gallery stands the cost of one query, which a user waits for.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from functools import cached_property
from typing import TYPE_CHECKING, Any

import numpy as np

from fico_utils import registry
from fico_utils.costs.blocks import size_settings
from fico_utils.costs.clock import Measurement, Timing, measure_time
from fico_utils.costs.rows import Size, Sweep, exponent_row, kept_rows, recipe_of, sweep_sizes

if TYPE_CHECKING:
    from fico_utils.models.contract import RetrievalModel
    from fico_utils.models.serving import Items

#: Raised when the meaning of what is measured here changes.
VERSIONS = {"attention_time": 1}
#: What is measured at each size.
QUANTITIES = ("seconds", "seconds_per_query")


@dataclass(frozen=True)
class Pairs:
    """A system that reads pairs at query time; `encode` gives its `Items` of images and of captions, when needed.

    A reranker reads the first `depth` candidates of a query.
    """

    system: str
    model: RetrievalModel
    encode: Callable[[], tuple[Items, Items]]
    depth: int = 0

    @property
    def serving(self) -> Any:
        """How the system is served."""
        return registry.system(self.system).serving

    @property
    def settings(self) -> dict[str, Any]:
        """What its times depend on, JSON-able."""
        return {"model": size_settings(self.model), **self.serving.settings(self.depth)}

    @cached_property
    def items(self) -> tuple[Items, Items]:
        """What is kept of images and captions."""
        return self.encode()

    def score(self, asked: np.ndarray, ids: np.ndarray) -> np.ndarray:
        """Scores (n, k) of captions (n,) with their candidates, images (n, k), or (k,) the same for all."""
        return self.serving.score_candidates(self.model, *self.items, asked, ids)

    def measure(self, size: Size, timing: Timing) -> dict[str, Measurement]:
        """The `QUANTITIES` of the first n_img images and n_txt captions: all ask all, then one of either side asks.

        The first ranking of a reranker is search, not attention: outside the first clock, inside the second.
        """
        serving, model, depth = self.serving, self.model, self.depth
        images, texts = (items[:n] for items, n in zip(self.items, size, strict=True))

        def read_all(ranking: np.ndarray | None) -> None:
            serving.read_pairs(model, images, texts, ranking, depth)

        def ask_two() -> None:
            serving.answer_query(model, images[:1], texts, depth)
            serving.answer_query(model, images, texts[:1], depth)

        whole = measure_time(read_all, timing, prepare=lambda: serving.rank_first(model, images, texts))
        return {"seconds": whole, "seconds_per_query": measure_time(ask_two, timing).shared_by(2)}


def attention_rows(
    pairs: Pairs,
    sizes: Sequence[Size],
    *,
    timing: Timing | None = None,
    extrapolate_to: Sequence[Size] = (),
    **columns: Any,
) -> list[dict[str, Any]]:
    """Rows ``seconds`` and ``seconds_per_query`` at each size (n_img, n_txt), and the ``exponent`` of n_img.

    A size that runs out of memory has status ``dnf``, and the others are measured. A size that the fit of at least two
    smaller ones puts above the limit of `timing` is extrapolated and not run, as those of `extrapolate_to` are.
    `columns` are of `cost_row`: system, corpus, and run, in whose store each size is kept once it was measured.
    InputError for a size below 1, or too few sizes to extrapolate from.
    """
    timing, system = timing or Timing(), columns.get("system", "")
    columns |= {"device": timing.device}
    sweep = Sweep("attention", QUANTITIES, columns, timing.limit_s)

    def measure(size: Size, names: Sequence[str]) -> dict[str, dict[str, Measurement]]:
        settings = {"system": system, "size": list(size), "timing": timing.described, **pairs.settings}
        recipe = recipe_of("attention_time", columns, settings)
        name = f"{system}__{columns.get('corpus', '')}__{size[0]}x{size[1]}"

        def build() -> list[dict[str, Any]]:
            return [{quantity: asdict(measured) for quantity, measured in pairs.measure(size, timing).items()}]

        try:
            (times,) = kept_rows(columns, "attention", name, recipe, build)
        except MemoryError:
            times = {}
        return {system: {quantity: Measurement(**measured) for quantity, measured in times.items()}}

    sweep_sizes({system: sweep}, sizes, measure, extrapolate_to)
    return [*sweep.rows, exponent_row(*sweep.measured(), "attention", **columns)]
