"""Time of what a system computes at query time, as the gallery grows (Table 6).

Cross attention (SCAN, IMRAM) scores every pair, reranking (BLIP-2, X-VLM) a fixed number of candidates a
query: the paper argues n^2 and n. The exponent is fitted and shown with its interval; beside the time of the
whole gallery stands the cost of one query, which is what a user waits for.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

from fico_utils.costs.clock import Timing, measure
from fico_utils.costs.growth import cell_rows, exponent_row, sweep


def attention_rows(
    score: Callable[[int, int], Any],
    sizes: Sequence[tuple[int, int]],
    *,
    ask: Callable[[int, int], Any] | None = None,
    limit_s: float | None = None,
    extrapolate_to: Sequence[tuple[int, int]] = (),
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
    ask : callable ``ask(n_img, n_txt)`` or None; asks one query of a gallery of that size. Without it the
        cost per query is ``seconds / (n_img + n_txt)``, a query's share of the whole.
    limit_s : float or None, s; a size that the fit of smaller ones puts above it is extrapolated, not run.
    extrapolate_to : (n_img, n_txt) that are only extrapolated.
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
        whole = measure(lambda: score(n_img, n_txt) is None, **protocol)  # the score matrix is not kept
        if ask is None:
            n_query = n_img + n_txt
            one = Timing(tuple(s / n_query for s in whole.samples), whole.warm, whole.threads, whole.device)
        else:
            one = measure(lambda: ask(n_img, n_txt) is None, **protocol)
        return {"seconds": whole, "seconds_per_query": one}

    cells = list(sweep(sizes, time_at, limit_s=limit_s, extrapolate_to=extrapolate_to))
    quantities = ("seconds", "seconds_per_query")
    rows = [r for cell in cells for r in cell_rows(cell, "attention", quantities, device=device, **columns)]
    points = [(cell.size[0], cell.costs["seconds"].seconds) for cell in cells if cell.status == "ok"]
    return [*rows, exponent_row(points, "attention", device=device, **columns)]
