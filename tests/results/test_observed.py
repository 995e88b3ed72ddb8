"""Rows that need what each query saw: bounds of tied orders, places and their intervals, against loops."""

from __future__ import annotations

import itertools

import numpy as np
import pandas as pd
import pytest
from scipy.stats import rankdata

from fico_utils.evaluation import Plan, Rules, evaluate, observe, score_source
from fico_utils.results import observed, store
from fico_utils.results.observed import critical_difference, place_rows, tie_rows
from fico_utils.workspace import Run

N_IMG, PER_IMAGE = 24, 3

#: The level at which tables show a metric.
LEVEL = {"recall": "instance", "map": "category"}


@pytest.fixture(scope="module")
def corpus():
    """Labels, the image of each caption, and three systems: a good one, a noisy one, one of four bits."""
    rng = np.random.default_rng(0)
    labels = rng.integers(0, 2, (N_IMG, 4)).astype(np.uint8)
    labels[:, 0] |= ~labels.any(axis=1)
    own = np.repeat(np.arange(N_IMG), PER_IMAGE)
    img = rng.normal(size=(N_IMG, 8))
    noise = rng.normal(size=(own.size, 8))
    given = {"caption_image": own, "labels": labels}
    systems = {
        "beit3": {"images": img, "texts": img[own] + 0.2 * noise},
        "scan": {"images": img, "texts": img[own] + 2.0 * noise},
        "ucch": {"images": img[:, :4] > 0, "texts": (img[own] + 0.8 * noise)[:, :4] > 0, "measure": "hamming"},
    }
    return given, systems


def see(arrays, given, ties="expected"):
    plan = Plan("recall@1 map@10,N", Rules(ties))
    return observe(score_source(**arrays), given["caption_image"], given["labels"], plan)


@pytest.fixture(scope="module")
def seen(corpus):
    given, systems = corpus
    return {s: see(arrays, given) for s, arrays in systems.items()}


def test_tied_orders_are_those_of_evaluate_and_enclose_the_expectation(corpus):
    given, systems = corpus
    rows = [
        tie_rows(see(systems["ucch"], given, t), "recall@1,5 median_rank map@10,N")
        for t in ("optimistic", "pessimistic")
    ]
    found = pd.concat(rows).set_index(["direction", "metric", "k"])["value"]
    assert len(found) == 2 * 2 * 4  # orders, directions, R@1, R@5, mAP@10, mAP@N
    for ties in ("optimistic", "pessimistic"):
        direct = evaluate(**systems["ucch"], **given, metrics="recall@1,5 map@10,N", ties=ties)
        for row in direct[direct["task"] == direct["metric"].map(LEVEL)].itertuples():
            assert found[row.direction, f"{row.metric}_{ties}", row.k] == row.value
    expected = evaluate(**systems["ucch"], **given, metrics="recall@1,5 map@10,N")
    for row in expected[expected["task"] == expected["metric"].map(LEVEL)].itertuples():
        low, high = (found[row.direction, f"{row.metric}_{t}", row.k] for t in ("pessimistic", "optimistic"))
        assert low <= row.value <= high
        assert low < high  # four bits tie


def loop_places(scores: list[float]) -> list[float]:
    """Places of one query, from the definition."""
    return [
        1 + sum(other > own for other in scores) + 0.5 * (sum(other == own for other in scores) - 1) for own in scores
    ]


def test_places_are_those_of_a_loop(seen):
    rows = place_rows(seen, "map@10,N", repeats=20).set_index(["system", "direction", "metric", "k"])
    for direction in ("i2t", "t2i"):
        ranks = np.stack([o.first_hit_rank(direction) for o in seen.values()], axis=1)
        places = np.array([loop_places([-r for r in row]) for row in ranks.tolist()])
        for k in (10, "N"):
            ap = np.stack([o.side("category", direction).column("ap", k) for o in seen.values()], axis=1).round(9)
            by_map = np.array([loop_places(row) for row in ap.tolist()])
            for i, system in enumerate(seen):
                assert rows.loc[(system, direction, "map_place", str(k)), "value"] == pytest.approx(by_map[:, i].mean())
        for i, system in enumerate(seen):
            row = rows.loc[(system, direction, "place", "")]
            assert row["value"] == pytest.approx(places[:, i].mean())
            assert row["n_query"] == places.shape[0]
    assert (rows["chance"] == 2).all()
    assert rows.groupby(["direction", "metric", "k"])["value"].sum().to_numpy() == pytest.approx(6)  # 1 + 2 + 3
    assert rows.loc[("beit3", "t2i", "place", ""), "value"] < rows.loc[("scan", "t2i", "place", ""), "value"]


def test_intervals_share_one_width_and_repeat_themselves(seen):
    rows = place_rows(seen, repeats=50)
    assert place_rows(seen, repeats=50).equals(rows)
    for _, panel in rows.groupby(["direction", "metric"]):
        upper = panel["ci_high"] - panel["value"]
        assert upper.to_numpy() == pytest.approx(upper.iloc[0])
        assert (panel["ci_low"] >= 1).all()
        free = panel["ci_low"] > 1
        assert (panel["value"] - panel["ci_low"])[free].to_numpy() == pytest.approx(upper.iloc[0])


def test_the_critical_difference_is_that_of_a_loop():
    rng = np.random.default_rng(3)
    image = np.repeat(np.arange(30), 2)
    places = rankdata(rng.normal(size=(60, 4)), axis=1)
    found = critical_difference(places, image, repeats=4000, seed=1)
    widest = []
    for _ in range(4000):
        picked = rng.integers(0, 30, 30)
        drawn = np.concatenate([places[image == i] for i in picked]).mean(axis=0) - places.mean(axis=0)
        widest.append(max(abs(a - b) for a, b in itertools.combinations(drawn, 2)))
    assert found == pytest.approx(np.percentile(widest, 95), rel=0.05)


def test_captions_of_an_image_are_not_independent():
    rng = np.random.default_rng(0)
    places = np.repeat(rankdata(rng.normal(size=(200, 3)), axis=1), 5, axis=0)
    by_image = critical_difference(places, np.repeat(np.arange(200), 5), seed=2)
    by_caption = critical_difference(places, np.arange(1000), seed=2)
    assert by_image / by_caption == pytest.approx(np.sqrt(5), rel=0.1)


def test_equal_systems_are_not_told_apart_and_different_ones_are():
    """The share of false alarms over many draws of three equal systems is near the 5 % that is promised."""
    rng, alarms = np.random.default_rng(5), 0
    for trial in range(200):
        places = rankdata(rng.normal(size=(100, 3)), axis=1)
        alarms += np.ptp(places.mean(axis=0)) > critical_difference(places, np.arange(100), 300, trial)
    assert alarms <= 20  # 10 expected
    places = rankdata(rng.normal(size=(100, 3)) - np.array([0, 0, 1.5]), axis=1)
    assert np.ptp(places.mean(axis=0)) > critical_difference(places, np.arange(100))


def test_one_system_has_the_first_place():
    assert critical_difference(np.ones((5, 1)), np.arange(5)) == 0


def test_a_reranker_has_no_place_by_map_n(corpus, seen):
    given, systems = corpus
    sim = systems["beit3"]["images"] @ systems["beit3"]["texts"].T
    keep = {"i2t": np.argsort(-sim, axis=1)[:, :12], "t2i": np.argsort(-sim.T, axis=1)[:, :12]}
    cut = {}
    for (direction, columns), matrix in zip(keep.items(), (sim, sim.T), strict=True):
        cut[direction] = np.full(matrix.shape, -np.inf)
        np.put_along_axis(cut[direction], columns, np.take_along_axis(matrix, columns, 1), 1)
    rerank = see({"similarity": cut["i2t"], "similarity_t2i": cut["t2i"]}, given)
    rows = place_rows({"xvlm": rerank, "scan": seen["scan"], "ucch": seen["ucch"]}, "map@10,N", repeats=20)
    index = rows.set_index(["system", "direction", "metric", "k"])
    gone = index.loc[("xvlm", "i2t", "map_place", "N")]
    assert gone["status"] == "undefined"
    assert np.isnan(gone[["value", "ci_low", "ci_high", "chance"]].astype(float)).all()
    assert index.loc[("scan", "i2t", "map_place", "N"), "chance"] == 1.5  # of the two that are left
    assert index.loc[("xvlm", "i2t", "map_place", "10"), "status"] == "ok"
    assert index.loc[("xvlm", "t2i", "place", ""), "value"] >= 1


def test_rows_belong_in_metrics_csv(corpus, seen, tmp_path):
    run = Run("mini", 0, tmp_path / "mini", {})
    given, systems = corpus
    bounds = tie_rows(see(systems["ucch"], given, "optimistic"), "recall@1,5 map@10,N")
    store.write_part(run, "metrics", "ties", store.score_rows(bounds, "ucch", "picto_people"))
    store.write_part(run, "metrics", "places", place_rows(seen, repeats=20).assign(corpus="picto_people"))
    merged = store.merge(run, "metrics")
    assert {"recall_optimistic", "map_optimistic", "place", "map_place"} <= set(merged["metric"])
    mine = merged[(merged["profile"] == "mini") & (merged["metric"] == "place")]
    assert mine["system"].tolist() == ["beit3"] * 2 + ["scan"] * 2 + ["ucch"] * 2
    assert set(mine["source"]) == {"ours"}


def test_scores_are_written_once_and_kept(corpus, seen, tmp_path, monkeypatch):
    run = Run("mini", 0, tmp_path / "mini", {"metrics": "recall@1,5 map@10 precision@10"})
    given, systems = corpus
    scored = observe(
        score_source(**systems["ucch"]), given["caption_image"], given["labels"], Plan(run["metrics"], curve=True)
    )
    observed.write_scores(run, "ucch", "picto_people", scored, "mini-s0+standard-s0")
    first = store.merge(run, "metrics")
    ours = first[first["source"] == "ours"]
    assert {*ours["run"]} == {"mini-s0+standard-s0"}
    direct = evaluate(
        **systems["ucch"], **given, metrics=run["metrics"], curve=True, intervals=True
    )  # precision at both levels, the points of the curve at category level
    direct = direct[direct["task"] == direct["metric"].map(LEVEL).fillna(direct["task"])]
    for column in ("value", "ci_low", "ci_high", "chance"):
        assert sorted(ours[column]) == pytest.approx(sorted(direct[column]), rel=1e-8)
    assert [*ours[(ours["metric"] == "precision") & (ours["k"] == "10")]["task"]] == ["instance"] * 2 + ["category"] * 2
    monkeypatch.setattr(observed, "summarise", None)  # a second time nothing is computed
    observed.write_scores(run, "ucch", "picto_people", scored, "mini-s0+standard-s0")
    assert store.merge(run, "metrics").equals(first)
