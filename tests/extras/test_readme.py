"""The tables and numbers of the READMEs, on rows made by hand."""

from __future__ import annotations

import re

import pandas as pd
import pytest

from fico_utils.costs.rows import cost_row
from fico_utils.errors import InputError
from fico_utils.extras import readme
from fico_utils.extras.readme import costs_table, count_parameters, refresh_tables, results_table
from fico_utils.extras.seeds import COLUMNS
from fico_utils.provenance import PROJECT

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


def test_an_extrapolation_that_says_nothing_gives_no_number():
    table = rows(1.0, 10.0)
    table.loc[table["status"] == "extrapolated", "spread"] = 226.0  # half the interval of 451 s
    assert "| SCAN | – |" in costs_table(table, "picto_diverse")
    table.loc[table["status"] == "extrapolated", "spread"] = 225.0
    assert "| SCAN | ≈ 451 |" in costs_table(table, "picto_diverse")


def quality(system: str, metric: str, k: str, value: float, **more: object) -> dict[str, object]:
    """A row of metrics.csv of picto_people, i2t."""
    place = {"profile": "standard", "source": "ours", "corpus": "picto_people", "direction": "i2t", "split": "test"}
    interval = {"ci_low": value - 0.01, "ci_high": value + 0.01, "chance": 0.1, "run": "standard-s0", "status": "ok"}
    return {**place, "system": system, "metric": metric, "k": k, "value": value, **interval, **more}


@pytest.fixture
def metrics() -> pd.DataFrame:
    """One system with two numbers, and chance."""
    chance = quality("chance", "recall", "1", 0.1, source="chance", ci_low=None, ci_high=None)
    return pd.DataFrame([quality("scan", "recall", "1", 0.5), quality("scan", "map", "N", 0.891), chance])


def test_a_number_stands_above_its_range_over_seeds_and_beside_its_parameters(metrics):
    place = {"profile": "standard", "corpus": "picto_people", "direction": "i2t", "seeds": "0 1 2", "sd": 0.01}
    spread = {**place, "system": "scan", "metric": "recall", "k": "1", "mean": 0.5, "low": 0.49, "high": 0.52}
    columns = (("i2t", "recall", "1"), ("i2t", "map", "N"))
    spread = pd.DataFrame([spread], columns=COLUMNS)
    lines = results_table(metrics, ["picto_people"], columns, spread, {"scan": 280_000}).splitlines()
    assert lines[2:] == [
        "| SCAN<br>0.28 M | 50.0 ± 1.0<br>49.0 to 52.0 | 89.1 ± 1.0 |",
        "| *Chance* | 10.0 | – |",
    ]
    assert len({line.count("|") for line in lines}) == 1


def test_numbers_and_counts_come_into_a_sentence(metrics, monkeypatch):
    judged = pd.DataFrame({"verdict_ours": ["holds", "holds", "does not hold"]})
    monkeypatch.setattr(readme.store, "load", lambda place, table: metrics)
    monkeypatch.setattr(readme, "read_claims", lambda path: judged)
    number = "<!-- value standard picto_people scan i2t recall@1 -->?<!-- /value -->"
    text = f"R@1 {number}. <!-- claims mini -->?<!-- /claims -->"
    said = re.sub("<!--.*?-->", "", refresh_tables(text))
    assert said.startswith("R@1 50.0 ± 1.0. Of the paper's 3 claims, on our numbers, 2 hold, ")
    assert "1 does not hold" in said
    with pytest.raises(InputError, match="of which there are 0 rows"):
        refresh_tables("<!-- value standard picto_people scan t2i recall@1 -->?<!-- /value -->")


def test_parameters_are_counted_in_the_weights_that_ship():
    card = (PROJECT / "fico_utils/weights/standard/beit3__picto_people.md").read_text(encoding="utf-8")
    counted = int(re.search(r"\| parameters \| ([\d ]+) numbers", card)[1].replace(" ", ""))
    assert count_parameters("standard", "picto_people")["beit3"] == counted
