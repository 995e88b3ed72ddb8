"""The vocabularies of the two tables, and that a wrong cell is refused with its row and column."""

from __future__ import annotations

import pandas as pd
import pytest

from fico_utils import registry
from fico_utils.errors import InputError
from fico_utils.results import paper_reference, schema


@pytest.fixture
def metrics():
    return paper_reference("metrics").head(40).reset_index(drop=True)


@pytest.fixture
def costs():
    return paper_reference("costs")


def broken(frame: pd.DataFrame, row: int, column: str, value) -> pd.DataFrame:
    frame = frame.copy()
    if isinstance(value, str):
        frame[column] = frame[column].astype(object)
    frame.loc[row, column] = value
    return frame


def test_columns_are_those_of_the_design():
    metrics = "profile, source, system, corpus, split, task, direction, metric, k, value, ci_low, ci_high, chance, "
    costs = "profile, source, system, corpus, phase, scale_img, scale_txt, quantity, unit, value, spread, repeats, "
    assert ", ".join(schema.METRICS_COLUMNS) == metrics + "n_query, status, run"
    assert ", ".join(schema.COSTS_COLUMNS) == costs + "threads, device, status, run"


def test_a_good_frame_passes_through(metrics, costs):
    assert schema.validate(metrics, "metrics") is metrics
    assert schema.validate(costs, "costs") is costs


@pytest.mark.parametrize(
    ("column", "value"),
    [
        ("value", 1.2), ("value", -0.1), ("value", float("nan")), ("value", "much"), ("ci_high", 1.5), ("chance", -1.0),
        ("system", "clip"), ("system", "chance"), ("corpus", "cifar"), ("corpus", "synthetic"), ("source", "theirs"),
        ("split", "dev"), ("task", "both"), ("task", "category"), ("direction", "img2txt"), ("metric", "hits"),
        ("k", "R=0.35"), ("k", "ten"), ("status", "fine"),
    ],
)  # fmt: skip
def test_a_wrong_metric_is_refused_with_row_and_column(metrics, column, value):
    at = metrics.index[metrics["metric"] == "recall"][3]
    with pytest.raises(InputError, match=rf"metrics\.csv row {at} .*column {column}: got .*; expected "):
        schema.validate(broken(metrics, at, column, value), "metrics")


@pytest.mark.parametrize(
    ("column", "value"),
    [
        ("phase", "training"), ("system", "flat_ip"), ("quantity", "minutes"), ("quantity", "recall@5"),
        ("unit", "min"), ("unit", "B"), ("value", -1.0), ("status", "slow"), ("corpus", "here"), ("scale_img", -5.0),
    ],
)  # fmt: skip
def test_a_wrong_cost_is_refused_with_row_and_column(costs, column, value):
    at = costs.index[(costs["phase"] == "encode") & (costs["status"] == "ok")][2]
    with pytest.raises(InputError, match=rf"costs\.csv row {at} .*column {column}: got .*; expected "):
        schema.validate(broken(costs, at, column, value), "costs")


def test_a_rank_is_no_fraction(metrics):
    ranks = metrics.head(1).assign(metric="median_rank", k="", value=120.5)
    assert len(schema.validate(ranks, "metrics")) == 1
    with pytest.raises(InputError, match="1 or more"):
        schema.validate(ranks.assign(value=0.5), "metrics")


def test_rows_repeated_and_columns_missing_or_strange(metrics):
    with pytest.raises(InputError, match="one row for each"):
        schema.validate(pd.concat([metrics, metrics.head(1)], ignore_index=True), "metrics")
    with pytest.raises(InputError, match="lacks column 'run'"):
        schema.validate(metrics.drop(columns="run"), "metrics")
    with pytest.raises(InputError, match="unknown column 'colour'"):
        schema.validate(metrics.assign(colour="red"), "metrics")


def test_k_has_one_order():
    ks = ["R=1.0", "N", "10", "2", "R=0.0", "", "200"]
    assert sorted(ks, key=schema.k_order) == ["", "2", "10", "200", "N", "R=0.0", "R=1.0"]


def test_which_systems_a_row_may_name():
    assert set(registry.SYSTEMS) <= set(schema.systems_of("metrics"))
    assert schema.systems_of("costs", "search") == tuple(registry.INDEXES)
    assert "scan" in schema.systems_of("costs", "encode")
    assert "regions" in schema.systems_of("costs", "features")
