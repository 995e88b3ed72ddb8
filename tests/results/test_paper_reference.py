"""The paper's numbers as tidy rows: every one of them, with its value, and what the paper's text says of them."""

from __future__ import annotations

import csv
import math
from pathlib import Path

import pytest

import fico_utils.results
from fico_utils import registry
from fico_utils.results import paper_reference
from fico_utils.results.paper_reference import CORPUS_IDS, GIB, INDEX_IDS, SYSTEM_IDS

PAPER = Path(fico_utils.results.__file__).with_name("paper")


def lines(name: str) -> list[dict[str, str]]:
    with open(PAPER / f"{name}.csv", newline="", encoding="utf-8") as file:
        return list(csv.DictReader(file))


def number(table: str, **where) -> float:
    rows = paper_reference(table)
    for column, value in where.items():
        rows = rows[rows[column] == value]
    assert len(rows) == 1, f"{len(rows)} rows for {where}"
    return float(rows["value"].iloc[0])


@pytest.mark.parametrize(
    ("table", "run", "n"),
    [
        ("metrics", "table2", 132), ("metrics", "table3", 18), ("metrics", "table4", 132), ("metrics", "figure3", 400),
        ("costs", "table5", 60), ("costs", "table6", 12), ("costs", "table7", 60), ("costs", "figure4a", 21),
        ("costs", "figure4b", 40),
    ],
)  # fmt: skip
def test_rows_a_table(table, run, n):
    rows = paper_reference(table)
    assert (rows["run"] == run).sum() == n
    assert set(rows["profile"]) == {"paper"}


@pytest.mark.parametrize(
    ("name", "metric", "column", "run"),
    [
        ("table2_instance_recall", "recall", "recall_percent", "table2"),
        ("table3_extended_recall", "recall", "recall_percent", "table3"),
        ("table4_category_map", "map", "map_percent", "table4"),
    ],
)
def test_every_quality_of_the_paper_is_a_row(name, metric, column, run):
    rows = paper_reference("metrics").query("run == @run")
    known = rows.set_index(["system", "corpus", "direction", "metric", "k"])
    for line in lines(name):
        key = (SYSTEM_IDS[line["system"]], CORPUS_IDS[line["dataset"]], line["direction"], metric, line["k"])
        row = known.loc[key]
        if line[column]:
            assert row["value"] == pytest.approx(float(line[column]) / 100, abs=1e-9)
        else:
            assert row["status"] == "undefined"
            assert math.isnan(row["value"])


def test_every_curve_point_and_cost_is_a_row():
    rows = paper_reference("metrics").query("run == 'figure3' and source == 'paper'")
    known = rows.set_index(["system", "corpus", "direction", "k"])["value"]
    for line in lines("figure3_precision_recall"):
        key = (
            SYSTEM_IDS[line["system"]],
            CORPUS_IDS[line["dataset"]],
            line["direction"],
            f"R={line['recall']}",
        )
        assert known.loc[key] == float(line["precision"])
    costs = paper_reference("costs")
    for name, phase in (("table5_encoding_time", "encode"), ("table6_attention_time", "attention")):
        rows = costs[costs["phase"] == phase].set_index(["system", "scale_img"])
        for line in lines(name):
            row = rows.loc[(SYSTEM_IDS[line["system"]], float(line["images"]))]
            assert row["status"] == line["status"].lower()
            assert line["status"] == "DNF" or row["value"] == float(line["seconds"])
    rows = paper_reference("costs").query("run == 'table7' and phase == 'search'")
    known = rows.set_index(["system", "scale_img", "quantity"])["value"]
    for line in lines("table7_faiss"):
        place = INDEX_IDS[line["index"]], float(line["queries"])
        assert known.loc[(*place, "seconds")] == float(line["search_seconds"])
        assert known.loc[(*place, "recall@100")] == pytest.approx(float(line["recall_at_100"]) / 100)


def test_spot_values():
    flickr = {"corpus": "flickr30k", "direction": "i2t", "k": "1", "run": "table2"}
    assert number("metrics", system="scan", **flickr) == 0.667
    assert number("metrics", system="adv_2048", **flickr) == 0.637
    storage = number("costs", system="blip2", quantity="feature_bytes")
    assert storage == pytest.approx(4240.25 * GIB, abs=1)
    bound = paper_reference("costs").query("system == 'binary_flat' and phase == 'index' and scale_img == 100000")
    assert (bound["value"].item(), bound["spread"].item()) == (0.005, 0.005)  # "<0.01"


def test_means_that_the_text_states():
    rows = paper_reference("metrics").query("run == 'table4' and k == 'N' and status == 'ok'")
    means = rows.groupby("corpus")["value"].mean()
    assert round(100 * means["mscoco"], 1) == 56.0
    assert round(100 * means["flickr30k"], 1) == 92.9


def test_chance_is_where_the_curves_end():
    rows = paper_reference("metrics").query("source == 'chance'").groupby("corpus")["value"].mean()
    assert rows["mscoco"] == pytest.approx(0.33, abs=0.005)
    assert rows["flickr30k"] == pytest.approx(0.887, abs=0.001)


def test_figure_4_agrees_with_table_7_where_they_meet():
    rows = paper_reference("costs").query("phase == 'search' and scale_img == 1000000")
    keys = ["system", "quantity"]
    table, figure = (rows[rows["run"].isin(r)].set_index(keys)["value"] for r in (["table7"], ["figure4a", "figure4b"]))
    shared = table.index.intersection(figure.index)
    assert len(shared) == 13  # three recall curves at three k, four times
    assert table[shared].to_numpy() == pytest.approx(figure[shared].to_numpy(), rel=0.005, abs=0.001)


def test_every_printed_name_has_one_id():
    printed = {line["system"] for line in lines("table2_instance_recall")}
    assert {SYSTEM_IDS[name] for name in printed} == set(registry.SYSTEMS)
    names = [n for s in (*registry.SYSTEMS.values(), *registry.INDEXES.values()) for n in s.paper_names]
    assert len(names) == len(set(names))


def test_a_caller_cannot_change_the_reference():
    rows = paper_reference("metrics")
    rows.loc[:, "value"] = 0.0
    assert number("metrics", system="scan", corpus="mscoco", direction="i2t", k="1", run="table2") == 0.449
