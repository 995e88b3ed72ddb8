"""Protocols: what the code of each field computes under the names that its papers print.

A row of `PROTOCOLS` says which numbers a code base prints and by which rules; `source` is the published file that it
was read from. `python -m fico_utils protocols` lists them; ``evaluate(protocol="all")`` gives a system in all dialects.
Where an original sorts with an order of tied items that is not defined (numpy's default sort), a stable sort stands
for it.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass, field, replace
from difflib import get_close_matches
from typing import Any

from fico_utils.errors import InputError
from fico_utils.evaluation.metrics import DEFAULT_METRICS, Metric, parse_metrics
from fico_utils.evaluation.observations import CHOICES, Rules
from fico_utils.evaluation.plan import radii_of
from fico_utils.evaluation.tasks import CATEGORY, INSTANCE

ALL = "all"
_BY_INDEX = Rules(ties="index")
_FIVE = "recall@1,5,10"


@dataclass(frozen=True)
class Protocol:
    """Which numbers one code base prints, and by which rules."""

    name: str
    source: str  # repository and file
    metrics: str
    level: str = ""  # of its relevance; empty: each metric where the paper has it
    rules: Rules = field(default_factory=Rules)
    folds: int = 1
    every_level: bool = False  # each metric at each level that is given
    unranked: float | None = None  # what stands in its similarity matrices for a pair that was not ranked
    note: str = ""  # what else is particular to it

    def changed(
        self,
        metrics: tuple[Metric, ...] | None,
        changes: Mapping[str, str | None],
        folds: int | None,
        every_level: bool,
    ) -> Protocol:
        """The protocol with what a user says himself put before it."""
        rules = replace(self.rules, **{name: value for name, value in changes.items() if value is not None})
        kept = {"rules": rules, "folds": self.folds if folds is None else folds, "every_level": every_level}
        return replace(self, **kept, metrics=self.metrics if metrics is None else " ".join(map(str, metrics)))

    @property
    def described(self) -> dict[str, Any]:
        """A row of the table of protocols."""
        rules = asdict(self.rules)
        kept = {name: rules[name] for name in CHOICES}
        level = self.level or f"{INSTANCE}, {CATEGORY}"
        return {
            "protocol": self.name,
            "level": level,
            "metrics": self.metrics,
            **kept,
            "folds": self.folds,
            "note": self.note,
            "source": self.source,
        }

    @property
    def parsed(self) -> tuple[Metric, ...]:
        """Its metrics."""
        return parse_metrics(self.metrics)

    @property
    def radii(self) -> tuple[int, ...]:
        """The Hamming radii among the k."""
        return radii_of(self.parsed)


PROTOCOLS = {
    protocol.name: protocol
    for protocol in (
        Protocol("fico", "MikelWL/FiCo-ITR src/fico_itr/tasks.py", DEFAULT_METRICS, note="ties by exact expectation"),
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


def find_protocols(name: str) -> list[Protocol]:
    """The protocol of a name, or all of them; InputError where there is none."""
    if name == ALL:
        return list(PROTOCOLS.values())
    if name not in PROTOCOLS:
        near = get_close_matches(str(name), [*PROTOCOLS, ALL], 1)
        way = f"did you mean {near[0]}?" if near else f"expected one of {', '.join([*PROTOCOLS, ALL])}"
        raise InputError(f"protocol is {name!r}; {way}")
    return [PROTOCOLS[name]]
