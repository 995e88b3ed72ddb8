"""What can be compared although the pictures differ: the order of the systems, leads of families, signs of effects.

Our scores are mostly of drawn scenes, the paper's of photographs, so one is never subtracted from the other. An order
or a lead is found within one corpus, and then held beside the paper's.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from itertools import product
from typing import TYPE_CHECKING, Any

import numpy as np

from fico_utils import registry
from fico_utils.evaluation import Metric
from fico_utils.extras.claims.groups import ALL, CG, FG, FINE, FUSION, VLP
from fico_utils.extras.claims.numbers import Side, Z, both_sides, difference_of
from fico_utils.results.paper_reference import paper_reference

if TYPE_CHECKING:
    import pandas as pd

COLUMNS = ("what", "metric", "corpus", "direction", "ours", "low", "high", "paper", "verdict")
ORDER = "order of the systems"
#: Metric, k of what is compared.
MEASURES = (("recall", "1"), ("recall", "10"), ("map", "10"), ("map", "N"))
#: Lead -> systems, and the systems that they lead; of a group the best row counts.
LEADS = {
    "best VLP row - best other fine-grained row": (VLP, FG),
    "best fine-grained row - best 64-bit row": (FINE, CG),
    **{f"{registry.system(a).name} - {registry.system(b).name} (fusion)": ((a,), (b,)) for a, b in FUSION},
    "ADV 2048-bit - ADV 64-bit (length of the code)": (("adv_2048",), ("adv_64",)),
}
SAME, OPPOSITE, OPEN = "same sign", "opposite sign", "open"
#: Redraws of our scores behind the interval of an order.
DRAWS = 1000


def kendall_tau(a: np.ndarray, b: np.ndarray) -> np.ndarray:
    """Kendall's tau-b of the last axis, (..., n) with (n,): 1 where all pairs stand in the same order, -1 reversed.

    >>> float(kendall_tau(np.array([1.0, 2, 3]), np.array([1.0, 3, 2])))
    0.3333333333333333
    """
    x, y = (np.sign(v[..., :, None] - v[..., None, :]) for v in (a, b))
    return (x * y).sum((-2, -1)) / np.sqrt((x**2).sum((-2, -1)) * (y**2).sum((-2, -1)))


def compare_with_paper(metrics: pd.DataFrame, corpora: Sequence[str] | None = None) -> pd.DataFrame:
    """One row a statement, metric, corpus and direction where both sides have it; columns are `COLUMNS`.

    Arguments and errors are those of `numbers.both_sides`. Of `ORDER`, `ours` is Kendall's tau of our scores with the
    paper's, `low` and `high` hold 95 % of it when each of ours is redrawn within its own interval (independently, which
    makes them rather too wide), and `verdict` counts pairs of systems in the same order. Of the leads, fractions,
    `verdict` compares the signs, and is `OPEN` where the interval of ours holds 0.
    """
    import pandas as pd

    paper, ours = both_sides(metrics, paper_reference("costs"), corpora)
    rows = []
    for (metric, k), (slot, direction) in product(MEASURES, ours.cells()):
        place = Metric(metric, k).label, registry.corpus(ours.corpora[slot]).name, direction
        for what, *numbers in _statements(paper, ours, (slot, direction, metric, k)):
            rows.append((what, *place, *numbers))
    rows.sort(key=lambda row: [ORDER, *LEADS].index(row[0]))
    return pd.DataFrame(rows, columns=list(COLUMNS))


def _statements(paper: Side, ours: Side, cell: tuple[str, str, str, str]) -> Iterator[tuple[Any, ...]]:
    """What both sides can say of a cell: statement, then the columns from `ours` on."""
    pairs = [(ours.quality(s, *cell), paper.quality(s, *cell)) for s in ALL]
    pairs = [pair for pair in pairs if None not in pair]
    if len(pairs) > 2:
        values, spread, theirs = np.array([(a.value, (a.high - a.low) / (2 * Z), b.value) for a, b in pairs]).T
        drawn = values + spread * np.random.default_rng(0).standard_normal((DRAWS, len(pairs)))
        tau, (low, high) = kendall_tau(values, theirs), np.quantile(kendall_tau(drawn, theirs), (0.025, 0.975))
        first, second = np.triu_indices(len(pairs), 1)
        same = ((values[first] - values[second]) * (theirs[first] - theirs[second]) > 0).sum()
        yield ORDER, tau, low, high, np.nan, f"{same} of {len(first)} pairs"
    for what, (upper, lower) in LEADS.items():
        mine, theirs = (difference_of(side.best(upper, *cell), side.best(lower, *cell)) for side in (ours, paper))
        if mine and theirs:
            decided = mine.low > 0 or mine.high < 0
            verdict = OPEN if not decided else SAME if mine.value * theirs.value > 0 else OPPOSITE
            yield what, mine.value, mine.low, mine.high, theirs.value, verdict


def agreement_table(compared: pd.DataFrame) -> pd.DataFrame:
    """What `compare_with_paper` found, as text: a row a statement and metric, a column a corpus and direction."""

    def text(row: Any) -> str:
        if row.what == ORDER:
            return f"{row.ours:.2f} ({row.low:.2f} to {row.high:.2f}), {row.verdict}"
        return f"{100 * row.ours:+.1f} (paper {100 * row.paper:+.1f}), {row.verdict}"

    texts = compared.assign(text=list(map(text, compared.itertuples())))
    rows, columns = ["what", "metric"], ["corpus", "direction"]
    return texts.pivot_table("text", rows, columns, aggfunc="first", sort=False, fill_value="–")
