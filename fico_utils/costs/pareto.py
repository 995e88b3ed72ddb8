"""Which way to search is worth having, and which one a collection, a memory and a patience call for."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from fico_utils import registry
from fico_utils.costs.growth import fit
from fico_utils.costs.setups import setup_name
from fico_utils.errors import InputError

#: Quantities of phase ``deploy`` that a choice needs, beside the recall.
NEEDED = ("seconds_per_query", "item_bytes")


def front(values: np.ndarray, better: Sequence[str]) -> np.ndarray:
    """The Pareto front: rows that no other row beats, bool (n,).

    A row is beaten by one that is nowhere worse and somewhere better; equal rows do not beat each other.

    Parameters
    ----------
    values : (n, m) real numbers.
    better : m times ``max`` or ``min``, what is better in each column.

    Raises
    ------
    InputError
        Another number of columns, an unknown word, or a value that is NaN.

    Examples
    --------
    >>> front([[0.9, 5], [0.8, 1], [0.7, 2]], ("max", "min")).tolist()
    [True, True, False]
    """
    values = np.asarray(values, np.float64)
    if values.ndim != 2 or values.shape[1] != len(better) or not set(better) <= {"max", "min"}:
        raise InputError(
            f"values of shape {values.shape} with {list(better)} were given; expected (n, m) and m times max or min"
        )
    if np.isnan(values).any():
        raise InputError(f"row {np.argwhere(np.isnan(values))[0][0]} has a value that is NaN; leave such rows out")
    costs = values * np.where(np.array(better) == "max", -1.0, 1.0)
    worse = (costs[:, None] >= costs[None]).all(2) & (costs[:, None] > costs[None]).any(2)
    return ~worse.any(1)


@dataclass(frozen=True)
class Choice:
    """One setup at one size.

    Attributes
    ----------
    setup, name : str
    recall : float, expected recall@k, a fraction.
    seconds : float, s a query.
    memory : float, B for all items.
    status : str, ``ok`` where this size was measured, else ``extrapolated``.
    measured_to : int, the largest size at which the setup was measured.
    fits : bool, within the budget.
    """

    setup: str
    name: str
    recall: float
    seconds: float
    memory: float
    status: str
    measured_to: int
    fits: bool


@dataclass(frozen=True)
class Answer:
    """What `deploy` found.

    Attributes
    ----------
    n_items : int
    choices : list of Choice, best recall first, those within the budget before the others.
    text : str, the answer in words.
    """

    n_items: int
    choices: list[Choice]
    text: str

    @property
    def best(self) -> Choice | None:
        """The choice within the budget with the highest recall; None where nothing fits."""
        return next((c for c in self.choices if c.fits), None)

    def __str__(self) -> str:
        return self.text


def parts(setup: str) -> tuple[str, str, str, int]:
    """Ids of the system that searches first, its index and the system that reads again, and how many it reads.

    >>> parts("ucch+beit3@100"), parts("beit3+hnsw_flat"), parts("scan")
    (('ucch', '', 'beit3', 100), ('beit3', 'hnsw_flat', '', 0), ('scan', '', '', 0))
    """
    first, _, rest = setup.partition("+")
    if not rest or rest in registry.INDEXES:
        return first, rest, "", 0
    second, _, depth = rest.partition("@")
    return first, "", second, int(depth)


@dataclass(frozen=True)
class Screened:
    """A screen beside its second step alone.

    Attributes
    ----------
    setup, first, second : str, ids: the screen, what chooses candidates, what reads them again.
    k : int, candidates handed on.
    kept : float, the screen's recall over that of the second step alone; NaN where that finds nothing.
    faster : float, how many times as fast the screen is.
    """

    setup: str
    first: str
    second: str
    k: int
    kept: float
    faster: float

    @property
    def pays(self) -> bool:
        """It keeps 99 % of what its second step finds alone, in a fifth of the time."""
        return self.kept >= 0.99 and self.faster >= 5


def screens(rows: Iterable[Mapping[str, Any]], n_items: int, recall: str = "recall_t2i@1") -> list[Screened]:
    """What every screen keeps and saves among `n_items`, where its second step was also measured alone, exhaustively.

    Parameters
    ----------
    rows, recall : of `deploy`.
    n_items : int, a size that was measured.
    """
    at = {setup: sizes[n_items] for setup, sizes in _measured(rows, recall).items() if n_items in sizes}
    found = []
    for setup, (seconds, _, hits) in at.items():
        first, _, second, k = parts(setup)
        alone = at.get(second) or at.get(f"{second}+flat_ip")
        if alone:
            kept = hits / alone[2] if alone[2] else float("nan")
            found.append(Screened(setup, first, second, k, kept, alone[0] / seconds))
    return found


def deploy(
    rows: Iterable[Mapping[str, Any]],
    n_items: int,
    *,
    memory_bytes: float | None = None,
    seconds: float | None = None,
    recall: str = "recall_t2i@1",
) -> Answer:
    """The setup to deploy: of those within the budget, the one that finds most; ties go to the faster.

    Parameters
    ----------
    rows : rows of costs.csv of one corpus, as dicts; those of phase ``deploy`` with status ok are used.
    n_items : int, size of the collection.
    memory_bytes : float or None, B for all items; None is no limit.
    seconds : float or None, s a query on the machine that measured; None is no limit.
    recall : str, the quality that counts.

    Raises
    ------
    InputError
        No items, a budget that is not positive, or rows in which no setup was measured (at two sizes, to extrapolate).

    Notes
    -----
    Measured sizes are used as they are. Beyond them memory is bytes an item times items; an exhaustive search takes
    ``a + b n`` seconds, since it reads every item, and a graph or an inverted file a power of n; recall falls as a
    power of n and never rises. The further from the measured sizes, the less it is worth; `measured_to` says how far.
    """
    for name, budget in (("memory_bytes", memory_bytes), ("seconds", seconds)):
        if budget is not None and not budget > 0:
            raise InputError(f"a budget of {name}={budget} was given; expected more than 0, or None for no limit")
    if n_items < 1:
        raise InputError(f"a collection of {n_items} items was given; expected at least 1")
    measured = _measured(rows, recall)
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
    return Answer(n_items, choices, _words(choices, n_items, memory_bytes, seconds, recall))


def _measured(rows: Iterable[Mapping[str, Any]], recall: str) -> dict[str, dict[int, tuple[float, float, float]]]:
    """Setup -> size -> (seconds a query, bytes an item, recall), of what was measured whole."""
    found: dict[str, dict[int, dict[str, float]]] = {}
    corpora = set()
    for r in rows:
        if r["phase"] == "deploy" and r["status"] == "ok" and r["quantity"] in (*NEEDED, recall):
            corpora.add(r["corpus"])
            at = found.setdefault(r["system"], {}).setdefault(int(r["scale_img"]), {})
            at[r["quantity"]] = float(r["value"])
    if len(corpora) > 1:
        raise InputError(f"rows of corpora {', '.join(sorted(corpora))} were given; expected those of one")
    whole = {
        setup: {n: tuple(at[q] for q in (*NEEDED, recall)) for n, at in sizes.items() if len(at) == 3}
        for setup, sizes in found.items()
    }
    return {setup: sizes for setup, sizes in whole.items() if sizes}


def _carried(setup: str, at: dict[int, tuple[float, float, float]], n: int) -> tuple[float, float, float]:
    """Seconds a query, bytes an item and recall of a setup at a size that was not measured."""
    sizes = sorted(at)
    took, each, recalls = (np.array([at[size][i] for size in sizes]) for i in range(3))
    if "hnsw" in setup or "ivf" in setup:
        seconds = fit(sizes, took).predict(n)[0]
    else:
        seconds = _straight(np.array(sizes, np.float64), took, n)
    recall = fit(sizes, recalls).predict(n)[0] if recalls.min() > 0 else 0.0
    # a larger gallery only adds what may stand before the right answer
    smaller = [at[size][2] for size in sizes if size < n]
    return seconds, float(each[-1]), float(min([recall, 1.0, *smaller[-1:]]))


def _straight(sizes: np.ndarray, took: np.ndarray, n: int) -> float:
    """``a + b n``, a and b not negative, least squares of relative errors."""
    from scipy.optimize import nnls

    (a, b), _ = nnls(np.stack([1 / took, sizes / took], 1), np.ones(len(took)))
    return float(a + b * n)


def _words(choices: list[Choice], n_items: int, memory_bytes: float | None, seconds: float | None, recall: str) -> str:
    limits = [_bytes(memory_bytes)] if memory_bytes is not None else []
    limits += [_time(seconds)] if seconds is not None else []
    budget = " and ".join(limits) or "no limit"
    best = choices[0]
    if best.fits:
        return f"{n_items:,} items within {budget}: {_one(best, n_items, recall)}."
    smallest, fastest = min(choices, key=lambda c: c.memory), min(choices, key=lambda c: c.seconds)
    return (
        f"{n_items:,} items within {budget}: nothing that was measured fits. The smallest is {smallest.name} with "
        f"{_bytes(smallest.memory)}, the fastest {fastest.name} with {_time(fastest.seconds)} a query"
        f"{_source(smallest, n_items)}. Allow more, or split the collection over several machines."
    )


def _one(c: Choice, n_items: int, recall: str) -> str:
    name = recall.split("_")[0] + "@" + recall.split("@")[1] if "@" in recall else recall
    return f"{c.name}: {name} {c.recall:.2g}, {_time(c.seconds)} a query, {_bytes(c.memory)}{_source(c, n_items)}"


def _source(c: Choice, n_items: int) -> str:
    if c.status == "ok":
        return " (measured)"
    times = n_items / c.measured_to
    how_far = f", {times:,.0f} times as many" if times >= 2 else ""
    return f" (extrapolated: measured up to {c.measured_to:,} items{how_far})"


def _time(seconds: float) -> str:
    """Seconds with a fitting unit.

    >>> _time(2.5), _time(0.00213)
    ('2.5 s', '2.1 ms')
    """
    for unit, size in (("s", 1), ("ms", 1e-3)):
        if seconds >= size:
            return f"{seconds / size:.2g} {unit}" if seconds / size < 100 else f"{seconds / size:,.0f} {unit}"
    return f"{seconds / 1e-6:.2g} µs" if seconds >= 1e-7 else f"{seconds:.1g} s"


def _bytes(n: float) -> str:
    for unit, size in (("TiB", 2**40), ("GiB", 2**30), ("MiB", 2**20), ("KiB", 2**10)):
        if n >= size:
            return f"{n / size:.3g} {unit}" if n / size < 1000 else f"{n / size:,.0f} {unit}"
    return f"{n:.0f} B"
