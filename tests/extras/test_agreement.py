"""What our tables and the paper's have in common, against scipy and on scores whose answer is known."""

from __future__ import annotations

from itertools import combinations

import numpy as np
import pandas as pd
import pytest
from scipy.stats import kendalltau

from fico_utils.extras.claims.agreement import (
    LEADS,
    OPEN,
    OPPOSITE,
    ORDER,
    SAME,
    agreement_table,
    compare_with_paper,
    kendall_tau,
)
from fico_utils.results import paper_reference


def ours_like(values: pd.Series, half: float) -> pd.DataFrame:
    """metrics.csv in which our scores on PictoScenes people are `values` of the paper's R@1 on Flickr30K."""
    paper = paper_reference("metrics").query("run == 'table2' and corpus == 'flickr30k' and k == '1'")
    mine = paper.assign(profile="mini", source="ours", run="mini-s0", corpus="picto_people", split="test", value=values)
    mine = mine.assign(ci_low=(mine["value"] - half).clip(0), ci_high=(mine["value"] + half).clip(upper=1))
    return pd.concat([mine, paper_reference("metrics")], ignore_index=True)


@pytest.fixture(scope="module")
def printed() -> pd.Series:
    """The paper's R@1 on Flickr30K."""
    return paper_reference("metrics").query("run == 'table2' and corpus == 'flickr30k' and k == '1'")["value"]


def test_tau_is_that_of_scipy():
    rng = np.random.default_rng(0)
    for n in (5, 8, 12):
        a, b = rng.integers(0, 6, (20, n)).astype(float), rng.integers(0, 6, n).astype(float)
        np.testing.assert_allclose(kendall_tau(a, b), [kendalltau(row, b).statistic for row in a], atol=1e-12)


def test_the_papers_own_scores_agree_with_themselves(printed):
    found = compare_with_paper(ours_like(printed, 1e-6))
    order = found[found["what"] == ORDER]
    assert len(order) == 2
    np.testing.assert_allclose(order[["ours", "low", "high"]], 1, atol=0.02)  # rows that the paper prints equal
    leads = found[found["what"] != ORDER]
    assert set(leads["what"]) == set(LEADS)
    np.testing.assert_allclose(leads["ours"], leads["paper"])
    assert set(leads["verdict"]) == {SAME}


def test_reversed_scores_are_the_reverse(printed):
    found = compare_with_paper(ours_like(1 - printed, 1e-6))
    np.testing.assert_allclose(found.loc[found["what"] == ORDER, "ours"], -1, atol=0.02)
    assert set(found.loc[found["what"].str.contains("fusion|ADV"), "verdict"]) == {OPPOSITE}


def test_noise_widens_the_interval_and_leaves_leads_open(printed):
    widths = []
    for half in (0.01, 0.1, 0.6):
        found = compare_with_paper(ours_like(printed, half))
        order = found[found["what"] == ORDER]
        assert (order["low"] <= order["high"]).all()
        widths.append((order["high"] - order["low"]).mean())
    assert widths == sorted(widths)
    assert widths[0] < widths[2]
    assert set(found.loc[found["what"].str.contains("fusion"), "verdict"]) == {OPEN}


def test_pairs_are_counted_and_the_text_says_all(printed):
    metrics = ours_like(printed.sample(frac=1, random_state=2).set_axis(printed.index), 0.01)
    found, text = compare_with_paper(metrics), agreement_table(compare_with_paper(metrics))
    for direction in ("i2t", "t2i"):
        mine, theirs = (
            metrics[(metrics["profile"] == p) & (metrics["direction"] == direction) & (metrics["k"] == "1")]
            .query("run in ('table2', 'mini-s0') and corpus in ('picto_people', 'flickr30k') and metric == 'recall'")
            .set_index("system")["value"]
            for p in ("mini", "paper")
        )
        pairs = list(combinations(mine.index, 2))
        same = sum((mine[a] - mine[b]) * (theirs[a] - theirs[b]) > 0 for a, b in pairs)
        row = found[(found["what"] == ORDER) & (found["direction"] == direction)].iloc[0]
        assert row["verdict"] == f"{same} of {len(pairs)} pairs"
        cell = text.loc[(ORDER, "R@1"), ("PictoScenes people", direction)]
        assert cell == f"{row['ours']:.2f} ({row['low']:.2f} to {row['high']:.2f}), {row['verdict']}"
    assert not text.isna().any(axis=None)


def test_few_systems_have_no_order(printed):
    few = ours_like(printed, 0.01)
    few = few[(few["profile"] == "paper") | few["system"].isin(("scan", "vsrn"))]
    found = compare_with_paper(few)
    assert ORDER not in set(found["what"])
    assert len(compare_with_paper(paper_reference("metrics"))) == 0
