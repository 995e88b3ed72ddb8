"""Figures beyond the paper's: each drawn number is a row, the arithmetic is right, joined systems do overlap."""

from __future__ import annotations

import itertools
from dataclasses import replace

import matplotlib.colors
import numpy as np
import pandas as pd
import pytest

from fico_utils import registry
from fico_utils.display.figures.curves import precision_recall
from fico_utils.display.figures.scores import chance_corrected, joined_groups, mean_places, tie_gap
from fico_utils.display.picture import drawing_style
from fico_utils.errors import InputError
from fico_utils.extras.figures.seeds import seed_spread
from fico_utils.extras.seeds import over_seeds

KEYS = ["source", "system", "corpus", "direction", "metric", "k", "value", "status"]
BOUNDS = ("_optimistic", "_pessimistic")


def marks(figure) -> list[tuple[float, str]]:
    """x and colour of each mark that stands alone (the lines have two points)."""
    lines = [line for ax in figure.axes for line in ax.lines if len(line.get_xdata()) == 1]
    return [(round(float(line.get_xdata()[0]), 6), line.get_color()) for line in lines]


def bars(figure, width: float) -> list[tuple[float, float]]:
    """Ends of each horizontal bar of a line width."""
    lines = [line for ax in figure.axes for line in ax.lines if len(line.get_xdata()) == 2]
    level = [line for line in lines if line.get_linewidth() == width and len(set(line.get_ydata())) == 1]
    return [tuple(round(float(x), 6) for x in line.get_xdata()) for line in level]


@pytest.fixture(scope="module", params=["three", "all"])
def rows(request, metrics, everyone):
    """metrics.csv of three systems, and of all."""
    return metrics if request.param == "three" else everyone[0]


def is_found(data: pd.DataFrame, table: pd.DataFrame) -> bool:
    return len(data.merge(table.drop_duplicates(KEYS), on=KEYS)) == len(data)


# ------------------------------------------------------------------------------------------ above chance


def test_shares_are_worked_out_from_rows(rows):
    picture = chance_corrected(rows)
    data = picture.data
    assert is_found(data, rows)
    chance = rows[(rows["source"] == "chance") & (rows["metric"] == "map")]
    for row in data.itertuples():
        level = chance[((chance["profile"] == "paper") == (row.source == "paper")) & (chance["corpus"] == row.corpus)]
        level = level[(level["direction"] == row.direction) & (level["k"] == row.k)]["value"].item()
        assert row.chance == level
        assert row.share == pytest.approx((row.value - level) / (1 - level))
    drawn = {x for x, _ in marks(picture.figure)}
    assert drawn == {round(share, 6) for share in data["share"]}
    ours = data[data["source"] == "ours"]
    names = {*rows.loc[rows["source"] == "ours", "system"]}
    assert {*ours["system"]} == names
    whole = ours[ours["k"] == "N"]
    assert {*whole["system"]} == {s for s in names if registry.system(s).measure != "rerank"}
    assert {*data.loc[data["source"] == "paper", "k"]} == {"N"}  # nobody states the chance of its mAP@10


def test_rerankers_are_said_to_have_no_map_n(everyone):
    figure = chance_corrected(everyone[0]).figure
    assert [t.get_text() for ax in figure.axes for t in ax.texts] == ["n/a"] * 4  # two systems, two corpora


def test_intervals_move_with_the_value(metrics):
    with_interval = metrics.copy()
    chosen = (metrics["source"] == "ours") & (metrics["metric"] == "map")
    with_interval.loc[chosen, "ci_low"] = metrics["value"] - 0.01
    with_interval.loc[chosen, "ci_high"] = (metrics["value"] + 0.02).clip(upper=1)
    data = chance_corrected(with_interval).data.query("source == 'ours'")
    assert (data["share_low"] - data["share"]).to_numpy() == pytest.approx(-0.01 / (1 - data["chance"]))
    assert set(bars(chance_corrected(with_interval).figure, 0.9)) == {
        (round(a, 6), round(b, 6)) for a, b in zip(data["share_low"], data["share_high"], strict=True)
    }


def test_the_papers_alone_where_nothing_was_measured(metrics):
    picture = chance_corrected(metrics[metrics["profile"] == "paper"])
    assert set(picture.data["source"]) == {"paper"}
    assert "(paper)" in picture.figure.axes[0].get_title()
    assert "nothing was measured" in picture.alt
    level = picture.data.query("corpus == 'flickr30k'")["chance"]
    assert level.to_numpy() == pytest.approx(0.887, abs=0.001)


# ----------------------------------------------------------------------------------------------- ties


def test_tie_bars_run_from_worst_to_best(rows):
    picture = tie_gap(rows)
    assert is_found(picture.data, rows)
    assert {registry.system(s).measure for s in picture.data["system"]} == {"hamming"}
    ends = {}
    for row in picture.data.itertuples():
        name = row.metric.removesuffix(BOUNDS[0]).removesuffix(BOUNDS[1])
        ends.setdefault((row.system, row.corpus, row.direction, name, row.k), {})[row.metric] = 100 * row.value
    assert len(ends) == 4 * 2 * 2 * len({*picture.data["system"]})  # panels a corpus, corpora, directions
    expected = {
        tuple(round(found[key[3] + bound], 6) for bound in BOUNDS) for key, found in ends.items()
    }  # best first: from the right end to the left
    assert set(bars(picture.figure, 3.2)) == expected
    assert {x for x, _ in marks(picture.figure)} == {round(found[key[3]], 6) for key, found in ends.items()}
    gap = max(
        found["recall_optimistic"] - found["recall_pessimistic"] for key, found in ends.items() if key[3] == "recall"
    )
    assert f"{gap:.1f} points" in picture.alt


def test_without_tied_orders_the_figure_says_unavailable(metrics):
    none = metrics[~metrics["metric"].str.endswith(BOUNDS)]
    picture = tie_gap(none)
    assert picture.data.empty
    assert {t.get_text() for ax in picture.figure.axes for t in ax.texts} == {"unavailable"}
    half = metrics[metrics["metric"] != "recall_pessimistic"]
    assert len(bars(tie_gap(half).figure, 3.2)) == 2 * 2 * 2  # mAP@10 and mAP@N, corpora, directions


# -------------------------------------------------------------------------------------------- ranking


@pytest.mark.parametrize("task", ["instance", "category"])
def test_places_are_rows_in_order(rows, task):
    picture = mean_places(rows, task)
    assert is_found(picture.data, rows)
    for _, panel in picture.data.groupby(["corpus", "direction"]):
        assert panel["value"].is_monotonic_increasing
    metric = "place" if task == "instance" else "map_place"
    assert len(picture.data) == (rows["metric"] == metric).sum()
    assert {x for x, _ in marks(picture.figure)} == {round(v, 6) for v in picture.data["value"]}
    for ax in picture.figure.axes:
        names = [label.get_text() for label in ax.get_yticklabels()]
        assert len(names) == len(set(names)) == len({*picture.data["system"]})


def test_colour_of_a_mark_is_that_of_its_system(everyone):
    figure = mean_places(everyone[0]).figure
    for ax in figure.axes:
        names = [label.get_text() for label in ax.get_yticklabels()]
        single = [line for line in ax.lines if len(line.get_xdata()) == 1]
        for line in single:
            system = next(s for s in registry.SYSTEMS.values() if s.name == names[int(line.get_ydata()[0])])
            assert matplotlib.colors.same_color(line.get_color(), system.colour)
            assert line.get_marker() == system.marker


def test_joined_groups_are_the_largest_whose_intervals_all_overlap():
    def panel(values, half):
        return pd.DataFrame({"ci_low": np.subtract(values, half), "ci_high": np.add(values, half)})

    assert joined_groups(panel([1, 2, 3], 0.4)) == []
    assert joined_groups(panel([1, 1.5, 2.0, 3], 0.3)) == [(0, 1), (1, 2)]
    assert joined_groups(panel([1, 1.2, 1.4, 3, 3.1], 0.3)) == [(0, 2), (3, 4)]
    assert joined_groups(panel([1, 1.1], 1)) == [(0, 1)]
    assert joined_groups(panel([1], 1)) == []


def test_lines_at_the_right_join_the_groups(metrics):
    near = metrics.copy()
    places = near["metric"] == "place"
    near.loc[places, "ci_high"] = near.loc[places, "value"] + 5
    near.loc[places, "ci_low"] = 1
    upright = [
        line for line in mean_places(near).figure.axes[0].lines
        if len(set(line.get_xdata())) == 1 and len(line.get_xdata()) == 2 and line.get_linewidth() == 1.6
    ]  # fmt: skip
    assert [list(line.get_ydata()) for line in upright] == [[-0.25, 2.25]]
    none = mean_places(metrics.assign(ci_low=metrics["value"], ci_high=metrics["value"])).figure
    assert all(line.get_linewidth() != 1.6 for ax in none.axes for line in ax.lines)


def test_missing_directions_and_systems_do_not_stop_a_figure(metrics):
    few = metrics[
        (metrics["direction"] != "t2i") & (metrics["system"] != "ucch") & (metrics["corpus"] != "picto_people")
    ]
    for draw in (chance_corrected, tie_gap, mean_places):
        data = draw(few).data
        ours = data[data["source"] == "ours"]
        assert set(ours["direction"]) <= {"i2t"}
        assert "ucch" not in set(ours["system"])
    words = [t.get_text() for ax in mean_places(few).figure.axes for t in ax.texts]
    assert words == ["unavailable"]  # text-to-image
    nothing = metrics[metrics["profile"] == "paper"]
    assert mean_places(nothing).data.empty
    assert tie_gap(nothing).data.empty


@pytest.mark.parametrize("draw", [precision_recall, chance_corrected, tie_gap, mean_places])
def test_long_names_of_corpora_do_not_overlap(draw, metrics, monkeypatch):
    names = {
        "picto_diverse": "Pictures of birds that breed on islands",
        "picto_people": "Wideangleviewsofstreetsigns of 14 cities",
    }
    for corpus, name in names.items():
        monkeypatch.setitem(registry.CORPORA, corpus, replace(registry.CORPORA[corpus], name=name))
    figure = draw(metrics).figure
    with drawing_style():
        figure.draw_without_rendering()
    titles = [ax.title.get_window_extent() for ax in figure.axes]
    assert not any(a.overlaps(b) for a, b in itertools.combinations(titles, 2))
    assert all(figure.bbox.x0 <= t.x0 and t.x1 <= figure.bbox.x1 and t.y1 <= figure.bbox.y1 for t in titles)


def test_a_corpus_beside_nothing_has_panels_of_its_own(openclipart):
    two = openclipart[openclipart["corpus"] != "openclipart"]
    for draw, further in ((chance_corrected, 2), (tie_gap, 4), (mean_places, 2)):
        picture, without = draw(openclipart), draw(two)
        assert len(picture.figure.axes) == len(without.figure.axes) + further
        others = picture.data[picture.data["corpus"] != "openclipart"]
        keys = [c for c in others.columns if c not in ("ci_low", "ci_high")]
        assert others[keys].reset_index(drop=True).equals(without.data[keys])
    titles = [ax.get_title() for ax in chance_corrected(openclipart).figure.axes]
    assert titles[4:] == ["Openclipart\nmAP@10", "Openclipart\nmAP@N"]
    grey = registry.PAPER_COLOUR
    assert all(line.get_color() != grey for ax in chance_corrected(openclipart).figure.axes[4:] for line in ax.lines)


def test_it_alone_leaves_the_papers_panels_as_they_are(openclipart_alone):
    figure = chance_corrected(openclipart_alone).figure
    assert [ax.get_title().split("\n")[0] for ax in figure.axes[:2]] == ["MS-COCO (paper)", "Flickr30K (paper)"]
    assert [t.get_text() for ax in figure.axes for t in ax.texts] == ["unavailable"] * 2  # the paper's chance of mAP@10
    assert len(mean_places(openclipart_alone).figure.axes) == 2
    assert len(tie_gap(openclipart_alone).figure.axes) == 4
    assert len(mean_places(openclipart_alone, corpora=["picto_people"]).figure.axes) == 2  # nothing, and says so


@pytest.mark.parametrize("draw", [chance_corrected, tie_gap, mean_places])
def test_mixed_results_are_refused(metrics, draw):
    mixed = metrics.copy()
    mixed.loc[mixed.index[mixed["profile"] == "mini"][0], "run"] = "mini-s1"
    with pytest.raises(InputError, match="mixes runs mini-s0, mini-s1"):
        draw(mixed)


# ---------------------------------------------------------------------------------------------- seeds


def test_seeds_are_drawn_about_their_mean_with_the_interval_behind(of_three_seeds):
    picture = seed_spread(over_seeds(of_three_seeds), of_three_seeds[0])
    place = ["system", "corpus", "direction", "metric", "k"]
    both = pd.concat(of_three_seeds)
    values = both[both["source"] == "ours"].groupby(place)["value"].agg(["mean", "min", "max"])
    data = picture.data.set_index(place)
    assert set(zip(picture.data["metric"], picture.data["k"], strict=True)) == {("recall", "1"), ("map", "10")}
    assert len(data) == 12 * 2 * 2 * 2  # systems, corpora, directions, qualities
    expected = {
        (round(100 * (row["min"] - row["mean"]), 6), round(100 * (row["max"] - row["mean"]), 6))
        for _, row in values.loc[data.index].iterrows()
    }
    assert set(bars(picture.figure, 0.9)) == expected
    assert set(bars(picture.figure, 3.2)) == {(-1.0, 1.0)}
    assert f"{100 * (data['high'] - data['low']).max():.1f} points" in picture.alt


def test_runs_of_two_seeds_have_no_interval_in_common(of_three_seeds):
    with pytest.raises(InputError, match="mixes runs"):
        seed_spread(over_seeds(of_three_seeds), pd.concat(of_three_seeds))
