"""The scoring engine: exact, aware of ties, bounded in memory.

`evaluate` scores embeddings, hash codes or a similarity matrix. Below it, `score_source` gives the scores, `observe`
keeps what each query saw, and `summarise` turns that into numbers.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from fico_utils.errors import InputError
from fico_utils.evaluation.embeddings import MEASURES, find_measure
from fico_utils.evaluation.given import Given
from fico_utils.evaluation.metrics import DEFAULT_METRICS, Metric, metrics_at, parse_metrics
from fico_utils.evaluation.observations import CHOICES, K, Observations, Rules
from fico_utils.evaluation.observe import observe
from fico_utils.evaluation.plan import Plan
from fico_utils.evaluation.protocols import ALL, Protocol, find_protocols
from fico_utils.evaluation.scoring import Scoring
from fico_utils.evaluation.similarity import score_source
from fico_utils.evaluation.summary import summarise
from fico_utils.registry import SCORED_FILES, load_entry

if TYPE_CHECKING:
    import pandas as pd

__all__ = [
    "DEFAULT_METRICS", "MEASURES", "Metric", "Observations", "Plan", "Protocol", "Rules", "evaluate", "find_measure",
    "observe", "parse_metrics", "score_rows", "score_source", "summarise",
]  # fmt: skip


def evaluate(
    images: Any = None,
    texts: Any = None,
    *,
    queries: Any = None,
    gallery: Any = None,
    similarity: Any = None,
    similarity_t2i: Any = None,
    unranked: float | None = None,
    caption_image: Any = None,
    image_ids: Any = None,
    caption_image_ids: Any = None,
    caption_ids: Any = None,
    images_repeated: int | None = None,
    distractors: bool = False,
    leave_out_self: bool = False,
    relevance: Any = None,
    labels: Any = None,
    text_labels: Any = None,
    query_labels: Any = None,
    gallery_labels: Any = None,
    measure: str | None = None,
    bits: int | None = None,
    allow_zero: bool = False,
    block_mib: int = 256,
    protocol: str = "fico",
    metrics: str | Iterable[Metric] | None = None,
    recall_at: Iterable[int] | None = None,
    map_at: Iterable[K] | None = None,
    ties: str | None = None,
    map_divisor: str | None = None,
    no_relevant: str | None = None,
    empty_ball: str | None = None,
    folds: int | None = None,
    curve: bool = False,
    intervals: bool = False,
    per_query: str | Path | None = None,
    trec_run: str | Path | None = None,
    trec_qrels: str | Path | None = None,
) -> pd.DataFrame:
    """All scores of one system, one row per number: of images and texts in both directions, of a query set in one.

    Parameters
    ----------
    images, texts : ndarray (n_img, d), (n_txt, d)
        Continuous embeddings, or hash codes: bool, {0, 1}, {-1, +1}, or packed uint8. A memory map is read in place.
    queries, gallery : ndarray (n_q, d), (n_g, d)
        Instead: any set asks any other, in the one direction ``q2g``.
    similarity : ndarray (n_img, n_txt) or (n_q, n_g), larger is closer, or a list of them, whose mean is scored
        Instead of embeddings. -inf means that the pair was not ranked: then recall@k is defined up to the ranked
        depth only, and mAP@N and the curve are undefined.
    similarity_t2i : ndarray (n_txt, n_img), where the two directions differ
    unranked : float, a value of the matrix that means: not ranked (X-VLM, ALBEF and BLIP leave -100)
    caption_image : ndarray (n_txt,) of int
        Index of each caption's image; may be left out where n_img divides n_txt and the captions of an image are
        consecutive. -1, with ``distractors``: of no image.
    image_ids, caption_image_ids, caption_ids : (n_img,), (n_txt,), (n_txt,) of text or numbers
        Instead: names of images (or queries), of each caption's image (empty: none), and of captions (or items).
    images_repeated : int, each image stands so many times in a row, as in arrays of the VSE++ family (5N rows)
    distractors : bool, images without caption and captions without image stand in the gallery and ask nothing
    leave_out_self : bool, query i is item i of the gallery, and is left out of its own ranking
    relevance : ndarray (n, 2) or (n, 3), scipy sparse, or "coco", "cxc", "eccv"
        Many-to-many relevance at instance level: pairs (image or query, caption or item), with a grade above 0 as
        third column. With names, pairs of names. The three words: that of the package eccv-caption.
    labels : ndarray (n_img, n_labels), multi-hot, dense or sparse, or (n_img,) or (n_img, 1), class numbers
        Items that share a label are relevant to each other; a negative class number means no label. Captions have the
        labels of their image, or ``text_labels``. Without labels there is no category level.
    query_labels, gallery_labels : as labels, of queries and gallery
    measure : "cosine" (the default), "inner_product", "euclidean" or "hamming", of vectors and codes alone
    bits : int, of packed codes, 8 bits a byte
    allow_zero : bool, a zero vector under cosine scores 0 with everything, instead of being refused
    block_mib : int, memory for the scores held at a time, in MiB; it does not change the result
    protocol : str
        Whose numbers: the default, "fico", or a published one (`python -m fico_utils protocols`), which sets metrics,
        ties, divisor, queries without relevant items and folds; what is said beside it goes first. "all": all that the
        input allows.
    metrics : str
        Such as ``"recall@1,5,10 map@10,N precision@20 ndcg@10 rsum"``: names, each with its k: a whole number (beyond
        the gallery it means all), N (all), R (the query's own number of relevant items) or radius2 (Hamming distance).
        Each is computed at each level that is given.
    recall_at, map_at : iterable of int, instead of ``metrics``: recall and ranks at instance level, map (``map_at`` may
        hold "N") at category level.
    ties : str
        Order of items with equal score: "expected" is the exact expectation over all orders, "optimistic" and
        "pessimistic" the largest and smallest value over them, "index" the order of the arrays.
    map_divisor : str
        What the precisions at the relevant ranks up to k are divided by: "found" (their number), "min" (min(R, k)),
        "relevant" (R); "first" takes the first min(k, R) relevant items wherever they stand.
    no_relevant : str, a query without a relevant item counts as "zero", or "skip" leaves it out
    empty_ball : str, the same of a query whose Hamming ball is empty
    folds : int, so many consecutive parts of the images with their captions, each scored alone; the mean is given
    curve : bool
        The 11-point interpolated precision-recall curve, from the expected number of relevant items at each rank.
    intervals : bool, 95 % bootstrap intervals, images resampled with their captions
    per_query, trec_run, trec_qrels : path
        Files to write: the value of each query (what `fico_utils.compare` reads), and ranking and relevance as TREC
        files hold them.

    Returns
    -------
    DataFrame
        Columns task, direction, metric, k, value, ci_low, ci_high, n_query, chance, ties, status, protocol, folds.
        Values are fractions (rsum and mean_recall are percent), ranks count from 1; ``chance`` is the expectation under
        a random ranking. Input that has no meaning is an InputError of one sentence.

    Examples
    --------
    >>> import numpy as np
    >>> scores = evaluate(np.eye(4), np.eye(4), recall_at=(1,))
    >>> scores.loc[scores.metric == "recall", ["direction", "value", "chance"]].values.tolist()
    [['i2t', 1.0, 0.25], ['t2i', 1.0, 0.25]]
    """
    import pandas as pd

    return pd.DataFrame(score_rows(locals()))


def score_rows(arguments: Mapping[str, Any]) -> list[dict[str, Any]]:
    """The rows of `evaluate`, for all its arguments by their names."""
    given = Given(**{name: value for name, value in arguments.items() if name in Given.__dataclass_fields__})
    protocol, folds, metrics, recall_at, map_at = (
        arguments[name] for name in ("protocol", "folds", "metrics", "recall_at", "map_at")
    )
    if metrics is not None and (recall_at is not None or map_at is not None):
        named = "map_at" if recall_at is None else "recall_at"
        raise InputError(f"metrics is given together with {named}: say all in metrics, such as 'recall@1,5 map@10,N'")
    if metrics is not None:
        asked = parse_metrics(metrics)
    else:
        asked = None if recall_at is None and map_at is None else metrics_at(recall_at, map_at)
    rules = {name: arguments[name] for name in CHOICES}
    said = {"metrics": asked, "folds": folds, "every_level": metrics is not None}
    chosen = [known.changed(rules, **said) for known in find_protocols(protocol)]
    if protocol != ALL and given.similarity is not None and given.unranked is None:
        given = replace(given, unranked=chosen[0].unranked)
    scoring = Scoring(given, arguments["block_mib"], arguments["curve"])
    usable = [known for known in chosen if protocol != ALL or scoring.allows(known)]
    if (missing := scoring.missing(chosen[0])) and (protocol != ALL or not usable):
        raise InputError(f"protocol {protocol} needs {missing}, which was not given")
    files = {name: arguments[name] for name in ("per_query", "trec_run", "trec_qrels")}
    named = next((name for name, path in files.items() if path is not None), None)
    if named and (len(usable) > 1 or usable[0].folds > 1):
        raise InputError(f"{named} is of one protocol and of the whole gallery: leave out folds, and protocol 'all'")
    rows = scoring.rows(usable, arguments["intervals"])
    if named:
        load_entry(SCORED_FILES)(scoring, usable[0], **files)
    return rows
