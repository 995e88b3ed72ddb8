"""Whether systems differ on the same queries: paired comparisons of what `evaluate` wrote for each query.

The captions of an image are not independent samples, so that what is drawn, and what is swapped between two systems,
is an image with its captions.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from itertools import combinations
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from fico_utils.errors import InputError
from fico_utils.escaping import one_line
from fico_utils.evaluation.metrics import parse_metrics
from fico_utils.evaluation.summary import BATCH, draw_units, middle_95
from fico_utils.evaluation.tasks import LEVELS
from fico_utils.extras.scoring.forms import name_text
from fico_utils.extras.scoring.outputs import PER_QUERY

if TYPE_CHECKING:
    import pandas as pd

COLUMNS = (
    "direction", "metric", "k", "a", "b", "mean_a", "mean_b", "difference", "ci_low", "ci_high", "p", "p_holm",
    "n_query",
)  # fmt: skip
#: Draws of the bootstrap and of the sign-flip test, so that the least p is 1 / (DRAWS + 1).
DRAWS = 10_000


def compare(tables_or_files: Sequence[Any], *, metric: str = "recall@1", seed: int = 0) -> pd.DataFrame:
    """Each pair of systems on the same queries: the difference of means, and whether noise makes as large a one.

    Parameters
    ----------
    tables_or_files : sequence of DataFrame or path
        What `evaluate` wrote with ``per_query`` for each system; a system is called by its file, or ``1``, ``2``, ...
    metric : str, such as ``"recall@1"`` or ``"map@10,N"``: one or more that the files hold.
    seed : int, of the draws.

    Returns
    -------
    DataFrame
        Columns direction, metric, k, a, b, mean_a, mean_b, difference (a - b), ci_low, ci_high (95 % bootstrap over
        images), p (two-sided paired sign-flip test over images: under the null hypothesis two systems are
        exchangeable for each image with its captions), p_holm (adjusted by Holm's step-down method over all rows),
        n_query. A metric of both levels is taken at instance level. InputError where files hold other queries, or not
        the metric.
    """
    import pandas as pd

    if len(tables_or_files) < 2:
        raise InputError(f"compare has {len(tables_or_files)} file, expected two or more that --per-query wrote")
    places = [str(i if isinstance(table, pd.DataFrame) else table) for i, table in enumerate(tables_or_files, 1)]
    stems, places = [one_line(Path(place).stem) for place in places], [*map(one_line, places)]
    names = stems if len(set(stems)) == len(stems) else places
    if len(set(names)) < len(names):
        raise InputError("two of the files have the same name; rename one, since a system is called by its file")
    systems = {name: _read_per_query(table, name) for name, table in zip(names, tables_or_files, strict=True)}
    rows = []
    for asked in parse_metrics(metric):
        parts = {name: _values_of(table, name, asked) for name, table in systems.items()}
        for (a, x), (b, y) in combinations(parts.items(), 2):
            for direction in x:
                rows.append(_compare_pair(asked, direction, (a, x), (b, y), seed))
    for row, adjusted in zip(rows, adjust_by_holm(row["p"] for row in rows), strict=True):
        row["p_holm"] = float(adjusted)
    return pd.DataFrame(rows, columns=list(COLUMNS))


def _read_per_query(table: Any, name: str) -> pd.DataFrame:
    """The table of the system `name`; InputError where it is no file of values per query."""
    import pandas as pd

    from fico_utils.extras.corpora.reading import read_table

    if not isinstance(table, pd.DataFrame):
        table = read_table(table, PER_QUERY).frame
    missing = set(PER_QUERY) - set(table.columns)
    if missing:
        raise InputError(
            f"the table of system {name} lacks the column {min(missing)}; expected what evaluate wrote with per_query"
        )
    try:
        # pandas reads the k of a file with an empty one as 1.0, 5.0 and NaN
        table = table.assign(value=table["value"].astype(float), k=table["k"].map(name_text))
        if np.isinf(table["value"]).any():
            raise ValueError("one of them is infinite")
        return table
    except (ValueError, TypeError) as error:
        raise InputError(f"the values of system {name} are no numbers ({error}); write the file again") from None


def _values_of(table: pd.DataFrame, name: str, metric: Any) -> dict[str, pd.DataFrame]:
    """Direction -> the values of one metric by query, sorted, at the first level that has it."""
    kept = table[(table["metric"] == metric.name) & (table["k"] == metric.k_text)]
    level = next((level for level in LEVELS if (kept["task"] == level).any()), None)
    if level is None:
        held = sorted({f"{m}@{k}" if k else m for m, k in zip(table["metric"], table["k"], strict=True)})
        raise InputError(f"the file of system {name} does not hold {metric}; it holds {', '.join(held) or 'nothing'}")
    kept = kept[kept["task"] == level].astype({"query": str, "image": str})
    return {str(d): part.set_index("query").sort_index() for d, part in kept.groupby("direction")}


def _compare_pair(metric: Any, direction: str, a: tuple[str, dict], b: tuple[str, dict], seed: int) -> dict[str, Any]:
    """One row, but for ``p_holm``."""
    (name_a, of_a), (name_b, of_b) = a, b
    x, y = of_a[direction], of_b.get(direction)
    same = y is not None and x.index.equals(y.index)
    if same:  # an image may stand in another place, but with the same captions
        groups = {(a, b) for a, b in zip(x["image"], y["image"], strict=True)}
        same = len(groups) == x["image"].nunique() == y["image"].nunique()
    if not same or x.index.has_duplicates:
        raise InputError(
            f"{name_a} and {name_b} hold different queries for {metric} {direction}; expected the same items"
        )
    unit = np.unique(x["image"].to_numpy(str), return_inverse=True)[1]
    differences = (x["value"] - y["value"]).to_numpy()
    sums, sizes = np.bincount(unit, differences), np.bincount(unit)
    drawn, swapped = _draws(sums, sizes, seed)
    low, high = middle_95(drawn)
    # a difference that is equal but for rounding counts as reached
    reached = int((np.abs(swapped) >= abs(sums.sum()) * (1 - 1e-9)).sum())
    means = {"mean_a": x["value"].mean(), "mean_b": y["value"].mean(), "difference": differences.mean()}
    found = {"ci_low": low, "ci_high": high, "p": (reached + 1) / (DRAWS + 1), "n_query": differences.size}
    return {
        "direction": direction,
        "metric": metric.name,
        "k": metric.k_text,
        "a": name_a,
        "b": name_b,
        **means,
        **found,
    }


def _draws(sums: np.ndarray, sizes: np.ndarray, seed: int) -> tuple[np.ndarray, np.ndarray]:
    """The mean difference under draws of images, and the sum of differences under random signs, (DRAWS,) each."""
    rng, n, drawn, swapped = np.random.default_rng(seed), sums.size, [], []
    for start in range(0, DRAWS, BATCH):
        size = min(BATCH, DRAWS - start)
        times = draw_units(rng, n, size)
        drawn.append(times @ sums / (times @ sizes))
        swapped.append((1.0 - 2.0 * rng.integers(0, 2, (size, n), dtype=np.uint8)) @ sums)
    return np.concatenate(drawn), np.concatenate(swapped)


def adjust_by_holm(p_values: Iterable[float]) -> np.ndarray:
    """p-values adjusted by Holm's step-down method, in the order given.

    >>> adjust_by_holm([0.01, 0.04, 0.03])
    array([0.03, 0.06, 0.06])
    """
    p = np.asarray(list(p_values), dtype=np.float64)
    order = np.argsort(p, kind="stable")
    adjusted = np.empty(p.size)
    adjusted[order] = np.minimum(1, np.maximum.accumulate(p[order] * np.arange(p.size, 0, -1)))
    return adjusted
