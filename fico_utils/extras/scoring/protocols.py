"""The published protocols: what the code of each field computes under the names that its papers print.

``source`` is the published file that a row was read from. Where an original sorts with an order of tied items that is
not defined (numpy's default sort), a stable sort stands for it.
"""

from __future__ import annotations

from dataclasses import asdict, replace
from typing import TYPE_CHECKING, Any

from fico_utils.evaluation.observations import CHOICES, Rules
from fico_utils.evaluation.protocols import FICO, Protocol
from fico_utils.evaluation.tasks import CATEGORY, INSTANCE

if TYPE_CHECKING:
    import pandas as pd

_BY_INDEX = Rules(ties="index")
_FIVE = "recall@1,5,10"

PROTOCOLS = {
    protocol.name: protocol
    for protocol in (
        FICO,
        Protocol(
            "vsepp", "fartashf/vsepp evaluation.py", f"{_FIVE} median_rank mean_rank rsum", INSTANCE,
            replace(_BY_INDEX, median="floor"), note="the median rank is rounded down; images stored five times",
        ),
        Protocol(
            "coco1k", "fartashf/vsepp evaluation.py, fold5", f"{_FIVE} median_rank mean_rank rsum", INSTANCE,
            replace(_BY_INDEX, median="floor"), folds=5, note="mean over five parts of the gallery",
        ),
        Protocol(
            "blip", "salesforce/BLIP train_retrieval.py", f"{_FIVE} mean_recall", INSTANCE, _BY_INDEX, unranked=-100.0,
            note="-100 stands for a pair that was not ranked",
        ),
        Protocol(
            "clip_benchmark", "LAION-AI/CLIP_benchmark clip_benchmark/metrics/zeroshot_retrieval.py", _FIVE, INSTANCE,
            _BY_INDEX,
        ),
        Protocol(
            "mteb", "embeddings-benchmark/mteb mteb/_evaluators/retrieval_metrics.py, by pytrec_eval",
            f"{_FIVE} recall_share@1,5,10 precision@1,5,10 map@1,5,10 ndcg@1,5,10 mrr@1,5,10", INSTANCE,
            Rules("index", map_divisor="relevant"),
            note="recall@k is called hit rate there, recall_share@k recall; its gain is the grade itself",
        ),
        Protocol(
            "eccv", "naver-ai/eccv-caption eccv_caption/_metrics.py", "recall@1,5,10 map@R precision@R", INSTANCE,
            Rules("index", no_relevant="skip"),
        ),
        Protocol(
            "dcmh", "jiangqy/DCMH-CVPR2017 DCMH_matlab/.../calcMapTopkMapTopkPreTopkRecLabel.m",
            "map@10,100,N precision@10,100 recall_share@10,100", CATEGORY, _BY_INDEX,
        ),
        Protocol(
            "ucch", "penghu-cs/UCCH UCCH.py, fx_calc_map_multilabel_k", "map@N", CATEGORY,
            Rules("index", no_relevant="skip"),
        ),
        Protocol(
            "dadh", "Zjut-MultimediaPlus/DADH main.py, calc_map_k", "map@10,100,N", CATEGORY,
            Rules("index", map_divisor="first"), note="the first min(k, R) relevant items, wherever they stand",
        ),
        Protocol(
            "deephash_radius",
            "thulab/DeepHash DeepHash/evaluation/__init__.py, get_precision_recall_by_Hamming_Radius_All",
            "precision@radius2 recall_share@radius2 map@radius2", CATEGORY, _BY_INDEX,
            note="hash lookup: what lies within Hamming distance 2; an empty ball counts as 0",
        ),
    )
}  # fmt: skip


def describe_protocol(protocol: Protocol) -> dict[str, Any]:
    """A row of the table of protocols."""
    rules = asdict(protocol.rules)
    return {
        "level": protocol.level or f"{INSTANCE}, {CATEGORY}", "metrics": protocol.metrics,
        **{name: rules[name] for name in CHOICES}, "folds": protocol.folds, "note": protocol.note,
    }  # fmt: skip


def rosetta_table(scores: pd.DataFrame) -> pd.DataFrame:
    """What `evaluate` gives under several protocols, side by side: one system in all dialects.

    A row is a (task, metric, direction), a column a protocol; a cell is NaN where a protocol does not print the number.
    The column ``chance`` is that of the first protocol that has the row.
    """
    named = scores.assign(metric=(scores["metric"] + "@" + scores["k"].astype(str)).str.removesuffix("@"))
    row = ["task", "metric", "direction"]
    wide = named.pivot(index=row, columns="protocol", values="value")[named["protocol"].unique()]
    wide["chance"] = named.groupby(row)["chance"].first()
    order = {value: place for column in row for place, value in enumerate(named[column].unique())}
    return wide.sort_index(key=lambda values: values.map(order))
