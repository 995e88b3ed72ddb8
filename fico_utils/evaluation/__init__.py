"""The scoring engine: exact, aware of ties, bounded in memory.

`evaluate` scores embeddings, hash codes or a similarity matrix; `observe` keeps what each query saw, `summarise`
turns that into numbers for any k, and `compare` tests two systems against each other.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import TYPE_CHECKING, Any

from fico_utils.evaluation.intervals import compare
from fico_utils.evaluation.metrics import COLUMNS, RECALL_AT, check_k, summarise
from fico_utils.evaluation.observations import K, Observations
from fico_utils.evaluation.observe import observe

if TYPE_CHECKING:
    import pandas as pd

__all__ = ["Observations", "compare", "evaluate", "observe", "summarise"]


def evaluate(
    images: Any = None,
    texts: Any = None,
    *,
    similarity: Any = None,
    similarity_t2i: Any = None,
    caption_image: Any = None,
    labels: Any = None,
    measure: str = "cosine",
    bits: int | None = None,
    recall_at: Iterable[int] = RECALL_AT,
    map_at: Iterable[K] = (10, 100, "N"),
    ties: str = "expected",
    curve: bool = False,
    intervals: bool = False,
    allow_zero: bool = False,
    block_mib: int = 256,
) -> pd.DataFrame:
    """All scores of one system in both directions, one row per number.

    Parameters
    ----------
    images, texts : ndarray (n_img, d), (n_txt, d)
        Continuous embeddings (float16, float32, float64), or hash codes: bool, {0, 1}, {-1, +1}, or packed uint8.
        A memory map is read in place.
    similarity : ndarray (n_img, n_txt), larger is closer
        Instead of embeddings. -inf means that the pair was not ranked: then recall@k is defined up to the ranked
        depth only, and mAP@N and the curve are undefined.
    similarity_t2i : ndarray (n_txt, n_img)
        Where the two directions differ.
    caption_image : ndarray (n_txt,) of int
        Index of each caption's image; may be left out where n_img divides n_txt and the captions of an image are
        consecutive.
    labels : ndarray (n_img, n_labels), multi-hot, or (n_img,), class numbers
        Items that share a label are relevant to each other. Without labels there are no category metrics. A query
        without a relevant item has average precision 0 and a curve of zeros, and counts.
    measure : str
        "cosine", "inner_product", "euclidean" or "hamming".
    bits : int
        Codes are packed, 8 bits a byte.
    recall_at, map_at : iterable of int; ``map_at`` may hold "N", all
        A k beyond the gallery means all of it.
    ties : str
        Order of items with equal score: "expected" is the exact expectation over all orders, "optimistic" and
        "pessimistic" the best and worst, "index" the order of the arrays.
    curve : bool
        The 11-point interpolated precision-recall curve, from the expected number of relevant items at each rank.
    intervals : bool
        95 % bootstrap intervals, images resampled with their captions.
    allow_zero : bool
        A zero vector under cosine scores 0 with everything, instead of being refused.
    block_mib : int
        Memory for the scores held at a time, in MiB; it does not change the result.

    Returns
    -------
    DataFrame
        Columns task, direction, metric, k, value, ci_low, ci_high, n_query, chance, ties, status. Values are
        fractions, ranks count from 1; ``chance`` is the expectation under a random ranking.

    Raises
    ------
    InputError
        On input that has no meaning, in one sentence.

    >>> import numpy as np
    >>> scores = evaluate(np.eye(4), np.eye(4), recall_at=(1,))
    >>> scores.loc[scores.metric == "recall", ["direction", "value", "chance"]].values.tolist()
    [['i2t', 1.0, 0.25], ['t2i', 1.0, 0.25]]
    """
    import pandas as pd

    recall_at = check_k(recall_at, "recall_at")
    seen = observe(
        images,
        texts,
        similarity=similarity,
        similarity_t2i=similarity_t2i,
        caption_image=caption_image,
        labels=labels,
        measure=measure,
        bits=bits,
        map_at=map_at,
        ties=ties,
        curve=curve,
        allow_zero=allow_zero,
        block_mib=block_mib,
    )
    return pd.DataFrame(summarise(seen, recall_at, intervals=intervals), columns=list(COLUMNS))
