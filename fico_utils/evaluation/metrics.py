"""Every metric is one entry here: its name, what is printed, its range, where it exists, and how it is computed.

`Metric` is a value: a name with its k, such as ``Metric("map", 10)``, which prints as ``map@10`` and is read from text
by `parse_metrics`. To add a metric, add its entry to `ENTRIES`, and its name to a profile.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from math import inf

import numpy as np

from fico_utils.errors import InputError
from fico_utils.evaluation.observations import K, Side
from fico_utils.evaluation.tasks import CATEGORY, EXPECTED, INSTANCE
from fico_utils.evaluation.ties import (
    COUNTS,
    expected_median,
    harmonic_numbers,
    hit_probability,
    hit_rank,
    random_counts,
)

VERSIONS = {"scoring": 1, "intervals": 1}
FRACTION, RANK = (0.0, 1.0), (1.0, inf)
WHOLE, WHOLE_OR_ALL, LEVEL = r"[1-9]\d*", r"[1-9]\d*|N", r"R=(0\.\d|1\.0)"
#: The 11 levels of recall at which the interpolated precision-recall curve is read.
CURVE_LEVELS = tuple(f"R={level / 10:.1f}" for level in range(11))
#: Under these orders of tied items a metric is stored beside its expectation, as ``recall_optimistic``.
BOUNDS = ("optimistic", "pessimistic")
DEFAULT_METRICS = "recall@1,5,10,50,100,200 median_rank mean_rank map@10,100,N"


@dataclass(frozen=True)
class Entry:
    """What a metric is; the functions take a `Side` and a k."""

    name: str  # in text and in tables
    label: str  # as printed; ``{k}`` stands for its k
    levels: tuple[str, ...]  # at which it exists: "instance", "category"
    limits: tuple[float, float]  # its range
    k_pattern: str = ""  # what its k looks like; empty for a metric without k
    #: The value of each query, (n_query,); None for the median, which is no mean.
    values: Callable[[Side, K | None], np.ndarray | None] | None = None
    chance: Callable[[Side, K | None], float] | None = None  # the expectation under a random ranking
    defined: Callable[[Side, K | None], bool] = Side.reaches  # whether the rankings are deep enough
    kept: str = ""  # the array of the observations with a column for each k; empty where any k can be computed


def _mean_chance(side: Side, chance: Callable[[dict[str, np.ndarray]], np.ndarray]) -> float:
    """Mean over the queries of what depends on their number of relevant items alone, where everything ties."""
    kinds, times = np.unique(side.counts["relevant"], return_counts=True)
    # divided last, so that numbers up to 1 have no mean above it
    return chance(random_counts(side.n_item, kinds)) @ times / times.sum()


def _recall_chance(side: Side, k: K) -> float:
    return _mean_chance(side, lambda counts: hit_probability(counts, k, "expected"))


def _mean_rank_chance(side: Side, k: None) -> float:
    return _mean_chance(side, lambda counts: hit_rank(counts, "expected"))


def _mean_rank_defined(side: Side, k: None) -> bool:
    return bool(np.isfinite(hit_rank(side.counts, side.ties)).all())


def _median_chance(side: Side, k: None) -> float:
    return expected_median(random_counts(side.n_item, side.counts["relevant"]), "expected")


def _median_defined(side: Side, k: None) -> bool:
    # an unranked hit stands somewhere below the depth: the median is still known while it lies above
    return _mean_rank_defined(side, k) or expected_median(side.counts, side.ties) <= side.depth


def _map_chance(side: Side, k: K) -> float:
    from fico_utils.evaluation.kernels_category import measure_groups

    ks, harmonic = np.array([side.cut(k)]), harmonic_numbers(side.n_item)

    def chance(counts: dict[str, np.ndarray]) -> np.ndarray:
        ap = np.zeros((counts["tied"].size, 1))
        for *group, row in zip(*(counts[name][:, None] for name in COUNTS), ap, strict=True):
            relevant, scratch = int(group[2][0]), (np.empty(1), (row, np.empty(1), np.empty(0)))
            measure_groups(tuple(group), int(relevant > 0), relevant, ks, EXPECTED, harmonic, *scratch)
        return ap[:, 0]

    return _mean_chance(side, chance)


def _precision_chance(side: Side, k: K) -> float:
    # the share of relevant items, which in random order is the same at every rank
    return _mean_chance(side, lambda counts: counts["tied_correct"]) / side.n_item


#: In the order in which tables are sorted. Of places, `fico_utils.results.observed` computes the values.
ENTRIES = (
    Entry(
        "recall", "R@{k}", (INSTANCE,), FRACTION, WHOLE,
        values=lambda side, k: hit_probability(side.counts, k, side.ties), chance=_recall_chance,
    ),
    Entry(
        "median_rank", "median rank", (INSTANCE,), RANK,
        values=lambda side, k: None, chance=_median_chance, defined=_median_defined,
    ),
    Entry(
        "mean_rank", "mean rank", (INSTANCE,), RANK,
        values=lambda side, k: hit_rank(side.counts, side.ties), chance=_mean_rank_chance, defined=_mean_rank_defined,
    ),
    Entry("place", "place", (INSTANCE,), RANK),
    Entry(
        "map", "mAP@{k}", (CATEGORY,), FRACTION, WHOLE_OR_ALL,
        values=lambda side, k: side.column("ap", k), chance=_map_chance, kept="ap",
    ),
    Entry("map_place", "place by mAP@{k}", (CATEGORY,), RANK, WHOLE_OR_ALL),
    Entry(
        "precision", "precision@{k}", (INSTANCE, CATEGORY), FRACTION, WHOLE_OR_ALL,
        values=lambda side, k: side.column("found", k) / side.cut(k), chance=_precision_chance, kept="found",
    ),
    Entry(
        "precision", "precision at {k}", (CATEGORY,), FRACTION, LEVEL,
        values=lambda side, k: side.counts["curve"][:, CURVE_LEVELS.index(k)], chance=_precision_chance,
        defined=lambda side, k: side.reaches("N"),
    ),
)  # fmt: skip


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
            raise InputError(f"there is no metric {self.name!r}, expected one of {', '.join(metric_forms())}")
        text = self.k_text
        entry = next((e for e in named if re.fullmatch(e.k_pattern, text)), None)
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


#: The entries that text may name.
ASKED = {e.name: e for e in ENTRIES if e.values is not None and e.k_pattern != LEVEL}


def _form(entry: Entry) -> str:
    """How a metric is written, in words."""
    if not entry.k_pattern:
        return entry.name
    return f"{entry.name}@k, k a whole number from 1{' or N, all' if entry.k_pattern == WHOLE_OR_ALL else ''}"


def metric_forms() -> list[str]:
    """The metrics that may be asked for, as they are written.

    >>> metric_forms()
    ['recall@k', 'median_rank', 'mean_rank', 'map@k', 'precision@k']
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
            raise InputError(f"metrics has {word!r}, expected {', '.join(metric_forms())}, separated by spaces")
        for k in ks.split(","):
            if not re.fullmatch(ASKED[name].k_pattern, k):
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
            try:
                asked[name].append(Metric(name, k))
            except InputError:
                raise InputError(f"{name}_at has {k!r}, expected whole numbers from 1{known}") from None
    ranks = Metric("median_rank"), Metric("mean_rank")
    return tuple(dict.fromkeys((*asked["recall"], *ranks, *asked["map"])))
