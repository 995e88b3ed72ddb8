"""Tables in the paper's shape: every printed number is in the tidy tables; same input, same bytes."""

from __future__ import annotations

import csv
import dataclasses
import math
import re
import shutil
import subprocess

import pandas as pd
import pytest

from fico_utils import registry
from fico_utils.display.rows import SLOTS
from fico_utils.display.table import (
    DNF,
    EXTRAPOLATED,
    INTERVAL,
    PAPER_ROOM,
    ROOM,
    UNAVAILABLE,
    UNDEFINED,
    UNSURE,
    Cell,
    printed,
    significant,
    two_digits,
)
from fico_utils.display.tables import TABLES, make_table
from fico_utils.errors import InputError
from fico_utils.results import paper_reference
from fico_utils.results.paper_reference import CORPUS_IDS, SYSTEM_IDS, read_paper
from fico_utils.results.schema import sort_rows

QUALITY = {name: entry for name, entry in TABLES.items() if entry.reads == ("metrics",)}

STORED = pd.DataFrame(
    [("scan", "", "128x12", "128x24", "f32"), ("ucch", "64", "", "", "u8"), ("xvlm_nf", "128", "", "", "f32")],
    columns=["system", "embedding_dims", "image_features", "text_features", "dtype"],
)


@pytest.fixture(scope="session")
def all_tables(metrics, costs):
    made = {name: entry.make({"metrics": metrics, "costs": costs, "stored": STORED}) for name, entry in TABLES.items()}
    assert all(made.values())
    return made


def number(text: str) -> float:
    return float(text.lstrip("<").rstrip(f"{EXTRAPOLATED}×"))


def part(table, source: str = "ours") -> pd.DataFrame:
    """The lines of a part, printed, by group and label."""
    frame = table.side_by_side
    return frame[frame.index.get_level_values("Source") == source].droplevel("Source")


def papers(table) -> pd.DataFrame:
    """The paper's own table, printed, under the names of its corpora, without rows and columns that it has not."""
    frame = part(table, "paper").drop("Reference", level=0, errors="ignore")
    frame = frame.rename(columns=lambda head: head.rpartition(" beside ")[2])
    return frame.loc[:, ~frame.isin(("", UNAVAILABLE)).all()]


def bold_rows(table, source: str, column: int) -> list[tuple[str, str]]:
    """Group and label of what is bold in a column of a part."""
    bold = table.bold.iloc[:, column]
    return [(group, label) for group, label, part in bold[bold].index if part == source]


def test_an_interval_stands_below_the_number_it_belongs_to(metrics):
    place = {"source": "ours", "system": "scan", "corpus": "picto_people", "direction": "t2i", "metric": "recall"}
    place["k"] = "1"
    mine = metrics.assign(ci_low=math.nan, ci_high=math.nan)
    chosen = (mine[list(place)] == pd.Series(place)).all(axis=1)
    assert chosen.sum() == 1
    mine.loc[chosen, ["value", "ci_low", "ci_high"]] = 0.5, 0.488, 0.514
    table = make_table("table2", mine)
    lines = table.side_by_side.sort_index().loc[("FG", "SCAN")]
    assert set(lines.index) == {"ours", INTERVAL, "paper"}
    assert [text for text in lines.loc[INTERVAL] if text] == ["±1.3"]
    assert lines.loc["ours"][lines.loc[INTERVAL] != ""].tolist() == ["50.0"]
    assert (table.side_by_side.index.get_level_values("Source") == INTERVAL).sum() == 1  # none where nothing is known


@pytest.mark.parametrize(
    ("name", "source", "column", "label"),
    [
        ("table2", "table2_instance_recall", "recall_percent", "R@"),
        ("table3", "table3_extended_recall", "recall_percent", "R@"),
        ("table4", "table4_category_map", "map_percent", "mAP@"),
    ],
)
def test_paper_frame_equals_the_paper(all_tables, name, source, column, label):
    frame = papers(all_tables[name])
    raw = read_paper(source)
    names = {"i2t": "Image-to-text", "t2i": "Text-to-image"}
    systems = {n: registry.system(i).name for n, i in SYSTEM_IDS.items()}
    for line in raw.itertuples():
        text = frame.loc[(line.family, systems[line.system]), (line.dataset, names[line.direction], f"{label}{line.k}")]
        paper = getattr(line, column)
        assert text == UNDEFINED if paper == "" else float(text) == float(paper)
    shown = (frame != UNAVAILABLE).sum().sum()
    assert shown == len(raw)


def test_row_groups_are_the_papers(all_tables):
    groups = {name: dict(map(reversed, t.rows)) for name, t in all_tables.items()}
    assert groups["table2"]["ADV 2048-bit"] == "FG"
    assert groups["table5"]["ADV 2048-bit"] == "CG"
    assert list(dict.fromkeys(groups["table2"].values())) == ["VLP", "FG", "CG", "Reference"]
    assert len(papers(all_tables["table2"])) == 12
    assert papers(all_tables["table3"]).shape == (3, 6)
    assert papers(all_tables["table4"]).shape == (12, 12)
    assert papers(all_tables["table5"]).shape == (10, 6)
    assert papers(all_tables["table6"]).shape == (4, 4)
    assert papers(all_tables["table7"]).shape == (12, 5)
    assert papers(all_tables["table1"]).shape == (10, 6)


def test_chance_and_perfect_stand_under_every_quality_table(all_tables):
    for name in QUALITY:
        assert all_tables[name].rows[-2:] == [("Reference", "Chance"), ("Reference", "Perfect retriever")]
    frame = all_tables["table4"].side_by_side
    assert frame.loc[("Reference", "Chance", "ours")].iloc[-1] == "88.7"
    assert frame.loc[("Reference", "Chance", "paper")].iloc[-1] == "88.7"


def test_scores_are_subtracted_only_where_both_are_of_one_corpus(metrics):
    photographs = metrics[metrics["corpus"] == "picto_people"].replace({"corpus": {"picto_people": "flickr30k"}})
    drawn = metrics[metrics["corpus"] == "picto_diverse"]
    frame = make_table("table2", pd.concat([drawn, photographs])).side_by_side
    ours, paper, apart = (frame.xs(("CG", "UCCH", part)) for part in ("ours", "paper", "difference"))
    assert (apart.iloc[:6] == "").all()
    for text, mine, theirs in zip(apart[6:], ours[6:], paper[6:], strict=True):
        assert float(text) == pytest.approx(float(mine) - float(theirs), abs=0.11)
    assert "difference" not in make_table("table2", metrics).side_by_side.index.get_level_values("Source")


def test_where_a_score_lies_near_chance_the_share_of_the_room_stands_below(metrics):
    rows = metrics[(metrics["metric"] != "map") | (metrics["system"] != "scan") | (metrics["source"] != "ours")]
    place = (metrics[["source", "system", "corpus", "direction", "metric", "k"]] ==
             ["ours", "scan", "picto_diverse", "i2t", "map", "N"]).all(axis=1)  # fmt: skip
    assert place.sum() == 1
    chance = metrics.loc[place, "chance"].item()
    for above, shown in ((0.049, True), (0.051, False), (-0.049, True)):
        near = pd.concat([rows, metrics[place].assign(value=chance + above)])
        column = make_table("table4", near).side_by_side.iloc[:, 2]
        shares = column[column.index.get_level_values("Source") == ROOM]
        assert (shares != "").any() == shown
        if shown:
            assert shares.xs(("FG", "SCAN")).item() == f"{100 * above / (1 - chance):.0f} %"
            assert (shares != "").sum() == 3  # of all systems that have a score there
    paper = make_table("table4", metrics).side_by_side.xs(("FG", "IMRAM", PAPER_ROOM))
    assert paper.iloc[8] == f"{100 * (0.936 - 0.887) / (1 - 0.887):.0f} %"
    assert ROOM not in make_table("table2", metrics).side_by_side.index.get_level_values("Source")


def test_absences_are_different_things(all_tables):
    quality, cost = all_tables["table4"].side_by_side, all_tables["table5"].side_by_side
    assert quality.loc[("VLP", "BLIP-2", "paper")].iloc[2] == UNDEFINED
    assert quality.loc[("VLP", "BLIP-2", "ours")].iloc[2] == UNAVAILABLE
    assert cost.loc[("VLP", "BLIP-2", "paper"), ("Encoding time (s)", "100K/500K")] == DNF
    assert cost.loc[("VLP", "BEiT-3", "ours"), ("Encoding time (s)", "10K/50K")] == "40†"
    assert len({UNDEFINED, UNAVAILABLE, DNF, EXTRAPOLATED}) == 4
    assert printed(Cell(0.5, "extrapolated"), "percent", "ours") == "50.0†"


def test_missing_systems_and_directions_say_unavailable(metrics):
    few = metrics[(metrics["system"] != "scan") & (metrics["direction"] != "t2i")]
    frame = part(make_table("table2", few))
    assert (frame.loc[("FG", "SCAN")] == UNAVAILABLE).all()
    assert (frame.loc[("CG", "UCCH")] != UNAVAILABLE).sum() == 6
    none = make_table("table2", metrics[metrics["profile"] == "paper"])
    assert (part(none) == UNAVAILABLE).all(axis=None)
    assert "Nothing of ours was measured" in none.caption
    assert papers(make_table("table7", paper_reference("costs"))).shape == (12, 5)


def test_caption_says_profile_seed_corpora_and_no_photographs(all_tables):
    for name in ("table2", "table4"):
        caption = all_tables[name].caption
        for words in (
            "mini profile",
            "seed 0",
            "PictoScenes diverse (beside MS-COCO)",
            "not results on photographs",
        ):
            assert words in caption
    assert "another machine" in all_tables["table5"].caption
    assert "seed 0" in all_tables["table7"].caption


def test_photographs_need_no_such_warning(run, metrics):
    rows = metrics[metrics["corpus"] == "picto_people"].replace({"corpus": {"picto_people": "flickr30k"}})
    table = make_table("table3", rows)
    assert "PictoScenes" not in table.caption
    assert table.side_by_side.columns[0][0] == "Flickr30K"


def test_bold_is_the_best_of_its_column(all_tables):
    table = all_tables["table2"]
    assert bold_rows(table, "paper", 0) == [("VLP", "BLIP-2")]
    assert "**85.4**" in table.to_markdown()
    times = all_tables["table5"]
    smallest = next(i for i, column in enumerate(times.columns) if column.header[-1] == "1K/5K")
    assert bold_rows(times, "paper", smallest) == [("CG", "UCCH")]
    searched = bold_rows(all_tables["table7"], "paper", -1)
    assert [group for group, _ in searched] == ["100K/500K", "500K/2.5M", "1M/5M"]  # one a size


def test_mixed_profiles_runs_and_corpora_are_refused(metrics):
    mixed = metrics.copy()
    mixed.loc[mixed.index[mixed["profile"] == "mini"][0], "profile"] = "standard"
    with pytest.raises(InputError, match="mixes profiles mini, standard"):
        make_table("table2", mixed)
    extra = metrics[metrics["corpus"] == "picto_people"].replace({"corpus": {"picto_people": "flickr30k"}})
    both = sort_rows(pd.concat([metrics, extra[extra["profile"] == "mini"]]), "metrics")
    with pytest.raises(InputError, match="say which with corpora"):
        make_table("table2", both)
    assert "Flickr30K" in make_table("table3", both, corpora=["flickr30k"]).caption


@pytest.mark.parametrize("name", QUALITY)
def test_rows_of_weights_that_another_run_trained_are_marked(metrics, name):
    ours = (metrics["source"] == "ours") & (metrics["system"] == "ucch")
    mixed = metrics.assign(run=metrics["run"].mask(ours, "mini-s0+standard-s0"))
    whole, table = QUALITY[name](metrics), QUALITY[name](mixed)
    marked = [label for _, label in table.rows if "‡" in label]
    assert marked == ["UCCH ‡"]
    assert table.caption == f"{whole.caption} ‡ with weights that ship: standard profile, seed 0."
    assert table.side_by_side.to_numpy().tolist() == whole.side_by_side.to_numpy().tolist()
    assert "‡" not in table.to_latex()
    assert r"UCCH \textdaggerdbl{}" in table.to_latex()
    with pytest.raises(InputError, match="mixes runs"):
        QUALITY[name](metrics.assign(run=metrics["run"].mask(metrics["system"] == "ucch", "mini-s1+standard-s0")))


@pytest.mark.parametrize("name", QUALITY)
def test_a_corpus_the_paper_has_not_gets_its_own_columns(openclipart, name):
    table, two = (QUALITY[name](m) for m in (openclipart, openclipart[openclipart["corpus"] != "openclipart"]))
    assert len(table.columns) == len(two.columns) + 6
    assert [c.header[0] for c in table.columns[-6:]] == ["Openclipart"] * 6
    assert part(table).iloc[:, :-6].equals(part(two))
    sides = [t.side_by_side.drop([INTERVAL, ROOM], level="Source", errors="ignore") for t in (table, two)]
    assert sides[0].iloc[:, :-6].equals(sides[1])  # and no line more
    assert papers(table).equals(papers(two))
    own = table.side_by_side["Openclipart"]
    source = own.index.get_level_values("Source")
    assert (own[~source.isin(("ours", INTERVAL, ROOM))] == "").all(axis=None)
    assert (own[source == "ours"] != "").all(axis=None)
    assert (own.loc[("CG", "UCCH", "ours")].map(number) > own.loc[("Reference", "Chance", "ours")].map(number)).all()
    assert (own.loc[("Reference", "Perfect retriever", "ours")] == UNAVAILABLE).all()
    bold = table.bold.iloc[:, -6:]
    if name == "table3":
        assert not bold.any(axis=None)  # the best of one
    else:
        assert (bold.sum() >= 1).all()
    best = own[source == "ours"].iloc[:-2].replace(UNAVAILABLE, "-1").map(number)
    assert (best.where(bold[source == "ours"].iloc[:-2].to_numpy()).max().fillna(best.max()) == best.max()).all()
    assert "Openclipart (not in the paper)" in table.caption
    assert "PictoScenes are drawn scenes and Openclipart holds no photographs: these are not" in table.caption


@pytest.mark.parametrize("name", QUALITY)
def test_it_alone_stands_behind_the_papers_columns(openclipart, openclipart_alone, name):
    table, paper = QUALITY[name](openclipart_alone), QUALITY[name](openclipart[openclipart["profile"] == "paper"])
    assert papers(table).equals(papers(paper))
    assert table.side_by_side.columns.get_level_values(0).unique().tolist()[-1] == "Openclipart"
    assert (part(table).drop("Reference", level=0).drop(columns="Openclipart", level=0) == UNAVAILABLE).all(axis=None)
    assert (part(table)["Openclipart"].loc[("CG", "UCCH")] != UNAVAILABLE).all()
    assert ("Reference", "Perfect retriever", "ours") not in table.side_by_side.index
    assert "difference" not in table.side_by_side.index.get_level_values("Source")
    assert table.caption.endswith(
        "Ours: mini profile, seed 0, test split of Openclipart (not in the paper). "
        "Openclipart holds no photographs: these are not results on photographs."
    )
    assert QUALITY[name](openclipart, corpora=["openclipart"]).to_csv() == table.to_csv()


@pytest.mark.parametrize("name", QUALITY)
def test_its_files_are_whole_and_repeat_themselves(openclipart, name, tmp_path):
    table = QUALITY[name](openclipart)
    files_agree(table, tmp_path)
    again = QUALITY[name](openclipart.sample(frac=1, random_state=0))
    for write in ("to_csv", "to_markdown", "to_html", "to_latex"):
        assert getattr(again, write)() == getattr(table, write)()
    lines = table.to_csv().splitlines()
    assert {len(cells) for cells in csv.reader(lines)} == {3 + len(table.columns)}
    rows = [line for line in table.to_markdown().splitlines() if line.startswith("|")]
    assert {line.count("|") for line in rows} == {4 + len(table.columns)}
    latex = table.to_latex()
    assert rf"\begin{{tabular}}{{lll{'r' * len(table.columns)}}}" in latex
    body = [line for line in latex.splitlines() if line.endswith(r"\\") and "multicolumn" not in line]
    assert {line.count("&") for line in body} == {2 + len(table.columns)}


def test_two_corpora_of_one_name_are_told_apart(openclipart, monkeypatch):
    monkeypatch.setitem(registry.CORPORA, "mine", registry.CorpusInfo("mine", "Openclipart", True))
    monkeypatch.setitem(registry.CORPORA, "coco", registry.CorpusInfo("coco", "MS-COCO", True))
    rows = [openclipart[openclipart["corpus"] == "openclipart"].assign(corpus=name) for name in ("mine", "coco")]
    table = make_table("table2", pd.concat([openclipart, *rows]))
    heads = list(dict.fromkeys(c.header[0] for c in table.columns))
    assert heads == ["MS-COCO", "Flickr30K", "Openclipart (openclipart)", "Openclipart (mine)", "MS-COCO (coco)"]
    assert len(table.columns) == 30
    assert part(table)["MS-COCO (coco)"].equals(part(table)["Openclipart (mine)"])


def test_a_system_the_paper_has_not_gets_its_own_row(run, metrics, monkeypatch):
    new = dataclasses.replace(registry.SYSTEMS["beit3"], id="clip", name="CLIP", paper_names=(), marker="p", line=":")
    monkeypatch.setitem(registry.SYSTEMS, "clip", new)
    rows = metrics.query("system == 'beit3' and profile == 'mini'").assign(system="clip")
    frame = part(make_table("table2", pd.concat([metrics, rows])))
    assert frame.loc[("VLP", "CLIP")].tolist() == frame.loc[("VLP", "BEiT-3")].tolist()


def test_table_1_shows_what_is_stored_and_a_row_that_the_paper_has_not(all_tables):
    frame = all_tables["table1"].side_by_side
    assert frame.loc[("FG", "SCAN", "ours")].tolist() == ["Local+Global", "Cross-Attn", "–", "128x12", "128x24", "f32"]
    assert frame.loc[("CG", "UCCH", "ours"), ["Embedding dims", "Data type"]].tolist() == ["64", "u8"]
    assert frame.loc[("VLP", "X-VLM NF", "ours"), "Embedding dims"] == "128"
    assert ("VLP", "X-VLM NF", "paper") not in frame.index
    assert (frame.loc[("FG", "VSRN", "ours")] == UNAVAILABLE).all()


def test_files_are_written_and_repeat_themselves(all_tables, tmp_path, metrics):
    for table in all_tables.values():
        paths = table.write(tmp_path)
        assert [p.name for p in paths] == [f"{table.name}.{e}" for e in ("csv", "md", "html", "tex")]
    first = {p.name: p.read_bytes() for p in sorted(tmp_path.iterdir())}
    assert len(first) == 4 * len(TABLES)
    make_table("table2", metrics.sample(frac=1, random_state=0)).write(tmp_path)  # rows in another order
    assert {p.name: p.read_bytes() for p in sorted(tmp_path.iterdir())} == first


def test_files_hold_the_same_cells(all_tables, tmp_path):
    files_agree(all_tables["table4"], tmp_path)


def files_agree(table, tmp_path):
    """Check that the four files of a table hold the cells of `side_by_side`, in order."""
    cells = table.side_by_side.to_numpy().ravel().tolist()
    html = re.findall(r"<td[^>]*>(.*?)</td>", table.to_html())
    assert html == cells
    body = table.to_latex().split(r"\midrule", 1)[1].split(r"\bottomrule")[0]
    latex = [c.strip() for line in body.split(r"\\") if "&" in line for c in line.split("&")[3:]]
    signs = {r"\bfseries ": "", "--": "–", r"$\pm$": "±", r"\%": "%"}
    for command, sign in signs.items():
        latex = [c.replace(command, sign) for c in latex]
    assert latex == cells
    markdown = [line for line in table.to_markdown().splitlines() if line.startswith("| ")][2:]
    assert [c.strip(" *") for line in markdown for c in line.split("|")[4:-1]] == cells
    csv = pd.read_csv(table.write(tmp_path)[0], dtype=str, keep_default_na=False)
    assert csv.iloc[:, 3:].to_numpy().ravel().tolist() == cells


def test_latex_is_plain_and_balanced(all_tables):
    for table in all_tables.values():
        text = table.to_latex()
        assert text.isascii(), [c for c in text if not c.isascii()]
        assert text.count("{") == text.count("}")
        assert len(re.findall(r"(?<!\\)%", text)) == 2  # the comment, and the end of the resizebox line


@pytest.mark.skipif(shutil.which("pdflatex") is None, reason="no pdflatex here")
def test_latex_compiles(all_tables, tmp_path):
    body = "\n".join(t.to_latex() for t in all_tables.values())
    head = r"\documentclass{article}\usepackage{booktabs,graphicx}\begin{document}"
    (tmp_path / "all.tex").write_text(f"{head}\n{body}\n\\end{{document}}\n")
    done = subprocess.run(["pdflatex", "-halt-on-error", "all.tex"], cwd=tmp_path, capture_output=True, text=True)
    assert done.returncode == 0, done.stdout[-2000:]


def test_an_extrapolation_wider_than_itself_is_no_number(costs):
    place = (costs["system"] == "beit3") & (costs["phase"] == "encode") & (costs["status"] == "extrapolated")
    place &= costs["quantity"] == "seconds"
    assert place.sum() > 0
    for share, shown in ((0.4, True), (0.6, False)):
        table = make_table("table5", costs.assign(spread=costs["spread"].mask(place, share * costs["value"])))
        lines = table.side_by_side.sort_index().loc[("VLP", "BEiT-3")]
        cell = lines.loc["ours", ("Encoding time (s)", "10K/50K")]
        assert cell == ("40†" if shown else UNSURE)
        assert not table.bold[table.side_by_side == UNSURE].fillna(False).any(axis=None)


@pytest.mark.parametrize(
    ("value", "text"), [(0, "0"), (2178625.89, "2200000"), (99.6, "100"), (9.96, "10"), (1.04, "1.0")]
)
def test_two_digits(value, text):
    assert float(two_digits(value)) == float(text)
    assert len(two_digits(value).replace(".", "").strip("0")) <= 2


@pytest.mark.parametrize(("value", "text"), [(0, "0.00"), (0.0996, "0.10"), (0.996, "1.00"), (1234.567, "1234.57")])
def test_significant_digits(value, text):
    assert significant(value) == text


def test_unknown_ids_are_refused(metrics):
    with pytest.raises(InputError, match="unknown corpus"):
        make_table("table2", metrics, corpora=["cifar"])
    assert set(CORPUS_IDS.values()) == set(SLOTS)
