"""Claims and audit as HTML: every row is there, nothing is taken for markup, verdicts are words."""

from __future__ import annotations

import pandas as pd

from fico_utils.extras.audit import find_contradictions
from fico_utils.extras.claims import DEPENDS, VERDICTS
from fico_utils.extras.pages.page import MARKS, audit_list, claims_table, verdict_counts

CLAIMS = pd.DataFrame(
    [
        ("a", "Table 2", "more < less", "features, labels", "holds", "does not hold", "Paper: 1 & 2"),
        ("b", "Table 4", "as good", "nothing of the kind", "holds", "cannot be tested here", "Paper: 3"),
    ],
    columns=["id", "place", "claim", "rests_on", "verdict_paper", "verdict_ours", "evidence"],
)


def test_every_claim_is_a_row_and_its_text_is_escaped():
    html = claims_table(CLAIMS)
    assert html.count("<details>") == 2
    assert "more &lt; less" in html
    assert "Paper: 1 &amp; 2" in html
    assert "○ does not hold" in html
    assert "<td>features, labels</td>" in html


def test_counts_add_up():
    counts = verdict_counts(CLAIMS)
    assert counts.sum().tolist() == [2, 2]
    assert counts.loc["holds"].tolist() == [2, 0]
    assert set(counts.index) == {*VERDICTS, *DEPENDS.values()} == set(MARKS)


def test_the_audit_shows_its_arithmetic():
    html = audit_list(find_contradictions())
    assert html.count("<details>") == 7
    assert html.count("<pre>") == 7
    assert " = " in html
