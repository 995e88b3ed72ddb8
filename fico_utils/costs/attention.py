"""Time of what a system computes at query time, as the gallery grows (Table 6).

Cross attention (SCAN, IMRAM) scores every pair, reranking (BLIP-2, X-VLM) a fixed number of candidates a
query: the paper argues n^2 and n. The exponent is fitted and shown with its interval; beside the time of the
whole gallery stands the cost of one query, which is what a user waits for.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from fico_utils import registry
from fico_utils.costs.clock import Timing, measure, native_threads
from fico_utils.costs.growth import cell_rows, exponent_row, sweep
from fico_utils.costs.kept import kept_timings
from fico_utils.costs.stages import model_key
from fico_utils.errors import InputError
from fico_utils.workspace import key_of, source_key

if TYPE_CHECKING:
    from fico_utils.models.contract import RetrievalModel
    from fico_utils.models.training import Inputs

VERSIONS = {"attention_time": 1}


def attention_rows(
    score: Callable[..., Any],
    sizes: Sequence[tuple[int, int]],
    *,
    prepare: Callable[[int, int], Any] | None = None,
    ask: Callable[[int, int], Any] | None = None,
    asked: int = 1,
    limit_s: float | None = None,
    extrapolate_to: Sequence[tuple[int, int]] = (),
    parts: Path | None = None,
    key: str = "",
    device: str = "cpu",
    repeats: int = 5,
    warmup: int = 1,
    budget_s: float | None = None,
    **columns: Any,
) -> list[dict[str, Any]]:
    """Rows ``seconds`` and ``seconds_per_query`` at each size, and the ``exponent`` of growth.

    The exponent is of n_img; its `spread` is half the width of the 95 % interval.

    Parameters
    ----------
    score : callable ``score(n_img, n_txt)``; ranks the first n_img images and the first n_txt texts against
        each other, from features already in memory.
    sizes : (n_img, n_txt) to measure.
    prepare : callable ``prepare(n_img, n_txt)`` or None, run before each `score`, outside the clock; `score` gets
        what it returns as its third argument.
    ask : callable ``ask(n_img, n_txt)`` or None; asks `asked` queries of a gallery of that size. Without it the
        cost per query is ``seconds / (n_img + n_txt)``, a query's share of the whole.
    asked : int, queries of one `ask`.
    limit_s : float or None, s; a size that the fit of smaller ones puts above it is extrapolated, not run.
    extrapolate_to : (n_img, n_txt) that are only extrapolated.
    parts : Path or None, folder of part files: sizes that were measured are kept there and not measured again.
    key : str, of what is timed; part files of another are measured again.
    device : ``cpu`` or ``cuda``.
    repeats, warmup, budget_s : of `measure`.
    **columns : of `row`: system, corpus, run.

    Raises
    ------
    InputError
        A size below 1, a limit or budget that is not positive, or too few sizes to extrapolate from.

    Examples
    --------
    >>> rows = attention_rows(lambda n, m: sum(range(n * m)), [(10, 50), (20, 100)], system="scan")
    >>> rows[-1]["quantity"]
    'exponent'
    """
    protocol = {"device": device, "repeats": repeats, "warmup": warmup, "budget_s": budget_s}

    def time_at(n_img: int, n_txt: int) -> dict[str, Timing]:
        before = None if prepare is None else (lambda: prepare(n_img, n_txt))
        # what is scored is not kept
        whole = measure(lambda *given: score(n_img, n_txt, *given) is None, prepare=before, **protocol)
        if ask is None:
            one, n_query = whole, n_img + n_txt
        else:
            one, n_query = measure(lambda: ask(n_img, n_txt) is None, **protocol), asked
        return {"seconds": whole, "seconds_per_query": replace(one, samples=tuple(s / n_query for s in one.samples))}

    made_by = source_key("costs/attention.py", "costs/clock.py")
    time_at = kept_timings(parts, key_of(key, protocol, native_threads(), made_by), time_at)
    cells = list(sweep(sizes, time_at, limit_s=limit_s, extrapolate_to=extrapolate_to))
    quantities = ("seconds", "seconds_per_query")
    rows = [r for cell in cells for r in cell_rows(cell, "attention", quantities, device=device, **columns)]
    points = [(cell.size[0], cell.costs["seconds"].seconds) for cell in cells if cell.status == "ok"]
    return [*rows, exponent_row(points, "attention", device=device, **columns)]


# ------------------------------------------------------------------------------------------- a system's attention


@dataclass(frozen=True)
class QueryTime:
    """What a system computes when queries come, over features in memory: the arguments of `attention_rows`.

    Attributes
    ----------
    score : callable, the attention of all images and texts with each other, both directions.
    prepare : callable or None, the ranking that decides which pairs a reranker reads; searching is not attention.
    ask : callable, one image asked of all texts and one text of all images, ranking included.
    key : str, of the system's weights and the depth.
    """

    score: Callable[..., Any]
    prepare: Callable[[int, int], Any] | None
    ask: Callable[[int, int], Any]
    key: str
    asked: int = 2

    def arguments(self) -> dict[str, Any]:
        """As keyword arguments of `attention_rows`, but for `score`."""
        return {"prepare": self.prepare, "ask": self.ask, "asked": self.asked, "key": self.key}


def attends(system: str) -> bool:
    """Whether a system computes attention at query time."""
    return registry.system(system).measure in ("attention", "rerank")


def query_time(
    system: str, model: RetrievalModel, inputs: Inputs, sizes: Sequence[tuple[int, int]], depth: int
) -> QueryTime:
    """The attention of a system over the first images and captions of a split, encoded here and held in memory.

    Parameters
    ----------
    system : str, id of a row whose measure is ``attention`` (every pair) or ``rerank`` (the first `depth` of a query).
    model : RetrievalModel, trained or not: what it costs does not depend on it.
    inputs : Inputs, what it reads, as many items as the largest size.
    sizes : (n_img, n_txt) that will be measured.
    depth : int, candidates that a reranker reads a query.

    Raises
    ------
    InputError
        A system without attention, a size beyond the inputs, or a depth above the smallest gallery.
    """
    if not attends(system):
        raise InputError(f"{system} computes no attention at query time; expected SCAN, IMRAM, BLIP-2 or X-VLM's rows")
    n_img, n_txt = max(n for n, _ in sizes), max(n for _, n in sizes)
    images, texts = inputs.image[model.image_input], inputs.text[model.text_input]
    if n_img > len(images) or n_txt > len(texts):
        raise InputError(
            f"attention over {n_img} images and {n_txt} texts was asked for and {len(images)} and {len(texts)} were "
            "given; ask for fewer, or extrapolate to that size"
        )
    images, texts = images[:n_img], texts[:n_txt]
    reranks = registry.system(system).measure == "rerank"
    if reranks and not 1 <= depth <= min(min(size) for size in sizes):
        raise InputError(
            f"reranking the first {depth} of a gallery of {min(min(size) for size in sizes)} was asked for; expected "
            "1 up to the smallest gallery: choose a smaller rerank_depth or larger attention_scales"
        )
    key = key_of(model_key(system, model), depth if reranks else None)
    return _reranking(model, images, texts, depth, key) if reranks else _all_pairs(model, images, texts, key)


def _all_pairs(model: RetrievalModel, images: np.ndarray, texts: np.ndarray, key: str) -> QueryTime:
    """Cross attention: every image with every caption."""
    from fico_utils.models import encoding

    img = encoding.encode_side(model.eval().encode_image, images)
    txt = encoding.encode_side(model.encode_text, texts)

    def score(n_img: int, n_txt: int) -> np.ndarray:
        return encoding.score(model, img[:n_img], txt[:n_txt], progress=False)

    def ask(n_img: int, n_txt: int) -> None:
        score(1, n_txt)
        score(n_img, 1)

    return QueryTime(score, None, ask, key)


class _Stored:
    """A fusion model whose contexts were computed before: they are read, not made."""

    image_input = text_input = "context"

    def __init__(self, model: Any) -> None:
        self.match, self.adds_cosine = model.match, model.adds_cosine

    def eval(self) -> None:
        """Nothing to switch: the model was."""

    def image_context(self, stored: Any) -> Any:
        """The stored context itself."""
        return stored

    text_context = image_context


def _reranking(model: Any, images: np.ndarray, texts: np.ndarray, depth: int, key: str) -> QueryTime:
    """Fusion: every query with its first `depth` candidates."""
    import torch

    from fico_utils.models import encoding
    from fico_utils.models.training import Inputs

    model.eval()
    img, txt = encoding.encode_side(model.encode_image, images), encoding.encode_side(model.encode_text, texts)
    seen, read = encoding.encode_side(model.image_context, images), encoding.encode_side(model.text_context, texts)
    stored = _Stored(model)

    def prepare(n_img: int, n_txt: int) -> tuple[Inputs, np.ndarray]:
        owner = np.arange(n_txt, dtype=np.int64) % n_img  # who belongs to whom is not read
        contexts = Inputs({"context": seen[:n_img]}, {"context": read[:n_txt]}, owner, "")
        return contexts, encoding.late_scores(model, img[:n_img], txt[:n_txt])

    def score(n_img: int, n_txt: int, prepared: tuple[Inputs, np.ndarray]) -> dict[str, np.ndarray]:
        return encoding.rerank(stored, *prepared, depth, progress=False)

    @torch.inference_mode()
    def ask(n_img: int, n_txt: int) -> None:
        pictures, captions = torch.from_numpy(seen), torch.from_numpy(read)
        scores = torch.from_numpy(encoding.late_scores(model, img[:1], txt[:n_txt]))
        model.match(pictures[:1].expand(depth, *pictures.shape[1:]), captions[scores[0].topk(depth).indices])
        scores = torch.from_numpy(encoding.late_scores(model, img[:n_img], txt[:1]))
        model.match(pictures[scores[:, 0].topk(depth).indices], captions[:1].expand(depth, *captions.shape[1:]))

    return QueryTime(score, prepare, ask, key)
