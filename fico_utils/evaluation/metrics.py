"""Every metric is one entry here: its name, what is printed, its range, and how it is computed.

`Metric` is a value: a name with its k, such as ``Metric("map", 10)``, which prints as ``map@10`` and is read from text
by `parse_metrics`. To add a metric, add its entry to `ENTRIES`, and its name to a profile.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from difflib import get_close_matches
from math import inf

import numpy as np

from fico_utils.errors import InputError
from fico_utils.evaluation.compiling import fastest
from fico_utils.evaluation.kernels_instance import reciprocal_ranks
from fico_utils.evaluation.observations import Column, K, Side
from fico_utils.evaluation.tasks import CATEGORY, INSTANCE, LEVELS
from fico_utils.evaluation.ties import COUNTS, expected_median, hit_probability, hit_rank

VERSIONS = {"scoring": 2, "intervals": 1}
FRACTION, RANK, PERCENT = (0.0, 1.0), (1.0, inf), (0.0, 100.0)
#: What k may be: a whole number, all (N), as many as are relevant (R), all within a Hamming distance (radius2).
ANY_K, LEVEL = r"[1-9]\d{0,17}|N|R|radius\d{1,5}", r"R=(0\.\d|1\.0)"
#: The 11 levels of recall at which the interpolated precision-recall curve is read.
CURVE_LEVELS = tuple(f"R={level / 10:.1f}" for level in range(11))
#: Under these orders of tied items a metric is stored beside its expectation, as ``recall_optimistic``.
BOUNDS = ("optimistic", "pessimistic")
DEFAULT_METRICS = "recall@1,5,10,50,100,200 median_rank mean_rank map@10,100,N"
#: The recalls whose sum is rsum, of both directions in percent.
SUMMED = (1, 5, 10)


@dataclass(frozen=True)
class Entry:
    """What a metric is; the functions take a `Side` and a k."""

    name: str  # in text and in tables
    label: str  # as printed; ``{k}`` stands for its k
    limits: tuple[float, float]  # its range
    levels: tuple[str, ...] = LEVELS  # at which tables of the paper show it
    k_pattern: str = ANY_K  # what its k looks like; empty for a metric without k
    #: The value of each query, (n_query,); None for the median, which is no mean, and for sums of other metrics.
    values: Callable[[Side, K], np.ndarray] | None = None
    #: The kind of column that it is computed from, by map_divisor and k; None where counts are enough.
    kept: Callable[[str, K], str] | None = None
    defined: Callable[[Side, K], bool] = Side.reaches  # whether the rankings are deep enough
    has_ball: bool = False  # undefined for a query whose Hamming ball is empty
    asked: bool = True  # whether text may name it


def _divide(numbers: np.ndarray, by: np.ndarray) -> np.ndarray:
    """A quotient, 0 where nothing is divided by nothing."""
    return numbers / np.maximum(by, 1)


def _ranks_defined(side: Side, k: None) -> bool:
    return bool(np.isfinite(hit_rank(side.counts, side.rules.ties)).all())


def _median_defined(side: Side, k: None) -> bool:
    # an unranked hit stands somewhere below the depth: the median is still known while it lies above
    return _ranks_defined(side, k) or expected_median(side.counts, side.rules.ties) <= side.depth


def _map_column(divisor: str, k: K) -> str:
    if k == "R" or (k == "N" and divisor == "first"):  # the first R are all
        return "precisions"
    return {"found": "ap", "first": "first"}.get(divisor, "precisions")


def _map_values(side: Side, k: K) -> np.ndarray:
    kind = _map_column(side.rules.map_divisor, k)
    if kind != "precisions":
        return side.column(kind, k)
    by = side.relevant
    if side.rules.map_divisor == "min" and k != "R":
        by = np.minimum(by, side.cuts(k))
    # rounding may lift a perfect ranking above 1
    return np.minimum(_divide(side.column(kind, k), by), 1.0)


def _reciprocal_rank(side: Side, k: K) -> np.ndarray:
    if side.rules.ties in ("expected", "chance"):
        counts = [side.counts[name].astype(np.int64) for name in COUNTS]
        return fastest(reciprocal_ranks, counts[1].sum())(*counts, side.cuts(k))
    rank = hit_rank(side.counts, side.rules.ties)
    return np.where(rank <= side.cuts(k), 1 / rank, 0.0)


#: In the order in which tables are sorted. Of places, `fico_utils.results.observed` computes the values.
ENTRIES = (
    Entry(
        "recall", "R@{k}", FRACTION, (INSTANCE,),
        values=lambda side, k: hit_probability(side.counts, side.cuts(k), side.rules.ties),
    ),
    Entry("median_rank", "median rank", RANK, (INSTANCE,), "", defined=_median_defined),
    Entry(
        "mean_rank", "mean rank", RANK, (INSTANCE,), "", defined=_ranks_defined,
        values=lambda side, k: hit_rank(side.counts, side.rules.ties),
    ),
    Entry("place", "place", RANK, (INSTANCE,), "", asked=False),
    Entry("map", "mAP@{k}", FRACTION, (CATEGORY,), values=_map_values, kept=_map_column, has_ball=True),
    Entry("map_place", "place by mAP@{k}", RANK, (CATEGORY,), asked=False),
    Entry(
        "precision", "precision@{k}", FRACTION, has_ball=True, kept=lambda divisor, k: "found",
        values=lambda side, k: _divide(side.column("found", k), side.cuts(k)),
    ),
    Entry(
        "precision", "precision at {k}", FRACTION, (CATEGORY,), LEVEL, asked=False,
        values=lambda side, k: side.counts["curve"][:, CURVE_LEVELS.index(k)],
        defined=lambda side, k: side.reaches("N"),
    ),
    Entry(
        "recall_share", "recall share@{k}", FRACTION, kept=lambda divisor, k: "found",
        values=lambda side, k: _divide(side.column("found", k), side.relevant),
    ),
    # both precision and recall share have the same numerator, so that their harmonic mean is one quotient
    Entry(
        "f1", "F1@{k}", FRACTION, kept=lambda divisor, k: "found",
        values=lambda side, k: _divide(2 * side.column("found", k), side.cuts(k) + side.relevant),
    ),
    Entry("mrr", "MRR@{k}", FRACTION, values=_reciprocal_rank),
    Entry("ndcg", "NDCG@{k}", FRACTION, kept=lambda divisor, k: "ndcg", values=lambda side, k: side.column("ndcg", k)),
    Entry(
        "acg", "ACG@{k}", (0.0, inf), has_ball=True, kept=lambda divisor, k: "grades",
        values=lambda side, k: _divide(side.column("grades", k), side.cuts(k)),
    ),
    Entry(
        "wap", "WAP@{k}", (0.0, inf), has_ball=True, kept=lambda divisor, k: "wap",
        values=lambda side, k: side.column("wap", k),
    ),
    Entry("rsum", "RSUM", (0.0, 600.0), (INSTANCE,), "", defined=lambda side, k: side.reaches(SUMMED[-1])),
    Entry("mean_recall", "mR", PERCENT, (INSTANCE,), "", defined=lambda side, k: side.reaches(SUMMED[-1])),
)  # fmt: skip
#: Metrics of ranks: a query without a relevant item has none.
RANKS = ("median_rank", "mean_rank")
#: Metrics of both directions together: what the sum of six recalls in percent is divided by.
TOGETHER = {"rsum": 1, "mean_recall": 2 * len(SUMMED)}


@dataclass(frozen=True)
class Metric:
    """One metric with its k: ``Metric("map", 10)``, ``Metric("precision", "R=0.3")`` (a point of the curve).

    A name that no metric has, or a k that its metric does not take, is an InputError.

    >>> str(Metric("map", "10")), Metric("recall", 1).label, Metric("recall_optimistic", 5).label
    ('map@10', 'R@1', 'R@5')
    """

    name: str  # of `ENTRIES`; as tables store it, also with ``_optimistic`` or ``_pessimistic`` behind it
    k: K | None = None  # None for a metric without k; the text of a whole number is read as the number
    entry: Entry = field(init=False, repr=False, compare=False)  # what the metric is

    def __post_init__(self) -> None:
        named = [e for e in ENTRIES if e.name == re.sub(f"_({'|'.join(BOUNDS)})$", "", self.name)]
        if not named:
            raise InputError(f"there is no metric {self.name!r}; {_nearest(self.name)}")
        text = self.k_text
        entry = next((e for e in named if re.fullmatch(e.k_pattern, text, re.ASCII)), None)
        if entry is None:
            raise InputError(f"there is no metric {self.name}@{text}, expected {_form(named[0])}")
        object.__setattr__(self, "entry", entry)
        object.__setattr__(self, "k", int(text) if text.isdigit() else text or None)

    @property
    def k_text(self) -> str:
        """Its k as tables write it; empty where it has none."""
        return "" if self.k is None else str(self.k)

    @property
    def label(self) -> str:
        """As printed in tables and figures: ``R@1``, ``mAP@N``."""
        return self.entry.label.format(k=self.k)

    def __str__(self) -> str:
        return self.name if self.k is None else f"{self.name}@{self.k}"

    def kept(self, map_divisor: str) -> str | None:
        """The kind of column that it is computed from; None where counts are enough."""
        return None if self.entry.kept is None else self.entry.kept(map_divisor, self.k)

    def held_by(self, side: Side) -> bool:
        """Whether it can be computed of what was kept."""
        kind = self.kept(side.rules.map_divisor)
        return kind is None or Column(kind, self.k, side.rules.ties) in side.columns


#: The entries that text may name.
ASKED = {entry.name: entry for entry in ENTRIES if entry.asked}


def _form(entry: Entry) -> str:
    """How a metric is written, in words."""
    if not entry.k_pattern:
        return entry.name
    return (
        f"{entry.name}@k, k a whole number from 1, N (all), R (as many as are relevant) or a Hamming radius as radius2"
    )


def _nearest(name: str) -> str:
    """The metric that was probably meant, or all."""
    near = get_close_matches(name, ASKED, 1)
    return f"did you mean {near[0]}?" if near else f"expected one of {', '.join(metric_forms())}"


def metric_forms() -> list[str]:
    """The metrics that may be asked for, as they are written.

    >>> metric_forms()[:4]
    ['recall@k', 'median_rank', 'mean_rank', 'map@k']
    """
    return [name + ("@k" if entry.k_pattern else "") for name, entry in ASKED.items()]


def parse_metrics(text: str | Iterable[str | Metric]) -> tuple[Metric, ...]:
    """Metrics from text: names, each with its k, separated by spaces; each once. InputError on what is none.

    >>> [str(metric) for metric in parse_metrics("recall@1,5 map@N median_rank")]
    ['recall@1', 'recall@5', 'map@N', 'median_rank']
    """
    metrics: list[Metric] = []
    for word in text.split() if isinstance(text, str) else text:
        if isinstance(word, Metric):
            metrics.append(word)
            continue
        name, _, ks = str(word).partition("@")
        if name not in ASKED:
            raise InputError(f"metrics has {word!r}; {_nearest(name)}; metrics are separated by spaces")
        for k in ks.split(","):
            if not re.fullmatch(ASKED[name].k_pattern, k, re.ASCII):
                form = _form(ASKED[name])
                raise InputError(f"metrics has {word!r}, expected {form}; several k with commas between them")
            metrics.append(Metric(name, k))
    if not metrics:
        raise InputError(f"metrics is empty, expected some of {', '.join(metric_forms())}")
    return tuple(dict.fromkeys(metrics))


def metrics_at(recall_at: Iterable[int] | None, map_at: Iterable[K] | None) -> tuple[Metric, ...]:
    """`DEFAULT_METRICS`, with recall and average precision at the k that are given.

    A k that is no whole number from 1 nor, of ``map_at``, N is an InputError that names the list.
    """
    asked: dict[str, list[Metric]] = {"recall": [], "map": []}
    for name, values, known in (("recall", recall_at, ""), ("map", map_at, ", or N")):
        if values is None:
            values = [metric.k for metric in parse_metrics(DEFAULT_METRICS) if metric.name == name]
        for k in [values] if isinstance(values, str | int) else values:
            if isinstance(k, bool) or not re.fullmatch(r"[1-9]\d{0,17}" + ("|N" if known else ""), str(k), re.ASCII):
                raise InputError(f"{name}_at has {k!r}, expected whole numbers from 1{known}")
            asked[name].append(Metric(name, k))
    ranks = Metric("median_rank"), Metric("mean_rank")
    return tuple(dict.fromkeys((*asked["recall"], *ranks, *asked["map"])))
