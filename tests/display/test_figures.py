"""Figures: what is drawn is in the tidy tables, same bytes each time, nothing cut off, the palette holds."""

from __future__ import annotations

import itertools
import re
import subprocess
import sys

import matplotlib.text
import numpy as np
import pandas as pd
import pytest

from fico_utils import registry
from fico_utils.display.figures import FIGURES, draw_figure
from fico_utils.display.figures.query import Example, Hit
from fico_utils.display.picture import COLUMN, Picture, drawing_style, save_picture
from fico_utils.errors import InputError
from fico_utils.extras.seeds import over_seeds
from fico_utils.provenance import PROJECT
from tests.extras.test_causes import make_grid

from .conftest import grown_costs, with_openclipart


def hits(pictures: bool, n: int = 5) -> list[Hit]:
    picture = np.arange(96 * 96 * 3, dtype=np.uint8).reshape(96, 96, 3)
    return [
        Hit(
            picture if pictures else None,
            "a red mug beside a snowman, under the sun",
            i == 1,
            i != 3,
            0.9 - i / 10,
        )
        for i in range(n)
    ]


def by_caption() -> Example:
    query = "A big red mug to the left of two small green snowmen, and over them a bright yellow sun at night."
    return Example(query, hits(True), hits(True), note="PictoScenes diverse, mini profile, seed 0")


def by_picture() -> Example:
    return Example(np.zeros((96, 96, 3), np.uint8), hits(False), hits(False))


#: Figures that have a further panel for each corpus that stands beside nothing.
APART = {name: entry for name, entry in FIGURES.items() if entry.reads == ("metrics",)}
#: What figures are drawn from: three systems, all, nothing but the paper's, a further corpus, that corpus alone.
KINDS = ("three", "all", "paper", "apart", "alone")
NAMES = [f"{name} {kind}" for name, entry in FIGURES.items() for kind in KINDS if kind == "three" or entry.reads]


@pytest.fixture(scope="session")
def pictures(metrics, costs, everyone, openclipart_alone, of_three_seeds):
    """Every figure of every kind of tables, where there is something to draw."""
    paper = {"metrics": metrics[metrics["profile"] == "paper"], "costs": costs[costs["profile"] == "paper"]}
    grown = pd.concat([costs, grown_costs(further=8000)], ignore_index=True)
    tables = {
        "three": {"metrics": metrics, "costs": grown, "example": by_caption()},
        "all": {"metrics": everyone[0], "costs": everyone[1], "example": by_picture()},
        "paper": paper,
        "apart": {"metrics": with_openclipart(everyone[0])},
        "alone": {"metrics": openclipart_alone},
    }
    tables["all"] |= {"seeds": over_seeds(of_three_seeds), "grid": make_grid()}
    made = {f"{name} {kind}": entry.make(tables[kind]) for name, entry in FIGURES.items() for kind in KINDS}
    assert {name.split()[0] for name, picture in made.items() if picture} == set(FIGURES), "a figure that is not tested"
    return made


@pytest.fixture(params=NAMES)
def picture(request, pictures):
    """A figure of some tables."""
    if pictures[request.param] is None:
        pytest.skip("these tables give nothing to draw")
    return pictures[request.param]


# ---------------------------------------------------------------------------------------------- what is drawn


def drawn_points(figure) -> set[tuple[float, float]]:
    lines = (line for ax in figure.axes for line in ax.lines)
    return {(round(float(x), 6), round(float(y), 6)) for line in lines for x, y in line.get_xydata()}


def test_every_curve_point_is_a_row(pictures, metrics):
    data = pictures["fig3 three"].data
    assert len(data.merge(metrics, on=["source", "system", "corpus", "direction", "metric", "k", "value"])) == len(data)
    curves = data[data["metric"] == "precision"]
    known = {(float(k[2:]), round(v, 6)) for k, v in zip(curves["k"], curves["value"], strict=True)}
    chance = {round(v, 6) for v in data.loc[data["source"] == "chance", "value"]}
    drawn = {p for p in drawn_points(pictures["fig3 three"].figure) if p[1] not in chance}
    assert drawn == {p for p in known if p[1] not in chance}
    assert set(curves["system"]) == {"beit3", "scan", "ucch"}
    assert len(curves) == 2 * 3 * 4 * 11  # ours and the paper's, systems, panels, levels


def test_every_search_point_is_a_row(pictures, costs):
    data = pictures["fig4 three"].data
    keys = ["source", "system", "phase", "scale_img", "scale_txt", "quantity", "value", "run"]
    assert len(data.merge(costs, on=keys)) == len(data)
    x = data["k"].where(data["k"].notna(), data["scale_txt"])
    assert drawn_points(pictures["fig4 three"].figure) == {
        (round(a, 6), round(b, 6)) for a, b in zip(x, data["value"], strict=True)
    }
    ours = data[(data["source"] == "ours") & data["k"].notna()]
    assert set(ours["scale_txt"]) == {50_000}  # the largest size


def test_chance_line_of_ours_or_of_the_paper(pictures):
    ours = pictures["fig3 three"].data.query("source == 'chance'").set_index(["corpus", "direction"])["value"]
    assert ours.to_dict() == {("picto_diverse", d): 0.33 for d in ("i2t", "t2i")} | {
        ("picto_people", d): 0.887 for d in ("i2t", "t2i")
    }
    assert set(pictures["fig3 paper"].data.query("source == 'chance'")["corpus"]) == {"mscoco", "flickr30k"}


def test_a_corpus_beside_nothing_has_a_row_without_grey(openclipart, openclipart_alone):
    picture = draw_figure("fig3", openclipart)
    titles = [ax.get_title().split("\n")[0] for ax in picture.figure.axes]
    assert titles[::2] == titles[1::2] == ["PictoScenes diverse", "PictoScenes people", "Openclipart"]
    for ax in picture.figure.axes[4:]:
        assert [line.get_color() for line in ax.lines if line.get_color() == registry.PAPER_COLOUR] == []
        assert len(ax.lines) == 4  # three systems and chance
        assert not ax.texts
    two = draw_figure("fig3", openclipart[openclipart["corpus"] != "openclipart"]).data
    others = picture.data[picture.data["corpus"] != "openclipart"].reset_index(drop=True)
    assert others.equals(two)  # and in the order in which they were
    assert "Six panels" in picture.alt
    assert "three corpora" in picture.alt
    alone = draw_figure("fig3", openclipart_alone).figure.axes
    titles = [ax.get_title().replace("\nimage-to-text", "") for ax in alone[::2]]
    assert titles == ["MS-COCO (paper)", "Flickr30K (paper)", "Openclipart"]
    assert [line.get_color() != registry.PAPER_COLOUR for line in alone[5].lines] == [True] * 4


def test_without_labels_or_systems_its_row_is_drawn_all_the_same(openclipart):
    own = openclipart["corpus"] == "openclipart"
    unlabelled = draw_figure("fig3", openclipart[~(own & (openclipart["task"] == "category"))]).figure.axes
    assert [t.get_text() for ax in unlabelled for t in ax.texts if "paper" not in t.get_text()] == ["unavailable"] * 2
    fewer = openclipart[~(own & (openclipart["system"] == "scan"))]
    drawn = {name: entry(fewer) for name, entry in APART.items()}
    assert [len(ax.lines) for ax in drawn["fig3"].figure.axes] == [7, 7, 7, 7, 3, 3]
    for name, picture in drawn.items():
        systems = set(picture.data.loc[picture.data["corpus"] == "openclipart", "system"])
        assert "scan" not in systems, name
        assert "ucch" in systems, name


@pytest.mark.parametrize("name", ["fig3", "chance_corrected"])
def test_rows_in_another_order_give_the_same_bytes(openclipart, name):
    shuffled = openclipart.sort_values("corpus", ascending=False, kind="stable")  # each curve in its order
    assert APART[name](shuffled).render("svg") == APART[name](openclipart).render("svg")


def test_missing_systems_and_sizes_do_not_stop_a_figure(metrics, costs):
    few = metrics[
        (metrics["corpus"] != "picto_people") & ~((metrics["system"] == "scan") & (metrics["direction"] == "t2i"))
    ]
    data = draw_figure("fig3", few).data
    assert set(data.loc[data["source"] == "ours", "corpus"]) == {"picto_diverse"}
    one = costs[(costs["system"] == "binary_ivf") & (costs["profile"] == "mini")]
    assert set(draw_figure("fig4", one).data.query("source == 'ours'")["system"]) == {"binary_ivf"}
    with pytest.raises(InputError, match="mixes runs"):
        draw_figure(
            "fig4", costs.replace({"run": {"mini-s0": "mini-s1"}}).iloc[:50].pipe(lambda f: f.merge(costs, how="outer"))
        )


def test_figure_1_says_what_was_relevant(pictures):
    data = pictures["fig1 three"].data
    assert data["rank"].tolist() == [1, 2, 3, 4, 5] * 2
    assert data.loc[data["relevant_by_id"], "rank"].tolist() == [2, 2]
    assert "by id at rank 2, 4 of 5 relevant by label" in pictures["fig1 three"].alt
    with pytest.raises(InputError, match="no items retrieved by ucch"):
        draw_figure("fig1", Example("a mug", hits(True), []))


def test_figure_2_names_the_folders_of_the_package():
    data = draw_figure("fig2").data
    assert {*data["folder"]} == {f"fico_utils/{name}/" for name in ("data", "models", "evaluation", "costs")}
    assert all((PROJECT / folder).is_dir() for folder in data["folder"])


# -------------------------------------------------------------------------------------------------- how it looks


def drawn_texts(picture: Picture) -> dict[str, tuple[float, float, float, float]]:
    """Words of a figure and where they stand: left, right, bottom, top, in inches."""
    figure = picture.figure
    with drawing_style():
        figure.draw_without_rendering()
    unseen = {  # a locator may place ticks beyond the view, which are not drawn
        label
        for ax in figure.axes
        for axis in (ax.xaxis, ax.yaxis)
        for tick in axis.get_major_ticks()
        if not min(axis.get_view_interval()) - 1e-9 <= tick.get_loc() <= max(axis.get_view_interval()) + 1e-9
        for label in (tick.label1, tick.label2)
    }
    texts = [t for t in figure.findobj(matplotlib.text.Text) if t.get_text().strip() and t.get_visible()]
    texts = [t for t in texts if t not in unseen]
    boxes = [(t.get_text(), t.get_window_extent().transformed(figure.dpi_scale_trans.inverted())) for t in texts]
    return {f"{i} {text}": (b.x0, b.x1, b.y0, b.y1) for i, (text, b) in enumerate(boxes)}


def test_fits_a_column_and_nothing_is_cut_off(picture, request):
    figure, kind = picture.figure, request.node.callspec.params["picture"].split()[1]
    assert figure.get_figwidth() == pytest.approx(COLUMN)
    assert figure.get_figheight() < (2.2 if kind in ("apart", "alone") else 1.5) * COLUMN  # three corpora
    with drawing_style():
        figure.draw_without_rendering()
        ink = figure.get_tightbbox()
    assert min(ink.x0, ink.y0) >= -0.005
    assert ink.x1 <= figure.get_figwidth() + 0.005
    assert ink.y1 <= figure.get_figheight() + 0.005
    assert min(t.get_fontsize() for t in figure.findobj(matplotlib.text.Text)) >= 4.8  # points, at final size


def test_words_do_not_overlap(picture, request):
    if request.node.callspec.params["picture"].split()[0] in ("fig4", "pareto", "pareto_largest"):
        pytest.skip("words beside points: tested on their own")
    for (one, a), (two, b) in itertools.combinations(drawn_texts(picture).items(), 2):
        across, along = min(a[1], b[1]) - max(a[0], b[0]), min(a[3], b[3]) - max(a[2], b[2])
        assert across < 0.005 or along < 0.005, (one, two)


@pytest.mark.parametrize("name", ["fig4 three", "fig4 paper"])
def test_names_of_the_papers_lines_do_not_overlap(pictures, name):
    names = {f"{whose}{i.name}" for i in registry.INDEXES.values() for whose in ("", "paper: ")}
    boxes = [b for t, b in drawn_texts(pictures[name]).items() if set(t.split(" ", 1)[1].split("\n")) <= names]
    assert len(boxes) > 4
    for a, b in itertools.combinations(boxes, 2):
        assert min(a[1], b[1]) - max(a[0], b[0]) < 0.005 or min(a[3], b[3]) - max(a[2], b[2]) < 0.005


def test_alternative_text(picture, monkeypatch):
    monkeypatch.setattr(Picture, "render", lambda *_: b"")  # the words are tested here
    alt = picture.alt
    assert 60 < len(alt) < 900
    assert f'alt="{alt[:20].replace(chr(34), "&quot;")}' in picture._repr_html_()


def test_same_input_same_bytes_in_another_process_too(tmp_path, metrics):
    save_picture(draw_figure("fig3", metrics), tmp_path, "fig3")
    first = {p.name: p.read_bytes() for p in tmp_path.iterdir()}
    assert sorted(first) == ["fig3.csv", "fig3.pdf", "fig3.svg"]
    assert re.search(rb"CreationDate|ModDate", first["fig3.pdf"]) is None
    save_picture(draw_figure("fig3", metrics), tmp_path, "fig3")
    assert {p.name: p.read_bytes() for p in tmp_path.iterdir()} == first
    code = f"""
from fico_utils.display.figures import draw_figure
from fico_utils.display.picture import save_picture
save_picture(draw_figure("fig2"), {str(tmp_path / "a")!r}, "fig2")
"""
    subprocess.run([sys.executable, "-c", code], check=True)
    save_picture(draw_figure("fig2"), tmp_path / "b", "fig2")
    for ending in ("svg", "pdf", "csv"):
        assert (tmp_path / "a" / f"fig2.{ending}").read_bytes() == (tmp_path / "b" / f"fig2.{ending}").read_bytes()


@pytest.mark.parametrize("name", ["fig4", "fig2"])
def test_a_figure_that_was_shown_has_the_same_bytes(costs, name):
    shown, plain = (FIGURES[name].make({"costs": costs}) for _ in range(2))
    assert "<img" in shown._repr_html_()
    for ending in ("svg", "pdf"):
        assert shown.render(ending) == plain.render(ending) == plain.render(ending)


def test_svg_has_text_as_text_and_no_date(picture):
    svg = picture.render("svg").decode()
    assert "<text" in svg
    assert "dc:date" not in svg


def test_a_readers_own_style_does_not_leak_in(costs):
    import matplotlib as mpl

    plain = draw_figure("fig4", costs).render("svg")
    with mpl.rc_context({"font.size": 20, "axes.grid": False, "lines.linewidth": 9}):
        assert draw_figure("fig4", costs).render("svg") == plain


def test_drawing_needs_no_torch():
    code = """
import sys, fico_utils.display.figures, fico_utils.display.tables
heavy = {"torch", "faiss", "gensim", "transformers", "matplotlib.pyplot", "fico_utils.models.contract"}
print(sorted(heavy & set(sys.modules)))
"""
    done = subprocess.run([sys.executable, "-c", code], check=True, capture_output=True, text=True)
    assert done.stdout.strip() == "[]"


# ------------------------------------------------------------------------------------------------------ palette

#: Machado, Oliveira and Fernandes (2009), severity 1.0, on linear RGB.
BLINDNESS = {
    "none": np.eye(3),
    "protan": [
        [0.152286, 1.052583, -0.204868],
        [0.114503, 0.786281, 0.099216],
        [-0.003882, -0.048116, 1.051998],
    ],
    "deutan": [
        [0.367322, 0.860646, -0.227968],
        [0.280085, 0.672501, 0.047413],
        [-0.011820, 0.042940, 0.968881],
    ],
    "tritan": [
        [1.255528, -0.076749, -0.178779],
        [-0.078411, 0.930809, 0.147602],
        [0.004733, 0.691367, 0.303900],
    ],
}
SERIES = (*registry.SYSTEMS.values(), *registry.INDEXES.values())


def linear(colour: str) -> np.ndarray:
    value = np.array([int(colour[i : i + 2], 16) for i in (1, 3, 5)]) / 255
    return np.where(value <= 0.04045, value / 12.92, ((value + 0.055) / 1.055) ** 2.4)


def lab(rgb: np.ndarray) -> np.ndarray:
    xyz = np.array([[0.4124, 0.3576, 0.1805], [0.2126, 0.7152, 0.0722], [0.0193, 0.1192, 0.9505]]) @ np.clip(rgb, 0, 1)
    ratio = xyz / [0.9505, 1, 1.089]
    f = np.where(ratio > 0.008856, np.cbrt(ratio), 7.787 * ratio + 16 / 116)
    return np.array([116 * f[1] - 16, 500 * (f[0] - f[1]), 200 * (f[1] - f[2])])


@pytest.mark.parametrize("slots", [registry.SYSTEMS, registry.INDEXES])
def test_no_two_series_look_the_same(slots):
    looks = [(s.colour, s.marker, s.line) for s in slots.values()]
    assert len(set(looks)) == len(looks)
    in_grey = [(s.marker, s.line, getattr(s, "hollow", False)) for s in slots.values()]  # a black-and-white printer
    assert len(set(in_grey)) == len(in_grey)


@pytest.mark.parametrize("colour", sorted({s.colour for s in SERIES} | {registry.PAPER_COLOUR}))
def test_contrast_on_white(colour):
    luminance = linear(colour) @ [0.2126, 0.7152, 0.0722]
    assert 1.05 / (luminance + 0.05) >= 3  # WCAG 2.1, 1.4.11: graphical objects


@pytest.mark.parametrize("blindness", BLINDNESS)
def test_families_stay_apart_under_colour_vision_deficiency(blindness):
    matrix = np.array(BLINDNESS[blindness])
    seen = {s.id: lab(matrix @ linear(s.colour)) for s in SERIES}
    for one, two in itertools.combinations(SERIES, 2):
        if one.family != two.family:
            assert np.linalg.norm(seen[one.id] - seen[two.id]) > 10, (one.id, two.id)
