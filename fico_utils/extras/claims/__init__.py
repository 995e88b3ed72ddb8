"""The claims ledger: what the paper says, as checks on the two tidy tables, with a verdict on its numbers and on ours.

`place` names the topic and the table or figure that holds the numbers. Most claims say in words what a table
of the paper shows, and where the paper gives no limit (near, about, close), ours stands in the claim. A verdict
on ours speaks of one run: other corpora, smaller models, another machine; it does not refute the paper.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from fico_utils.escaping import csv_text
from fico_utils.extras.claims import complexity, quality
from fico_utils.extras.claims.causes import judge_causes, read_grid
from fico_utils.extras.claims.checks import DEPENDS, VERDICTS, Claim, judge_claim
from fico_utils.extras.claims.numbers import both_sides
from fico_utils.files import write_text
from fico_utils.results import store
from fico_utils.workspace import Run

if TYPE_CHECKING:
    import pandas as pd

__all__ = ["CLAIMS", "COLUMNS", "DEPENDS", "VERDICTS", "Claim", "ledger", "read_claims", "read_grid", "write_claims"]

CLAIMS: tuple[Claim, ...] = (*quality.CLAIMS, *complexity.CLAIMS)
COLUMNS = ("id", "place", "claim", "rests_on", "verdict_paper", "verdict_ours", "evidence")


def ledger(
    metrics: pd.DataFrame,
    costs: pd.DataFrame,
    corpora: Sequence[str] | None = None,
    grid: pd.DataFrame | None = None,
) -> pd.DataFrame:
    """One row a claim, in the order of the paper: id, place, claim, rests_on, verdict_paper, verdict_ours, evidence.

    Arguments and errors are those of `numbers.both_sides`. A verdict is one of `VERDICTS`, see `checks.judge_claim`, or
    on ours one of `DEPENDS` where the claim turns round in the `grid` of `read_grid`, see `causes.judge_causes`. The
    paper's numbers are taken as printed; ours are compared by their 95 % intervals, so that noise decides nothing.
    """
    import pandas as pd

    paper, ours = both_sides(metrics, costs, corpora)
    if grid is not None:  # what drawn scenes depend on is no evidence about real pictures
        grid = grid[grid["corpus"].isin(ours.corpora.values())]
    whose = f"Ours ({ours.profile})" if ours.profile else "Ours"
    rows = []
    for claim in CLAIMS:
        (verdict_paper, on_paper), (verdict_ours, on_ours) = judge_claim(paper, claim), judge_claim(ours, claim)
        depends, on_causes = judge_causes(claim, grid)
        evidence = f"Paper: {on_paper} {whose}: {on_ours}{on_causes}"
        rows.append((claim.id, claim.place, claim.text, claim.causes, verdict_paper, depends or verdict_ours, evidence))
    return pd.DataFrame(rows, columns=list(COLUMNS))


def write_claims(run: Run, frame: pd.DataFrame) -> Path:
    """Path of ``<root>/claims.csv``, written atomically; same claims, same bytes."""
    path = run.path("claims.csv")
    write_text(path, csv_text(frame[list(COLUMNS)]))
    return path


def read_claims(path: str | Path) -> pd.DataFrame:
    """The ledger of a file written by `write_claims`; InputError where it is missing or another table."""
    return store.read_csv(Path(path), "claims", "run notebook 06", "run notebook 06 again", COLUMNS)
