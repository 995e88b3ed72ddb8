"""What a finding rests on: a claim judged again where all systems read the same features, or saw as many pairs.

The grid of causes, ``figures/causes/grid.csv``, has a row for each score of a system with some features (``regions``,
``patches``) after some training (``own``: its own passes; ``equal``: as many image-caption pairs as the others) with
some seed, of which claims look at the first. As shipped, vision-language rows read patches and all others regions.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

from fico_utils import registry
from fico_utils.extras.claims.checks import AGAINST, DEPENDS, FEATURES, FOR, Claim, Missing, judge_claim
from fico_utils.extras.claims.numbers import Side
from fico_utils.provenance import PROJECT
from fico_utils.results import schema, store

if TYPE_CHECKING:
    import pandas as pd

GRID = PROJECT / "figures" / "causes" / "grid.csv"
NUMBERS = ("pairs", "value", "ci_low", "ci_high")
COLUMNS = ("system", "features", "training", "corpus", "seed", "direction", "metric", "k", *NUMBERS)
AGAIN = "make it again: make reproduce PROFILE=causes"


def read_grid(path: str | Path = GRID) -> pd.DataFrame | None:
    """The grid of causes, columns `COLUMNS`; None where it was not made, InputError where the file is another table."""
    return store.read_csv(Path(path), "grid", AGAIN, AGAIN, COLUMNS, NUMBERS) if Path(path).is_file() else None


def judge_causes(claim: Claim, grid: pd.DataFrame | None) -> tuple[str, str]:
    """The verdict on ours of a claim that turns round in the grid, else empty; and what the evidence says of it.

    What a claim rests on that the grid has no comparison for is said to be not measured.
    """
    verdict, told = "", ""
    for cause in [cause for cause in DEPENDS if cause in claim.rests_on]:
        sides = [] if grid is None else [*_equal_sides(grid, cause)]
        judged = [(words, side, shipped) for words, side, shipped in sides if _outcomes(side, claim)]
        turned = [j for j in judged if turns_round(*(_outcomes(side, claim) for side in (j[2], j[1])))]
        for words, side, shipped in turned or judged[:1]:
            told += f" With equal {words}: {judge_claim(side, claim)[1]}"
            told += f" As shipped: {judge_claim(shipped, claim)[1]}" if turned else ""
        told += "" if judged else f" With equal {cause}: not measured."
        verdict = verdict or (DEPENDS[cause] if turned else "")
    return verdict, told


def turns_round(before: Counter[str], after: Counter[str]) -> bool:
    """Whether a claim turns round between comparisons that are counted by their outcome.

    Where all that were decided stood on one side, one on the other is enough; else the larger part must change sides.

    >>> turns_round(Counter({FOR: 8}), Counter({FOR: 7, AGAINST: 1})), turns_round(Counter({FOR: 8}), Counter({FOR: 2}))
    (True, False)
    """
    if before[FOR] and before[AGAINST]:
        return (before[FOR] - before[AGAINST]) * (after[FOR] - after[AGAINST]) < 0
    return bool((before[FOR] and after[AGAINST]) or (before[AGAINST] and after[FOR]))


def _equal_sides(grid: pd.DataFrame, cause: str) -> Iterator[tuple[str, Side, Side]]:
    """What is equal, in words; our scores of the grid where it is; and the same systems' scores as shipped."""
    grid = grid[grid["seed"] == grid["seed"].min()]
    own = grid["system"].map(lambda system: "patches" if registry.system(system).family == "vlp" else "regions")
    shipped = (grid["features"] == own) & (grid["training"] == "own")
    if cause == FEATURES:
        parts = {f"features ({kind})": grid["features"] == kind for kind in sorted(grid["features"].unique())}
        parts = {words: same & (grid["training"] == "own") for words, same in parts.items()}
    else:
        parts = {"training": (grid["features"] == own) & (grid["training"] == "equal")}
    for words, part in parts.items():
        read = grid[part]
        yield words, _side(read), _side(grid[shipped & grid["system"].isin(read["system"])])


def _side(rows: pd.DataFrame) -> Side:
    """Some rows of the grid as a side that claims can look at."""
    import pandas as pd

    tidy = rows.assign(source="ours", split="test", status="ok", profile="causes", n_query=float("nan"))
    beside = {registry.corpus(name).beside or name: name for name in rows["corpus"].unique()}
    return Side("ours", tidy, pd.DataFrame(columns=list(schema.COLUMNS["costs"]), dtype=str), beside)


def _outcomes(side: Side, claim: Claim) -> Counter[str]:
    """How many comparisons of a claim have which outcome on a side; empty where it can make none."""
    try:
        return Counter(check.outcome for check in claim.check(side, **claim.arguments) if check is not None)
    except Missing:
        return Counter()
