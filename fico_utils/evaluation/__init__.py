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
from fico_utils.evaluation.observations import K, Observations, Rules
from fico_utils.evaluation.observe import observe
from fico_utils.evaluation.plan import Plan
from fico_utils.evaluation.relevance import image_text_tasks
from fico_utils.evaluation.similarity import score_source
from fico_utils.evaluation.summary import COLUMNS, summarise

if TYPE_CHECKING:
    import pandas as pd

__all__ = [
    "DEFAULT_METRICS", "MEASURES", "Metric", "Observations", "Plan", "Rules", "evaluate", "find_measure", "observe",
    "parse_metrics", "score_source", "summarise",
]  # fmt: skip


def evaluate(images=None, texts=None, *, similarity=None, similarity_t2i=None, caption_image=None, labels=None, measure="cosine", bits=None, metrics=None, recall_at=None, map_at=None, ties="expected", curve=False, intervals=False, allow_zero=False, block_mib=256):
    import pandas as pd

    if metrics is not None and (recall_at is not None or map_at is not None):
        given = "map_at" if recall_at is None else "recall_at"
        raise InputError(f"metrics is given together with {given}: say all in metrics, such as 'recall@1,5 map@10,N'")
    plan = Plan(metrics_at(recall_at, map_at) if metrics is None else metrics, Rules(ties=ties), curve=curve)
    matrices = {"similarity": similarity, "similarity_t2i": similarity_t2i}
    source = score_source(images, texts, **matrices, measure=measure, bits=bits, allow_zero=allow_zero)
    seen = observe(source, caption_image, labels, plan, block_mib=block_mib)
    return pd.DataFrame(summarise(seen, plan.metrics, intervals=intervals), columns=list(COLUMNS))
