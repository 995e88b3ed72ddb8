"""Runs that differ in their seed: put together as they are, refused where they differ in more."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest

from fico_utils.__main__ import main
from fico_utils.errors import InputError
from fico_utils.extras.seeds import COLUMNS, over_seeds, read_seeds
from fico_utils.results import schema


def run(seed: int, values: dict[tuple[str, str], float], profile: str = "standard", chance: float = 0.001):
    """metrics.csv of a run: R@1 of some systems in some directions, and what must be left out of the spread."""
    rows = [
        {
            "profile": profile, "source": "ours", "system": system, "corpus": "picto_people", "split": "test",
            "task": "instance", "direction": direction, "metric": metric, "k": "1", "value": value, "chance": chance,
            "status": "ok", "run": f"{profile}-s{seed}",
        }
        for (system, direction), value in values.items()
        for metric in ("recall", "median_rank")
    ]  # fmt: skip
    paper = rows[0] | {"source": "paper", "run": "table2", "value": 0.5}
    undefined = rows[0] | {"k": "10", "status": "undefined", "value": float("nan")}
    return pd.DataFrame([*rows, paper, undefined])


def test_numbers_over_seeds():
    rng = np.random.default_rng(0)
    values = [{("scan", d): rng.random() for d in ("t2i", "i2t")} | {("beit3", "i2t"): rng.random()} for _ in range(3)]
    values[1].pop(("beit3", "i2t"))
    values[0]["ucch", "i2t"] = 0.1  # one run alone
    found = over_seeds([run(seed, values[i]) for i, seed in enumerate((2, 0, 11))])
    assert tuple(found.columns) == COLUMNS
    assert [*zip(found["system"], found["direction"], found["metric"], found["k"], found["seeds"], strict=True)] == [
        ("beit3", "i2t", "recall", "1", "2 11"),
        ("scan", "i2t", "recall", "1", "0 2 11"),
        ("scan", "t2i", "recall", "1", "0 2 11"),
    ]
    own = np.array([v["scan", "t2i"] for v in values])
    expected = [own.mean(), own.std(ddof=1), own.min(), own.max()]
    assert found.loc[2, ["mean", "sd", "low", "high"]].tolist() == pytest.approx(expected)


@pytest.mark.parametrize(
    ("runs", "said"),
    [
        ([run(0, {("scan", "i2t"): 0.5})], "1 run was given"),
        ([run(s, {("scan", "i2t"): 0.5}) for s in (0, 0)], "seed 0 of profile standard was given beside seed 0"),
        ([run(0, {("scan", "i2t"): 0.5}), run(1, {("scan", "i2t"): 0.5}, "mini")], "seed 1 of profile mini was given"),
        (
            [run(0, {("scan", "i2t"): 0.5}), run(1, {("scan", "i2t"): 0.5}, chance=0.002)],
            "has chance levels from 0.001000 to 0.002000 in these runs; expected the same test split",
        ),
        ([pd.concat([run(s, {("scan", "i2t"): 0.5}) for s in (0, 1)])] * 2, "expected metrics.csv of one run"),
    ],
)
def test_runs_that_differ_in_more_than_the_seed_are_refused(runs, said):
    with pytest.raises(InputError, match=said):
        over_seeds(runs)


def test_categories_that_each_run_wrote_itself_may_differ_in_chance():
    runs = [run(seed, {("scan", "i2t"): 0.5 + seed / 10}, chance=0.8 + seed / 100) for seed in (0, 1)]
    runs = [frame[frame["metric"] == "recall"].assign(task="category", metric="map", k="N") for frame in runs]
    assert over_seeds(runs)["mean"].tolist() == pytest.approx([0.55])
    with pytest.raises(InputError, match="expected the same test split"):
        over_seeds([frame.assign(corpus="picto_diverse") for frame in runs])  # its labels are given, and the same


@pytest.mark.parametrize(
    ("text", "said"),
    [
        (None, "does not exist"),
        ("a,b\n1,2\n", "has the columns a, b; expected profile, system"),
        (f"{','.join(COLUMNS)}\n{','.join(['word'] * len(COLUMNS))}\n", "column mean: .*; expected numbers"),
    ],
)
def test_a_file_that_is_no_spread_is_refused(tmp_path, text, said):
    path = tmp_path / "seeds.csv"
    if text:
        path.write_text(text)
    with pytest.raises(InputError, match=said):
        read_seeds(path)


def test_the_command_writes_a_file(tmp_path, capsys):
    for seed in (0, 1):
        frame = run(seed, {("scan", "i2t"): 0.5 + 0.1 * seed}).query("source == 'ours' and metric == 'recall'")
        (tmp_path / f"s{seed}").mkdir()
        frame = frame.reindex(columns=schema.COLUMNS["metrics"]).assign(n_query=100)
        frame.to_csv(tmp_path / f"s{seed}" / "metrics.csv", index=False)
    roots = [str(tmp_path / f"s{seed}") for seed in (0, 1)]
    assert main(["seeds", *roots, "--to", str(tmp_path / "out.csv")]) == 0
    found = read_seeds(capsys.readouterr().out.strip())
    assert found["k"].tolist() == ["1"]
    assert found[["seeds", "mean", "low", "high"]].to_numpy().tolist() == [["0 1", 0.55, 0.5, 0.6]]
    assert main(["seeds", roots[0]]) == 2
    assert "1 run was given" in capsys.readouterr().err
    assert not (tmp_path / "s0" / "seeds.csv").exists()
