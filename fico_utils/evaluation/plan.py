"""What is asked of one pass: metrics, the rules under which each is taken, and what must be kept for them."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field

from fico_utils.errors import InputError
from fico_utils.evaluation.metrics import DEFAULT_METRICS, Metric, parse_metrics
from fico_utils.evaluation.observations import CHANCE, Column, Rules, is_radius
from fico_utils.evaluation.tasks import INSTANCE, LEVELS


@dataclass(frozen=True)
class Plan:
    """What is kept of each query; InputError on a metric, a rule or a sample that has no meaning.

    Recall and ranks need nothing of their own; other metrics can only be kept while scores are at hand.
    """

    metrics: str | Iterable[Metric] = DEFAULT_METRICS
    rules: Rules = field(default_factory=Rules)
    curve: bool = False  # keep the 11-point curve, if there are labels
    sample: int | None = None  # score only so many queries a direction, drawn at random, against the whole gallery
    seed: int = 0  # of that draw
    every_level: bool = False  # each metric at each level, not only where the paper has it
    others: tuple[tuple[tuple[Metric, ...], Rules], ...] = ()  # metrics under other rules, in the same pass

    def __post_init__(self) -> None:
        object.__setattr__(self, "metrics", parse_metrics(self.metrics))
        if self.sample is not None and self.sample < 1:
            raise InputError(f"sample is {self.sample}, expected a number of queries from 1")

    @property
    def requests(self) -> tuple[tuple[tuple[Metric, ...], Rules], ...]:
        """All that is asked: metrics, and the rules of each."""
        return ((self.metrics, self.rules), *self.others)

    @property
    def radii(self) -> tuple[int, ...]:
        """The Hamming radii among the k."""
        ks = (metric.k for metrics, _ in self.requests for metric in metrics)
        return tuple(sorted({int(k[6:]) for k in ks if is_radius(k)}))

    def levels_of(self, metric: Metric) -> tuple[str, ...]:
        """The levels at which a metric is computed."""
        return LEVELS if self.every_level and metric.entry.asked else metric.entry.levels

    def columns(self, level: str) -> tuple[Column, ...]:
        """What is kept at one level: for each metric a column, and one of a random ranking."""
        columns = []
        for metrics, rules in self.requests:
            for metric in metrics:
                kind = metric.kept(rules.map_divisor)
                if kind is not None and level in self.levels_of(metric):
                    columns += [Column(kind, metric.k, ties) for ties in (rules.ties, CHANCE)]
        return tuple(dict.fromkeys(columns))

    def counts_first(self, level: str) -> bool:
        """Whether the first relevant item of one level is asked for."""
        asked = (metric for metrics, _ in self.requests for metric in metrics)
        return level == INSTANCE or any(m.kept("") is None and level in self.levels_of(m) for m in asked)

    @property
    def by_index(self) -> bool:
        """Whether the order of the arrays counts."""
        return any(rules.ties == "index" for _, rules in self.requests)
