"""Parts, their merge, and reading back: same rows, same bytes, nothing half-written, one sentence when it is wrong."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest

from fico_utils.errors import InputError
from fico_utils.results import chance_rows, load, merge, paper_reference, score_rows, write_part
from fico_utils.workspace import Run


@pytest.fixture
def run(tmp_path):
    return Run("mini", 0, tmp_path / "mini", {})


@pytest.fixture
def scores():
    """What `evaluate` returns."""
    rows = [
        ("instance", "i2t", "recall", "10", 0.5, 0.01), ("instance", "i2t", "recall", "5", 1 / 3, 0.005),
        ("instance", "i2t", "median_rank", "", 7.5, 500.5), ("category", "t2i", "map", "N", 0.4, 0.33),
        ("category", "t2i", "precision", "R=0.0", 0.9, 0.33),
    ]  # fmt: skip
    frame = pd.DataFrame(rows, columns=["task", "direction", "metric", "k", "value", "chance"])
    return frame.assign(ci_low=np.nan, ci_high=np.nan, n_query=1000, ties="expected", status="ok")


@pytest.fixture
def cost_rows():
    rows = {
        "system": ["ucch", "scan"],
        "corpus": "picto_people",
        "phase": "encode",
        "scale_img": 250,
        "scale_txt": 1250,
    }
    return pd.DataFrame({**rows, "quantity": "seconds", "value": [0.1, 0.30000000000000004], "threads": 2})


def test_what_is_written_is_read_back(run, scores):
    path = write_part(run, "metrics", "scan__picto_people", score_rows(scores, "scan", "picto_people"))
    assert path == run.root / "metrics" / "scan__picto_people.csv"
    rows = load(path, "metrics")
    assert rows["k"].tolist() == ["5", "10", "", "N", "R=0.0"]
    assert rows["value"].tolist() == pytest.approx([1 / 3, 0.5, 7.5, 0.4, 0.9])
    assert set(rows["run"]) == {"mini-s0"}
    assert set(rows["split"]) == {"test"}
    assert rows["n_query"].eq(1000).all()


def test_same_rows_in_any_order_give_the_same_bytes(run, scores):
    rows = score_rows(scores, "scan", "picto_people")
    first = write_part(run, "metrics", "a", rows).read_bytes()
    assert write_part(run, "metrics", "a", rows.iloc[::-1]).read_bytes() == first
    jittered = rows.assign(value=rows["value"] * (1 + 1e-15))  # another order of summation
    assert write_part(run, "metrics", "a", jittered).read_bytes() == first


def test_merge_holds_parts_and_paper_and_repeats_itself(run, scores):
    for system in ("ucch", "scan"):
        write_part(run, "metrics", f"{system}__picto_people", score_rows(scores, system, "picto_people"))
    write_part(run, "metrics", "chance__picto_people", chance_rows(scores, "picto_people"))
    merged = merge(run, "metrics")
    assert merged["source"].value_counts()["ours"] == 10
    assert (merged["profile"] == "paper").sum() == len(paper_reference("metrics"))
    ours = merged[merged["source"] == "ours"]
    assert list(dict.fromkeys(ours["system"])) == ["scan", "ucch"]  # the order of the registry
    chance = merged.query("source == 'chance' and profile == 'mini' and metric == 'map'")
    assert chance["value"].item() == 0.33
    first = (run.root / "metrics.csv").read_bytes()
    merge(run, "metrics")
    assert (run.root / "metrics.csv").read_bytes() == first
    pd.testing.assert_frame_equal(load(run, "metrics"), merged, check_exact=False)


def test_costs_get_their_unit_and_status(run, cost_rows):
    path = write_part(run, "costs", "05", cost_rows)
    rows = load(path, "costs")
    assert rows["unit"].eq("s").all()
    assert rows["status"].eq("ok").all()
    assert rows["system"].tolist() == ["scan", "ucch"]
    assert rows["value"].tolist() == [0.3, 0.1]
    assert (
        path.read_text().splitlines()[1]
        == "mini,ours,scan,picto_people,encode,250,1250,seconds,s,0.3,,,2,cpu,ok,mini-s0"
    )
    assert len(merge(run, "costs")) == 2 + len(paper_reference("costs"))


def test_bytes_are_whole(run, cost_rows):
    rows = cost_rows.head(1).assign(phase="store", quantity="feature_bytes", value=4552933724160.0)
    assert ",4552933724160," in write_part(run, "costs", "05", rows).read_text()


def test_nothing_is_written_of_a_wrong_part(run, scores):
    wrong = score_rows(scores.assign(value=2.0), "scan", "picto_people")
    with pytest.raises(InputError, match="column value"):
        write_part(run, "metrics", "scan__picto_people", wrong)
    assert not run.root.exists()


def test_mixed_profiles_and_repeated_parts_are_refused(run, scores):
    write_part(run, "metrics", "a", score_rows(scores, "scan", "picto_people"))
    write_part(run, "metrics", "b", score_rows(scores, "scan", "picto_people"))
    with pytest.raises(InputError, match="one row for each"):
        merge(run, "metrics")
    write_part(run, "metrics", "b", score_rows(scores, "scan", "picto_people").assign(profile="standard"))
    with pytest.raises(InputError, match="rows of profile 'standard'"):
        merge(run, "metrics")


def test_missing_and_broken_files(run, scores, tmp_path):
    with pytest.raises(InputError, match="does not exist"):
        load(tmp_path, "metrics")
    with pytest.raises(InputError, match="no results yet"):
        merge(run, "metrics")
    path = write_part(run, "metrics", "a", score_rows(scores, "scan", "picto_people"))
    whole = path.read_text()
    path.write_text(whole.replace("0.5", "half", 1))
    with pytest.raises(InputError, match="column value"):
        load(path, "metrics")
    path.write_text(whole[: len(whole) // 2].replace("profile,source", "profile"))
    with pytest.raises(InputError):
        load(path, "metrics")
    path.write_bytes(b"\xff\xfe\x00")
    with pytest.raises(InputError, match="not readable as CSV"):
        load(path, "metrics")


@pytest.mark.parametrize(
    ("column", "value", "expected"),
    [("value", "1.5", "a fraction from 0 to 1"), ("value", "-0.1", "a fraction"), ("system", "clip", "one of blip2")],
)
def test_a_file_with_a_wrong_row_is_refused_when_it_is_read(run, scores, column, value, expected):
    path = write_part(run, "metrics", "a", score_rows(scores, "scan", "picto_people"))
    rows = pd.read_csv(path, dtype=str, keep_default_na=False)
    rows.loc[1, column] = value
    rows.to_csv(path, index=False)
    with pytest.raises(InputError, match=rf"metrics.csv row 1 .*column {column}: got .*{value}.*; expected {expected}"):
        load(path, "metrics")


def test_setups_have_an_order_too(run, cost_rows):
    setups = ["ucch+beit3@100", "beit3+hnsw_flat", "beit3"]
    rows = pd.concat([cost_rows.head(1).assign(system=s, phase="deploy") for s in setups])
    first = write_part(run, "costs", "05", rows).read_bytes()
    assert write_part(run, "costs", "05", rows.iloc[::-1]).read_bytes() == first
    assert load(run.path("costs", "05.csv"), "costs")["system"].tolist() == setups[::-1]
