"""The claims and the audit as HTML: one row a claim with both verdicts, one box a contradiction with its arithmetic."""

from __future__ import annotations

from html import escape

import pandas as pd

from fico_utils.display import markup

#: Verdict -> mark beside its words, so that no verdict is told by colour alone.
MARKS = {"holds": "●", "holds in part": "◐", "does not hold": "○", "cannot be tested here": "–"}


def claims_table(claims: pd.DataFrame) -> str:
    """HTML of the claims ledger: place, claim, the verdict on the paper's numbers and on ours; the evidence unfolds.

    Parameters
    ----------
    claims : DataFrame, from claims.csv: place, claim, verdict_paper, verdict_ours, evidence.
    """
    lines = []
    for row in claims.itertuples():
        evidence = f"<details><summary>{escape(row.claim)}</summary>{escape(row.evidence)}</details>"
        verdicts = "".join(f"<td>{MARKS[v]} {escape(v)}</td>" for v in (row.verdict_paper, row.verdict_ours))
        lines.append(f"<tr><td>{escape(row.place)}</td><td>{evidence}</td>{verdicts}</tr>")
    head = ("where", "claim, in our words (open it for the numbers that decided)", "on the paper's numbers", "on ours")
    return markup.table(head, lines, "", set())


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
    audit : DataFrame, from audit.csv: where, observation, arithmetic, reading.
    """
    boxes = [
        f"<details><summary>{escape(row.where)}</summary><p>{escape(row.observation)}</p>"
        f"<pre>{escape(row.arithmetic)}</pre><p>{escape(row.reading)}</p></details>"
        for row in audit.itertuples()
    ]
    return "\n".join(boxes)
