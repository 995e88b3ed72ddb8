"""What a claim may look at: the paper's rows or ours, each number with the interval within which it is noise.

The paper's numbers are points, as printed. Ours carry what the tables know of their noise: the bootstrap
interval of a metric, the interquartile range of a time (at least `TIME_NOISE` of it), the interval of a fitted
exponent. Bytes are exact.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import product
from typing import TYPE_CHECKING

from fico_utils import registry
from fico_utils.display.rows import require_one_run, split_rows
from fico_utils.errors import InputError
from fico_utils.results import schema
from fico_utils.results.paper_reference import GIB

if TYPE_CHECKING:
    import pandas as pd

#: Share of a time that one machine's repeats do not show; ratios below about 1.3 are no finding.
TIME_NOISE = 0.15
#: Normal quantile of a 95 % interval, used where a share has a count of queries but no bootstrap interval.
Z = 1.96
#: Images of the paper's test splits; its tables do not say them, its text does (5 captions an image).
TEST_IMAGES = {"mscoco": 5000, "flickr30k": 1000}
SLOTS = tuple(TEST_IMAGES)


@dataclass(frozen=True)
class Number:
    """A value, the ends of the interval it may lie in, and how the evidence prints it.

    `text` is the value with its unit, or the arithmetic that made it; `label` says whose number it is.
    """

    value: float
    low: float
    high: float
    text: str = ""
    label: str = ""

    def __str__(self) -> str:
        return f"{self.label} {self.text}".strip()

    @property
    def bare(self) -> str:
        """The text without unit and interval."""
        return self.text.split(" ")[0]


def exact_number(value: float, text: str = "", label: str = "") -> Number:
    """A number without noise; one without text is a limit that the claim states, and the evidence does not repeat."""
    return Number(value, value, value, text, label)


def difference_of(a: Number | None, b: Number | None, label: str = "") -> Number | None:
    """`a` - `b` with the widest interval that theirs allow, in points; None where one is missing."""
    if a is None or b is None:
        return None
    text = f"{a.bare} - {b.bare} = {100 * (a.value - b.value):.1f} points"
    return Number(a.value - b.value, a.low - b.high, a.high - b.low, text, label)


def ratio_of(a: Number | None, b: Number | None, label: str = "") -> Number | None:
    """`a` / `b` with the widest interval that theirs allow; None where one is missing or `b` is 0."""
    if a is None or b is None or b.value == 0:
        return None
    unit = a.text.split(" ")[1]
    text = f"{'seconds' if unit == 's' else unit} {a.bare} / {b.bare} = {a.value / b.value:.1f}"
    return Number(a.value / b.value, a.low / b.high, a.high / b.low if b.low > 0 else math.inf, text, label)


class Side:
    """The rows of one source, ``paper`` or ``ours``, of metrics.csv and costs.csv, looked up by what they say.

    `corpora` gives the corpus that stands in the columns of a corpus of the paper; one that stands in none is its own.
    """

    def __init__(self, source: str, metrics: pd.DataFrame, costs: pd.DataFrame, corpora: dict[str, str]) -> None:
        self.paper, self.corpora = source == "paper", corpora
        #: How a sentence about what is lacking begins.
        self.has = "the paper prints" if self.paper else "this run has"
        test, costs = metrics[metrics["split"] == "test"], costs[costs["source"] == source]
        chance, metrics = test[test["source"] == "chance"], metrics[metrics["source"] == source]
        self.profile = next(iter(metrics["profile"]), next(iter(costs["profile"]), ""))
        self._metrics = _index(test[test["source"] == source], ("system", "corpus", "direction", "metric", "k"))
        self._chance = _index(chance, ("corpus", "direction", "metric", "k"))
        tables_first = costs.sort_values("run", key=lambda run: run.str.startswith("figure"), kind="stable")
        self._costs = _index(tables_first, ("system", "phase", "quantity", "scale_img"))

    def where(self, slot: str, direction: str) -> str:
        """Corpus and direction, for the evidence."""
        return f"{registry.corpus(self.corpora[slot]).name} {direction}"

    def cells(self) -> list[tuple[str, str]]:
        """(the paper's corpus, direction) of every panel that this side has rows for; what the claims are about.

        A run none of whose corpora stands beside one of the paper's answers with those that it has.
        """
        return list(product([slot for slot in SLOTS if slot in self.corpora] or self.corpora, schema.DIRECTIONS))

    def panels(self) -> list[tuple[str, str]]:
        """`cells`, then the same of corpora that stand beside none of the paper's."""
        return list(dict.fromkeys([*self.cells(), *product(self.corpora, schema.DIRECTIONS)]))

    def quality(self, system: str, slot: str, direction: str, metric: str, k: str) -> Number | None:
        """A value of metrics.csv; None where it is not there or undefined."""
        row = self._metrics.get((system, self.corpora.get(slot), direction, metric, k))
        if row is None or row["status"] not in schema.WITH_VALUE:
            return None
        value, low, high = row["value"], row["ci_low"], row["ci_high"]
        text, label = f"{100 * value:.1f} %", registry.system(system).name
        if self.paper:
            return exact_number(value, text, label)
        if math.isnan(low) or math.isnan(high):
            return Number(value, *_share_interval(value, row["n_query"]), text, label)
        return Number(value, low, high, f"{text} ({100 * low:.1f} to {100 * high:.1f})", label)

    def best(self, group: Sequence[str], *cell: str, lowest: bool = False) -> Number | None:
        """The highest (or lowest) `quality` of a group of systems; None where none has one."""
        known = [number for system in group if (number := self.quality(system, *cell))]
        return (min if lowest else max)(known, key=lambda number: number.value, default=None)

    def chance(self, slot: str, direction: str, metric: str, k: str) -> Number | None:
        """The value of a random ranking: its row, or for the paper's recall rank / images."""
        row = self._chance.get((self.corpora.get(slot), direction, metric, k))
        if row is not None:
            return exact_number(row["value"], f"{100 * row['value']:.1f} %", "chance")
        if self.paper and metric == "recall":  # five captions of five times as many: the same share both ways
            share = int(k) / TEST_IMAGES[slot]
            return exact_number(share, f"{k} / {TEST_IMAGES[slot]} = {100 * share:.1f} %", "chance")
        return None

    def cost(self, system: str, phase: str, quantity: str, images: float) -> Number | None:
        """A value of costs.csv at a size; None where there is none."""
        row = self._costs.get((system, phase, quantity, images))
        if row is None or row["status"] not in schema.WITH_VALUE:
            return None
        value, label = row["value"], row_name(system)
        if quantity.startswith("recall@"):
            interval = (value, value) if self.paper else _share_interval(value, images)
            return Number(value, *interval, f"{100 * value:.1f} %", label)
        digits = 6 if self.paper else 4
        if schema.unit_of(quantity) == "B":
            return exact_number(value, f"{value / GIB:.{digits}g} GiB", label)
        half = 0.0 if math.isnan(row["spread"]) else row["spread"]
        half = half if self.paper else max(half, TIME_NOISE * value)
        return Number(value, max(value - half, 0.0), value + half, f"{value:.{digits}g} s", label)

    def status(self, system: str, phase: str, quantity: str, images: float) -> str:
        """Status of a cost at a size, "" where there is no row."""
        return self._costs.get((system, phase, quantity, images), {"status": ""})["status"]

    def sizes(self, system: str, phase: str, quantity: str = "seconds") -> list[float]:
        """Sizes (images, or queries of a search) at which a cost was measured, ascending."""
        return sorted(
            key[3]
            for key, row in self._costs.items()
            if key[:3] == (system, phase, quantity) and row["status"] == "ok" and not math.isnan(key[3])
        )

    def growth(self, system: str, phase: str) -> Number | None:
        """The power of the size that seconds grow with: the fitted one, or that of the two outermost sizes."""
        for key, row in self._costs.items():
            if key[:3] == (system, phase, "exponent") and row["status"] == "ok":
                value, spread = row["value"], row["spread"]
                noise, half = ("no interval", math.inf) if math.isnan(spread) else (f"± {spread:.2f}", spread)
                text = f"exponent {value:.2f}{', ' if math.isinf(half) else ' '}{noise}"
                return Number(value, value - half, value + half, text, row_name(system))
        sizes = self.sizes(system, phase)
        if len(sizes) < 2:
            return None
        small, large = sizes[0], sizes[-1]
        times = ratio_of(self.cost(system, phase, "seconds", large), self.cost(system, phase, "seconds", small))
        log = math.log(large / small)
        value, low, high = (math.log(max(t, 1e-9)) / log for t in (times.value, times.low, times.high))
        text = f"{times.text} for {large:.0f} / {small:.0f} = {large / small:.0f} times the size"
        return Number(value, low, high, text, row_name(system))


def row_name(system: str) -> str:
    """The printed name of a system or of a search index."""
    return (registry.INDEXES.get(system) or registry.system(system)).name


def both_sides(metrics: pd.DataFrame, costs: pd.DataFrame, corpora: Sequence[str] | None = None) -> tuple[Side, Side]:
    """The paper's side and ours of metrics.csv and costs.csv; the paper's rows are added where they are missing.

    `corpora` are those of ours that stand beside the paper's; by default all that were measured.

    InputError where a row does not belong (value out of range, unknown system), results are of several profiles or
    runs, or two corpora of ours would stand in one place.
    """
    import pandas as pd

    tables = {"metrics": schema.validate(metrics, "metrics"), "costs": schema.validate(costs, "costs")}
    parts = [split_rows(frame, table) for table, frame in tables.items()]
    ours, papers = ([part[side] for part in parts] for side in ("ours", "paper"))
    require_one_run(pd.concat([frame[["profile", "run"]] for frame in ours]), "the pair metrics.csv and costs.csv")
    if corpora is None:
        corpora = ours[0].query("source == 'ours'")["corpus"].unique()
    beside: dict[str, str] = {}
    for corpus_id in corpora:
        slot = registry.corpus(corpus_id).beside or corpus_id
        if slot in beside and slot in SLOTS:
            raise InputError(
                f"both {beside[slot]} and {corpus_id} would stand beside {slot}; say which with corpora=[...]"
            )
        beside[slot] = corpus_id
    return Side("paper", *papers, {slot: slot for slot in SLOTS}), Side("ours", *ours, beside)


def _index(frame: pd.DataFrame, columns: Sequence[str]) -> dict[tuple, dict]:
    """Rows by the content of `columns`; of several the first."""
    rows: dict[tuple, dict] = {}
    for row in frame.to_dict("records"):
        rows.setdefault(tuple(row[c] for c in columns), row)
    return rows


def _share_interval(value: float, n: float) -> tuple[float, float]:
    """Wilson's 95 % interval of a share of `n` queries; 0 to 1 where `n` is unknown.

    The variance of any mean of values in [0, 1] is at most that of a share, so it also bounds a mean of precisions.
    """
    if not n > 0:
        return 0.0, 1.0
    centre, scale = value + Z**2 / (2 * n), 1 + Z**2 / n
    half = Z * math.sqrt(value * (1 - value) / n + Z**2 / (4 * n**2))
    return (centre - half) / scale, (centre + half) / scale
