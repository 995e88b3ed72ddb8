"""The tables of costs and of seeds in the README, on rows made by hand."""

from __future__ import annotations

import pandas as pd
import pytest

from fico_utils.costs.rows import cost_row
from fico_utils.extras.readme import costs_table, refresh_tables, seeds_table
from fico_utils.extras.seeds import COLUMNS

LARGE = 100_000


def rows(kept: float, faster: float) -> pd.DataFrame:
    """Costs of two systems and of a screen that keeps and saves as much as is said."""
    place, million = {"corpus": "picto_diverse"}, {"scale_img": 1_000_000, "scale_txt": 5_000_000}
    made = [
        cost_row("encode", "seconds", 21.4, system="ucch", **million, **place),
        cost_row("encode", "seconds", 451.0, status="extrapolated", system="scan", **million, **place),
        cost_row("store", "packed_bytes", 2**30 / 4, unit="B", system="ucch", **million, **place),
        cost_row("store", "embedding_bytes", 2**30 / 2, unit="B", system="ucch", **million, **place),
        cost_row("store", "embedding_bytes", 0.0, unit="B", system="scan", **million, **place),
        cost_row("store", "feature_bytes", 105 * 2.0**30, unit="B", system="scan", **million, **place),
    ]
    for n, found in ((1000, 0.6), (LARGE, 0.2)):
        at = {"scale_img": n, "scale_txt": 200, **place}
        for system, share in (("scan", 1.0), ("ucch", 0.1), ("perfect", 0.9)):
            source = "perfect" if system == "perfect" else "ours"
            made.append(cost_row("gallery", "recall_t2i@1", share * found, unit="", system=system, source=source, **at))
        for setup, share, seconds in (
            ("scan", 1.0, 0.4),
            ("ucch+binary_flat_counting", 0.1, 5e-5),
            ("ucch+scan@10", kept, 0.4 / faster),
        ):
            made += [
                cost_row("deploy", "recall_t2i@1", share * found, unit="", system=setup, **at),
                cost_row("deploy", "seconds_per_query", seconds, system=setup, **at),
                cost_row("deploy", "item_bytes", 8.0, unit="B", system=setup, **at),
            ]
    return pd.DataFrame(made)


def test_a_system_stands_with_its_time_size_wait_and_recall():
    lines = costs_table(rows(1.0, 10.0), "picto_diverse").splitlines()
    assert "among 1,000" in lines[0]
    assert f"among {LARGE:,}" in lines[0]
    assert "| SCAN | ≈ 451 | 105.00 | 400 | 60.0 | 20.0 |" in lines
    assert "| UCCH | 21 | 0.25 | 0.05 | 6.0 | 2.0 |" in lines
    assert "| *UCCH, then SCAN for 10* | both | both | 40.00 | 60.0 | 20.0 |" in lines
    assert "| *Perfect retriever* |  |  |  | 54.0 | 18.0 |" in lines
    assert len({line.count("|") for line in lines}) == 1


@pytest.mark.parametrize(("kept", "faster"), [(0.98, 10.0), (1.0, 4.9)])
def test_a_screen_that_loses_too_much_or_saves_too_little_is_not_shown(kept, faster):
    assert "then" not in costs_table(rows(kept, faster), "picto_diverse")


def test_the_table_comes_between_its_marks(tmp_path):
    text = "a\n<!-- costs standard picto_diverse -->\nold\n<!-- /costs -->\nb\n"
    (tmp_path / "standard").mkdir()
    rows(1.0, 10.0).assign(profile="standard", run="standard-s0").to_csv(
        tmp_path / "standard" / "costs.csv", index=False
    )
    new = refresh_tables(text, tmp_path)
    assert "old" not in new
    assert "| SCAN |" in new
    assert new.startswith("a\n<!-- costs standard picto_diverse -->\n|")
    assert new.endswith("|\n<!-- /costs -->\nb\n")


def test_a_row_over_seeds_has_its_mean_and_its_range():
    place = {"profile": "standard", "corpus": "picto_people", "direction": "i2t", "seeds": "0 1 2", "sd": 0.01}
    spread = pd.DataFrame(
        [
            {**place, "system": system, "metric": metric, "k": k, "mean": mean, "low": low, "high": high}
            for system, metric, k, mean, low, high in (
                ("scan", "recall", "1", 0.5, 0.49, 0.52),
                ("scan", "map", "N", 0.891, 0.89, 0.893),
                ("xvlm", "recall", "1", 0.9, 0.88, 0.91),
            )
        ],
        columns=COLUMNS,
    )
    lines = seeds_table(spread, "picto_people").splitlines()
    assert lines[2:] == [
        "| X-VLM | 90.0 (88.0 to 91.0) | – | – | – |",
        "| SCAN | 50.0 (49.0 to 52.0) | – | – | 89.1 (89.0 to 89.3) |",
    ]
    assert len({line.count("|") for line in lines}) == 1
