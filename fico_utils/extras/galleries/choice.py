"""Which way to search is worth having, and which one a collection, a memory and a patience call for."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

from fico_utils.costs.rows import fit_growth
from fico_utils.errors import InputError
from fico_utils.extras.setups import measured_setups, setup_name

TIMES = (("s", 1), ("ms", 1e-3), ("µs", 1e-6))
BYTES = (("TiB", 2**40), ("GiB", 2**30), ("MiB", 2**20), ("KiB", 2**10), ("B", 1))


@dataclass(frozen=True)
class Choice:
    """One setup at one size."""

    setup: str
    name: str
    recall: float  # expected recall@k, a fraction
    seconds: float  # s a query
    memory: float  # B for all items
    status: str  # ok where this size was measured, else extrapolated
    measured_to: int  # the largest size at which the setup was measured
    fits: bool  # within the budget


@dataclass(frozen=True)
class Answer:
    """The answer of `choose_setup`, which prints as its text."""

    choices: list[Choice]  # best recall first, those within the budget before the others
    text: str

    @property
    def best(self) -> Choice | None:
        """The choice within the budget with the highest recall; None where nothing fits."""
        return next((c for c in self.choices if c.fits), None)

    def __str__(self) -> str:
        return self.text


def choose_setup(
    rows: Iterable[Mapping[str, Any]],
    n_items: int,
    *,
    memory_bytes: float | None = None,
    seconds: float | None = None,
    recall: str = "recall_t2i@1",
) -> Answer:
    """The setup to deploy: of those within the budget, the one that finds most; ties go to the faster.

    `rows` are those of costs.csv of one corpus, as dicts; phase ``deploy`` with status ok is read. The budget for all
    `n_items` is `memory_bytes`, and for a query on the machine that measured `seconds`; None is no limit. `recall` is
    the quality that counts. InputError for no items, a budget that is not positive, or rows in which no setup was
    measured (at two sizes, to extrapolate).

    Measured sizes are used as they are. Beyond them memory is bytes an item times items; an exhaustive search takes
    ``a + b n`` seconds, since it reads every item, and a graph or an inverted file a power of n; recall falls as a
    power of n and never rises. The further from the measured sizes, the less it is worth; `measured_to` says how far.
    """
    for name, budget in (("memory_bytes", memory_bytes), ("seconds", seconds)):
        if budget is not None and not budget > 0:
            raise InputError(f"a budget of {name}={budget} was given; expected more than 0, or None for no limit")
    if n_items < 1:
        raise InputError(f"a collection of {n_items} items was given; expected at least 1")
    measured = measured_setups(rows, recall)
    choices = []
    for setup, at in measured.items():
        if n_items in at:
            values, status = at[n_items], "ok"
        elif len(at) > 1:
            values, status = _carried(setup, at, n_items), "extrapolated"
        else:
            continue
        memory = values[1] * n_items
        fits = (memory_bytes is None or memory <= memory_bytes) and (seconds is None or values[0] <= seconds)
        choices.append(Choice(setup, setup_name(setup), values[2], values[0], memory, status, max(at), fits))
    if not choices:
        raise InputError(
            f"no setup was measured with {recall} at {n_items} items, or at two sizes to extrapolate from; give the "
            "rows of phase deploy, of one corpus"
        )
    choices.sort(key=lambda c: (not c.fits, -c.recall, c.seconds, c.memory))
    return Answer(choices, _answer_text(choices, n_items, memory_bytes, seconds, recall))


def _carried(setup: str, at: dict[int, tuple[float, float, float]], n: int) -> tuple[float, float, float]:
    """Seconds a query, bytes an item and recall of a setup at a size that was not measured."""
    sizes = sorted(at)
    took, each, recalls = (np.array([at[size][i] for size in sizes]) for i in range(3))
    if "hnsw" in setup or "ivf" in setup:
        seconds = fit_growth(sizes, took).predict(n)[0]
    else:
        from scipy.optimize import nnls

        # a + b n, neither negative, least squares of relative errors
        (a, b), _ = nnls(np.stack([1 / took, np.array(sizes, np.float64) / took], 1), np.ones(len(took)))
        seconds = float(a + b * n)
    recall = fit_growth(sizes, recalls).predict(n)[0] if recalls.min() > 0 else 0.0
    # a larger gallery only adds what may stand before the right answer
    smaller = [at[size][2] for size in sizes if size < n]
    return seconds, float(each[-1]), float(min([recall, 1.0, *smaller[-1:]]))


def _answer_text(
    choices: list[Choice], n_items: int, memory_bytes: float | None, seconds: float | None, recall: str
) -> str:
    limits = [(memory_bytes, BYTES, 3), (seconds, TIMES, 2)]
    within = " and ".join(_in_unit(*limit) for limit in limits if limit[0] is not None) or "no limit"
    asked, best = f"{n_items:,} items within {within}", choices[0]
    if best.fits:
        name = f"R@{recall.partition('@')[2]}"
        costs = f"{_in_unit(best.seconds, TIMES, 2)} a query, {_in_unit(best.memory, BYTES, 3)}"
        return f"{asked}: {best.name}: {name} {best.recall:.2g}, {costs}{_source(best, n_items)}."
    smallest, fastest = min(choices, key=lambda c: c.memory), min(choices, key=lambda c: c.seconds)
    return (
        f"{asked}: nothing that was measured fits. The smallest is {smallest.name} with "
        f"{_in_unit(smallest.memory, BYTES, 3)}, the fastest {fastest.name} with "
        f"{_in_unit(fastest.seconds, TIMES, 2)} a query{_source(smallest, n_items)}. "
        "Allow more, or split the collection over several machines."
    )


def _source(c: Choice, n_items: int) -> str:
    if c.status == "ok":
        return " (measured)"
    times = n_items / c.measured_to
    how_far = f", {times:,.0f} times as many" if times >= 2 else ""
    return f" (extrapolated: measured up to {c.measured_to:,} items{how_far})"


def _in_unit(value: float, units: tuple[tuple[str, float], ...], digits: int) -> str:
    """A value in the largest unit that it reaches, with so many digits.

    >>> _in_unit(2.5, TIMES, 2), _in_unit(0.00213, TIMES, 2), _in_unit(2**20, BYTES, 3)
    ('2.5 s', '2.1 ms', '1 MiB')
    """
    unit, size = next((each for each in units if value >= each[1]), units[-1])
    number = f"{value / size:.{digits}g}" if value / size < 10**digits else f"{value / size:,.0f}"
    return f"{number} {unit}"
