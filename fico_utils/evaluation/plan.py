"""What is asked of one pass: metrics, the rules under which each is taken, and what must be kept for them."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field

from fico_utils.errors import InputError
from fico_utils.evaluation.metrics import DEFAULT_METRICS, Metric, parse_metrics
from fico_utils.evaluation.observations import CHANCE, Column, Rules, is_radius
from fico_utils.evaluation.tasks import INSTANCE


@dataclass(frozen=True)
class Request:
    """Metrics under some rules, at some levels."""

    metrics: tuple[Metric, ...]
    rules: Rules
    levels: tuple[str, ...] = ()  # empty: each metric where the paper has it

    def levels_of(self, metric: Metric) -> tuple[str, ...]:
        """The levels at which a metric is computed."""
        return self.levels if self.levels and metric.entry.asked else metric.entry.levels

    def found_at(self, levels: tuple[str, ...]) -> bool:
        """Whether any metric is computed at any of the levels that are given."""
        return any(set(self.levels_of(metric)).intersection(levels) for metric in self.metrics)


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
    levels: tuple[str, ...] = ()  # of the metrics, as in `Request`
    others: tuple[Request, ...] = ()  # taken in the same pass
    linear_gain: bool = False  # as in `Protocol`

    def __post_init__(self) -> None:
        object.__setattr__(self, "metrics", parse_metrics(self.metrics))
        if self.sample is not None and self.sample < 1:
            raise InputError(f"sample is {self.sample}, expected a number of queries from 1")

    @property
    def requests(self) -> tuple[Request, ...]:
        """All that is asked."""
        return Request(self.metrics, self.rules, self.levels), *self.others

    @property
    def radii(self) -> tuple[int, ...]:
        """The Hamming radii among the k."""
        return radii_of(metric for request in self.requests for metric in request.metrics)

    def columns(self, level: str) -> tuple[Column, ...]:
        """What is kept at one level: for each metric a column, and one of a random ranking where that needs it."""
        columns = []
        for request in self.requests:
            for metric in request.metrics:
                kind = metric.kept(request.rules.map_divisor)
                if kind is not None and level in request.levels_of(metric):
                    orders = (request.rules.ties,) if is_radius(metric.k) else (request.rules.ties, CHANCE)
                    columns += [Column(kind, metric.k, ties) for ties in orders]
        return tuple(dict.fromkeys(columns))

    def counts_first(self, level: str) -> bool:
        """Whether the first relevant item of one level is asked for."""
        asked = ((request, metric) for request in self.requests for metric in request.metrics)
        return level == INSTANCE or any(m.kept("found") is None and level in r.levels_of(m) for r, m in asked)

    @property
    def by_index(self) -> bool:
        """Whether the order of the arrays counts."""
        return any(request.rules.ties == "index" for request in self.requests)


def radii_of(metrics: Iterable[Metric]) -> tuple[int, ...]:
    """The Hamming radii among the k of some metrics, ascending."""
    return tuple(sorted({int(metric.k[6:]) for metric in metrics if is_radius(metric.k)}))
