"""Figures of what is not in the paper's notebooks 00 to 04; `fico_utils.display.figures` finds them by this folder."""

from __future__ import annotations

import pandas as pd

from fico_utils.display.rows import NothingMeasuredError, split_rows, with_value

#: Columns of costs.csv that the CSV of a figure repeats.
COST_COLUMNS = ["source", "system", "corpus", "phase", "scale_img", "quantity", "unit", "value", "status", "run"]


def phase_rows(costs: pd.DataFrame, phase: str, advice: str) -> pd.DataFrame:
    """Our measured rows of a phase, of the first of its corpora; InputError with `advice` where there are none."""
    mine = with_value(split_rows(costs, "costs")["ours"])
    mine = mine[mine["phase"] == phase]
    if mine.empty:
        raise NothingMeasuredError(f"the costs hold nothing measured in phase {phase!r}; {advice}")
    return mine[mine["corpus"] == mine["corpus"].iloc[0]]
