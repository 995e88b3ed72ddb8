"""The scoring engine: exact, aware of ties, bounded in memory.

`evaluate` scores embeddings, hash codes or a similarity matrix. Below it, `score_source` gives the scores, `observe`
keeps what each query saw, and `summarise` turns that into numbers.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import TYPE_CHECKING, Any

from fico_utils.errors import InputError
from fico_utils.evaluation.embeddings import MEASURES, find_measure
from fico_utils.evaluation.metrics import DEFAULT_METRICS, Metric, metrics_at, parse_metrics
from fico_utils.evaluation.observations import K, Observations
from fico_utils.evaluation.observe import Plan, observe
from fico_utils.evaluation.similarity import score_source
from fico_utils.evaluation.summary import COLUMNS, summarise
from fico_utils.evaluation.tasks import INSTANCE

if TYPE_CHECKING:
    import pandas as pd

__all__ = [
    "DEFAULT_METRICS", "MEASURES", "Metric", "Observations", "Plan", "evaluate", "find_measure", "observe",
    "parse_metrics", "score_source", "summarise",
]  # fmt: skip


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
    metrics: str | Iterable[Metric] | None = None,
    recall_at: Iterable[int] | None = None,
    map_at: Iterable[K] | None = None,
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
        Continuous embeddings, or hash codes: bool, {0, 1}, {-1, +1}, or packed uint8. A memory map is read in place.
    similarity : ndarray (n_img, n_txt), larger is closer
        Instead of embeddings. -inf means that the pair was not ranked: then recall@k is defined up to the ranked
        depth only, and mAP@N and the curve are undefined.
    similarity_t2i : ndarray (n_txt, n_img), where the two directions differ
    caption_image : ndarray (n_txt,) of int
        Index of each caption's image; may be left out where n_img divides n_txt and the captions of an image are
        consecutive.
    labels : ndarray (n_img, n_labels), multi-hot, or (n_img,), class numbers
        Items that share a label are relevant to each other. Without labels there are no category metrics. A query
        without a relevant item has average precision 0 and a curve of zeros, and counts.
    measure : "cosine", "inner_product", "euclidean" or "hamming"
    bits : int, of packed codes, 8 bits a byte
    metrics : str
        Such as ``"recall@1,5,10 map@10,N precision@20 median_rank"``: names, each with its k; N is the whole gallery,
        and a k beyond the gallery means all of it. Recall and ranks are of the instance level, map is of the category
        level, precision of both. By default `DEFAULT_METRICS`.
    recall_at, map_at : iterable of int, instead of ``metrics``; ``map_at`` may hold "N"
    ties : str
        Order of items with equal score: "expected" is the exact expectation over all orders, "optimistic" and
        "pessimistic" the best and worst, "index" the order of the arrays.
    curve : bool
        The 11-point interpolated precision-recall curve, from the expected number of relevant items at each rank.
    intervals : bool, 95 % bootstrap intervals, images resampled with their captions
    allow_zero : bool, a zero vector under cosine scores 0 with everything, instead of being refused
    block_mib : int, memory for the scores held at a time, in MiB; it does not change the result

    Returns
    -------
    DataFrame
        Columns task, direction, metric, k, value, ci_low, ci_high, n_query, chance, ties, status. Values are
        fractions, ranks count from 1; ``chance`` is the expectation under a random ranking. Input that has no meaning
        is an InputError of one sentence.

    >>> import numpy as np
    >>> scores = evaluate(np.eye(4), np.eye(4), recall_at=(1,))
    >>> scores.loc[scores.metric == "recall", ["direction", "value", "chance"]].values.tolist()
    [['i2t', 1.0, 0.25], ['t2i', 1.0, 0.25]]
    """
    import pandas as pd

    if metrics is not None and (recall_at is not None or map_at is not None):
        given = "map_at" if recall_at is None else "recall_at"
        raise InputError(f"metrics is given together with {given}: say all in metrics, such as 'recall@1,5 map@10,N'")
    plan = Plan(metrics_at(recall_at, map_at) if metrics is None else metrics, ties=ties, curve=curve)
    if labels is None and not any(INSTANCE in metric.entry.levels for metric in plan.metrics):
        asked = ", ".join(map(str, plan.metrics))
        raise InputError(f"{asked} is computed from labels, and none are given: give labels")
    matrices = {"similarity": similarity, "similarity_t2i": similarity_t2i}
    source = score_source(images, texts, **matrices, measure=measure, bits=bits, allow_zero=allow_zero)
    seen = observe(source, caption_image, labels, plan, block_mib=block_mib)
    return pd.DataFrame(summarise(seen, plan.metrics, intervals=intervals), columns=list(COLUMNS))
