"""The claims and the audit as HTML, and the verdicts counted: one row a claim, one box a contradiction."""

from __future__ import annotations

import pandas as pd

from fico_utils.display.page import render_part

#: Verdict -> mark beside its words, so that no verdict is told by colour alone.
MARKS = {"holds": "●", "holds in part": "◐", "does not hold": "○", "cannot be tested here": "–"}


def claims_table(claims: pd.DataFrame) -> str:
    """HTML of the claims: place, claim, the verdict on the paper's numbers and on ours; the evidence unfolds.

    Parameters
    ----------
    claims : DataFrame, claims.csv: place, claim, verdict_paper, verdict_ours, evidence.
    """
    return render_part("claims_table", claims.to_dict("records"), MARKS)


def verdict_counts(claims: pd.DataFrame) -> pd.DataFrame:
    """How many claims have which verdict: one row a verdict, columns ``on the paper's numbers`` and ``on ours``."""
    counts = {
        "on the paper's numbers": claims["verdict_paper"].value_counts(),
        "on ours": claims["verdict_ours"].value_counts(),
    }
    return pd.DataFrame(counts).reindex(list(MARKS)).fillna(0).astype(int)


def audit_list(audit: pd.DataFrame) -> str:
    """HTML of the audit: for each place, what was observed, the arithmetic, and how it may be read.

    Parameters
    ----------
    audit : DataFrame, audit.csv: where, observation, arithmetic, reading.
    """
    return render_part("audit_list", audit.to_dict("records"))
