"""Runs side by side: what is marked, what is refused, and a page that holds it."""

from __future__ import annotations

import json

import pandas as pd
import pytest

from fico_utils.errors import InputError
from fico_utils.extras.comparison import check_comparable, compare_runs, read_runs, write_comparison
from fico_utils.results import store
from fico_utils.workspace import Run
from tests.faults.content import change_in_place, is_noticed


@pytest.fixture
def make(metrics, costs, tmp_path):
    """Write a run's folder: the shared synthetic results, changed."""

    def folder(name: str, seed: int = 1, profile: str = "mini", change=None, keys=None):
        root = tmp_path / name
        for table, frame in (("metrics", metrics), ("costs", costs)):
            rows = frame[frame["profile"] != "paper"].assign(profile=profile, run=f"{profile}-s{seed}")
            if table == "metrics":
                rows["ci_low"], rows["ci_high"] = rows["value"] - 0.01, rows["value"] + 0.01
                quality = rows["metric"].isin(("recall", "map", "precision"))
                rows.loc[quality, ["ci_low", "ci_high"]] = rows.loc[quality, ["ci_low", "ci_high"]].clip(0, 1)
                rows.loc[~quality, ["ci_low", "ci_high"]] = float("nan")
            store.write_part(Run(profile, seed, root, {}), table, "all", change(table, rows) if change else rows)
            store.merge(Run(profile, seed, root, {}), table)
        if keys:
            (root / "data").mkdir()
            (root / "data" / "corpora.json").write_text(json.dumps(keys))
        return root

    return folder


def moved(by: float, system: str = "scan", metric: str = "recall", k: str = "1"):
    def change(table, rows):
        if table == "metrics":
            chosen = (rows["system"] == system) & (rows["metric"] == metric) & (rows["k"] == k)
            columns = ["value", "ci_low", "ci_high"]
            rows.loc[chosen, columns] = (rows.loc[chosen, columns] + by).clip(0, 1)
        return rows

    return change


def test_equal_runs_differ_nowhere(make):
    frame = compare_runs(read_runs([make("a", 1), make("b", 2)]))
    assert len(frame) > 100
    assert (frame["difference"] == 0).all()
    assert not frame["outside"].any()
    assert {"metrics", "costs"} == set(frame["table"])


def test_a_corpus_beside_nothing_is_compared_too(make):
    def more(table, rows):
        if table != "metrics":
            return rows
        own = rows[(rows["corpus"] == "picto_people") & (rows["source"] != "perfect")].assign(corpus="openclipart")
        return pd.concat([rows, own])

    def worse(table, rows):
        if table != "metrics":
            return rows
        rows = more(table, rows)
        own = (rows["corpus"] == "openclipart") & (rows["metric"] == "recall")
        rows.loc[own, ["value", "ci_low", "ci_high"]] *= 0.5
        return rows

    first = make("a", 1, change=more)
    assert not compare_runs(read_runs([first, make("b", 2, change=more)]))["outside"].any()
    frame = compare_runs(read_runs([first, make("c", 3, change=worse)]), across=True)
    own = frame[frame["place"].str.startswith("Openclipart")]
    assert {*own["place"]} == {"Openclipart i2t", "Openclipart t2i"}
    assert (own.loc[own["what"] == "R@1", "difference"] < 0).all()
    assert not frame.loc[frame["place"].str.startswith("PictoScenes"), "difference"].any()


def test_only_what_lies_outside_is_marked(make):
    first = make("a", 1)
    far = compare_runs(read_runs([first, make("b", 2, change=moved(0.05))]))
    marked = far[far["outside"].astype(bool)]
    assert set(marked["system"]) == {"scan"}
    assert set(marked["what"]) == {"R@1"}
    assert len(marked) == 4  # two corpora, two directions
    assert marked["difference"].to_numpy() == pytest.approx(0.05)
    near = compare_runs(read_runs([first, make("c", 3, change=moved(0.015))]))  # intervals of 0.01 each overlap
    assert not near["outside"].any()
    assert (near["difference"] != 0).sum() == 4


def test_times_are_marked_beyond_their_noise(make):
    def slower(factor):
        def change(table, rows):
            if table == "costs":
                chosen = (rows["phase"] == "encode") & (rows["system"] == "ucch")
                rows.loc[chosen, "value"] *= factor
            return rows

        return change

    first = make("a", 1)
    twice = compare_runs(read_runs([first, make("b", 2, change=slower(2))]))
    assert set(twice[twice["outside"].astype(bool)]["system"]) == {"ucch"}
    assert not compare_runs(read_runs([first, make("c", 3, change=slower(1.2))]))["outside"].any()


def test_other_profiles_and_corpora_are_refused(make):
    first = make("a", 1)
    runs = read_runs([first, make("b", 1, "standard")])
    with pytest.raises(InputError, match=r"profile mini and .* of standard; expected runs of one profile"):
        compare_runs(runs)
    assert len(compare_runs(runs, across=True))

    def other_labels(table, rows):
        if table == "metrics":
            chance = (rows["source"] == "chance") & (rows["corpus"] == "picto_people") & (rows["metric"] == "map")
            rows.loc[chance, "value"] -= 0.02
        return rows

    runs = read_runs([first, make("c", 2, change=other_labels)])
    with pytest.raises(InputError, match="different test splits of picto_people"):
        check_comparable(runs)
    frame = compare_runs(runs, across=True)
    people = frame["place"].str.startswith("PictoScenes people")
    assert frame.loc[people, "outside"].isna().all()
    assert frame.loc[~people, "outside"].notna().all()


def test_recorded_hashes_decide(make):
    first = make("a", 1, keys={"picto_diverse": "1" * 64, "picto_people": "2" * 64})
    same = make("b", 2, keys={"picto_diverse": "1" * 64, "picto_people": "2" * 64})
    other = make("c", 3, keys={"picto_diverse": "1" * 64, "picto_people": "3" * 64})
    check_comparable(read_runs([first, same]))
    with pytest.raises(InputError, match="picto_people"):
        check_comparable(read_runs([first, same, other]))


def test_too_few_or_missing_runs(make, tmp_path):
    first = make("a", 1)
    with pytest.raises(InputError, match="two or more"):
        read_runs([first])
    with pytest.raises(InputError, match="given twice"):
        read_runs([first, first / ".." / "a"])
    with pytest.raises(InputError, match="does not exist"):
        read_runs([first, tmp_path / "nothing"])


def test_the_page(make):
    roots = [make("a", 1), make("b", 2, change=moved(0.05)), make("c", 3)]
    path = write_comparison(roots)
    text = path.read_text(encoding="utf-8")
    assert text.count("↑") == 1 + 2 * 4  # the sentence; two corpora in two directions, apart and among all
    assert "4 of " in text
    assert "mini-s1" in text
    assert "mini-s3" in text
    assert path == roots[0] / "report" / "comparison.html"
    page = path.read_text(encoding="utf-8")
    assert page.startswith("<!doctype html>")
    assert "http" not in page.replace("http-equiv", "")
    before = path.read_bytes()
    write_comparison(roots)
    assert path.read_bytes() == before
    assert not is_noticed(path, roots[0])
    change_in_place(path, before.replace(b"4 of ", b"3 of "))
    assert is_noticed(path, roots[0])


def test_runs_of_one_name_are_told_apart(make):
    runs = read_runs([make("a", 1), make("b", 1)])
    assert len({run.label for run in runs}) == 2
