"""Tables in the paper's shape: every printed number is in the tidy tables; same input, same bytes."""

from __future__ import annotations

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
    GIB,
    INTERVAL,
    UNAVAILABLE,
    UNDEFINED,
    Cell,
    printed,
    significant,
)
from fico_utils.display.tables import TABLES, make_table
from fico_utils.errors import InputError
from fico_utils.results import paper_reference
from fico_utils.results.paper_reference import CORPUS_IDS, SYSTEM_IDS, read_paper
from fico_utils.results.schema import sort_rows

QUALITY = {name: entry for name, entry in TABLES.items() if entry.reads == ("metrics",)}
COSTS = {name: entry for name, entry in TABLES.items() if entry.reads == ("costs",)}


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


@pytest.mark.parametrize("name", QUALITY)
def test_every_quality_printed_is_in_the_tidy_table(all_tables, metrics, name):
    trace = all_tables[name].trace
    kept = trace[trace["part"].isin(("ours", "paper")) & trace["value"].notna()]
    assert len(kept) > 20
    rounded = set(metrics["value"].mul(100).round(1))
    for cell in kept.itertuples():
        assert number(cell.printed) == pytest.approx(100 * cell.value, abs=0.05001)
        assert round(100 * cell.value, 1) in rounded
        assert cell.where.startswith("metrics.csv: ")


def test_an_interval_stands_below_the_number_it_belongs_to(metrics):
    place = {"source": "ours", "system": "scan", "corpus": "picto_people", "direction": "t2i", "metric": "recall"}
    place["k"] = "1"
    mine = metrics.assign(ci_low=math.nan, ci_high=math.nan)
    chosen = (mine[list(place)] == pd.Series(place)).all(axis=1)
    assert chosen.sum() == 1
    mine.loc[chosen, ["value", "ci_low", "ci_high"]] = 0.5, 0.488, 0.514
    table = make_table("table2", mine)
    lines = table.side_by_side.sort_index().loc[("FG", "SCAN")]
    assert set(lines.index) == {"ours", INTERVAL, "paper", "difference"}
    assert [text for text in lines.loc[INTERVAL] if text] == ["±1.3"]
    assert lines.loc["ours"][lines.loc[INTERVAL] != ""].tolist() == ["50.0"]
    assert (table.side_by_side.index.get_level_values("Source") == INTERVAL).sum() == 1  # none where nothing is known


@pytest.mark.parametrize("name", COSTS)
def test_every_cost_printed_is_in_the_tidy_table(all_tables, costs, name):
    trace = all_tables[name].trace
    kept = trace[trace["part"].isin(("ours", "paper")) & trace["value"].notna()]
    assert len(kept) > 10
    known = set(costs["value"])
    for cell in kept.itertuples():
        assert cell.value in known
        scale = GIB if "GiB" in cell.column else 0.01 if "%" in cell.column else 1
        expected = cell.value / scale
        if cell.printed.startswith("<"):
            assert expected < number(cell.printed)
        else:
            assert number(cell.printed) == pytest.approx(expected, rel=0.05, abs=0.0051)


@pytest.mark.parametrize("name", [*QUALITY, *COSTS])
def test_comparison_is_made_of_the_two_above_it(all_tables, name):
    trace = all_tables[name].trace
    word = "difference" if name in QUALITY else "ratio"
    values = trace.set_index(["part", "group", "row", "column"])["value"]
    compared = trace[(trace["part"] == word) & trace["value"].notna()]
    assert len(compared) or name in ("table6", "table7")  # no size in common
    for cell in compared.itertuples():
        ours, paper = (values[part, cell.group, cell.row, cell.column] for part in ("ours", "paper"))
        assert cell.value == pytest.approx(ours - paper if word == "difference" else ours / paper)


@pytest.mark.parametrize(
    ("name", "source", "column", "label"),
    [
        ("table2", "table2_instance_recall", "recall_percent", "R@"),
        ("table3", "table3_extended_recall", "recall_percent", "R@"),
        ("table4", "table4_category_map", "map_percent", "mAP@"),
    ],
)
def test_paper_frame_equals_the_paper(all_tables, name, source, column, label):
    frame = all_tables[name].paper
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
    groups = {name: dict(t.frame.index.to_flat_index().map(lambda i: i[::-1])) for name, t in all_tables.items()}
    assert groups["table2"]["ADV 2048-bit"] == "FG"
    assert groups["table5"]["ADV 2048-bit"] == "CG"
    assert list(dict.fromkeys(groups["table2"].values())) == ["VLP", "FG", "CG", "Reference"]
    assert len(all_tables["table2"].paper) == 12
    assert all_tables["table3"].paper.shape == (3, 6)
    assert all_tables["table4"].paper.shape == (12, 12)
    assert all_tables["table5"].paper.shape == (10, 6)
    assert all_tables["table6"].paper.shape == (4, 4)
    assert all_tables["table7"].paper.shape == (12, 5)
    assert all_tables["table1"].paper.shape == (10, 6)


def test_chance_and_perfect_stand_under_every_quality_table(all_tables):
    for name in QUALITY:
        index = all_tables[name].frame.index
        assert index[-2:].tolist() == [("Reference", "Chance"), ("Reference", "Perfect retriever")]
    frame = all_tables["table4"].side_by_side
    assert frame.loc[("Reference", "Chance", "ours")].iloc[-1] == "88.7"
    assert frame.loc[("Reference", "Chance", "paper")].iloc[-1] == "88.7"


def test_absences_are_different_things(all_tables):
    quality, cost = all_tables["table4"].side_by_side, all_tables["table5"].side_by_side
    assert quality.loc[("VLP", "BLIP-2", "paper")].iloc[2] == UNDEFINED
    assert quality.loc[("VLP", "BLIP-2", "ours")].iloc[2] == UNAVAILABLE
    assert cost.loc[("VLP", "BLIP-2", "paper"), ("Encoding time (s)", "100K/500K")] == DNF
    assert cost.loc[("VLP", "BEiT-3", "ours"), ("Encoding time (s)", "10K/50K")] == "40.00†"
    assert len({UNDEFINED, UNAVAILABLE, DNF, EXTRAPOLATED}) == 4
    assert printed(Cell(0.5, "extrapolated"), "percent", "ours") == "50.0†"


def test_missing_systems_and_directions_say_unavailable(metrics):
    few = metrics[(metrics["system"] != "scan") & (metrics["direction"] != "t2i")]
    frame = make_table("table2", few).frame
    assert (frame.loc[("FG", "SCAN")] == UNAVAILABLE).all()
    assert (frame.loc[("CG", "UCCH")] != UNAVAILABLE).sum() == 6
    none = make_table("table2", metrics[metrics["profile"] == "paper"])
    assert (none.frame == UNAVAILABLE).all(axis=None)
    assert "Nothing of ours was measured" in none.caption
    assert make_table("table7", paper_reference("costs")).paper.shape == (12, 5)


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
    column = table.columns[0]
    best = [row for row in table.rows if table.is_best("paper", row, column)]
    assert best == [("VLP", "BLIP-2")]
    assert "**85.4**" in table.to_markdown()
    times = all_tables["table5"]
    assert times.is_best("paper", ("CG", "UCCH"), times.columns[times.columns.index(_column(times, "1K/5K"))])
    search = all_tables["table7"]
    bold = [r for r in search.rows if search.is_best("paper", r, search.columns[-1])]
    assert [group for group, _ in bold] == ["100K/500K", "500K/2.5M", "1M/5M"]  # one a size


def _column(table, name):
    return next(c for c in table.columns if c.header[-1] == name)


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
    assert [c.printed for c in table.trace.itertuples()] == [c.printed for c in whole.trace.itertuples()]
    assert "‡" not in table.to_latex()
    assert r"UCCH \textdaggerdbl{}" in table.to_latex()
    with pytest.raises(InputError, match="mixes runs"):
        QUALITY[name](metrics.assign(run=metrics["run"].mask(metrics["system"] == "ucch", "mini-s1+standard-s0")))


@pytest.mark.parametrize("name", QUALITY)
def test_a_corpus_the_paper_has_not_gets_its_own_columns(openclipart, name):
    table, two = (QUALITY[name](m) for m in (openclipart, openclipart[openclipart["corpus"] != "openclipart"]))
    assert len(table.columns) == len(two.columns) + 6
    assert [c.header[0] for c in table.columns[-6:]] == ["Openclipart"] * 6
    assert table.frame.iloc[:, :-6].equals(two.frame)
    sides = [t.side_by_side.drop(INTERVAL, level="Source", errors="ignore") for t in (table, two)]
    assert sides[0].iloc[:, :-6].equals(sides[1])  # and no line more
    assert table.paper.equals(two.paper)
    own = table.side_by_side["Openclipart"]
    source = own.index.get_level_values("Source")
    assert (own[~source.isin(("ours", INTERVAL))] == "").all(axis=None)
    assert (own[source == "ours"] != "").all(axis=None)
    assert (own.loc[("CG", "UCCH", "ours")].map(number) > own.loc[("Reference", "Chance", "ours")].map(number)).all()
    assert (own.loc[("Reference", "Perfect retriever", "ours")] == UNAVAILABLE).all()
    bold = table._bold().iloc[:, -6:]
    if name == "table3":
        assert not bold.any(axis=None)  # the best of one
    else:
        assert (bold.sum() >= 1).all()
    best = own[source == "ours"].iloc[:-2].replace(UNAVAILABLE, "-1").map(number)
    assert (best.where(bold[source == "ours"].iloc[:-2].to_numpy()).max().fillna(best.max()) == best.max()).all()
    trace = table.trace[table.trace["column"].str.startswith("Openclipart")]
    assert set(trace["part"]) == {"ours", INTERVAL}
    assert len(table.trace) - len(trace) == len(two.trace)
    assert "Openclipart (not in the paper)" in table.caption
    assert "PictoScenes are drawn scenes and Openclipart holds no photographs: these are not" in table.caption


@pytest.mark.parametrize("name", QUALITY)
def test_it_alone_stands_behind_the_papers_columns(openclipart, openclipart_alone, name):
    table, paper = QUALITY[name](openclipart_alone), QUALITY[name](openclipart[openclipart["profile"] == "paper"])
    assert table.paper.equals(paper.paper)
    assert table.frame.columns.get_level_values(0).unique().tolist()[-1] == "Openclipart"
    assert (table.frame.drop(columns="Openclipart", level=0) == UNAVAILABLE).all(axis=None)
    assert (table.frame["Openclipart"].loc[("CG", "UCCH")] != UNAVAILABLE).all()
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
    assert {len(line.split(",")) for line in lines} == {3 + len(table.columns)}
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
    assert table.frame["MS-COCO (coco)"].equals(table.frame["Openclipart (mine)"])


def test_a_system_the_paper_has_not_gets_its_own_row(run, metrics, monkeypatch):
    new = dataclasses.replace(registry.SYSTEMS["beit3"], id="clip", name="CLIP", paper_names=(), marker="p", line=":")
    monkeypatch.setitem(registry.SYSTEMS, "clip", new)
    rows = metrics.query("system == 'beit3' and profile == 'mini'").assign(system="clip")
    frame = make_table("table2", pd.concat([metrics, rows])).frame
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
    signs = {r"\bfseries ": "", "--": "–", r"$\pm$": "±"}
    for command, sign in signs.items():
        latex = [c.replace(command, sign) for c in latex]
    assert latex == cells
    markdown = [line for line in table.to_markdown().splitlines() if line.startswith("| ")][2:]
    assert [c.strip(" *") for line in markdown for c in line.split("|")[4:-1]] == cells
    csv = pd.read_csv(table.write(tmp_path)[0], dtype=str, keep_default_na=False)
    assert csv.iloc[:, 3:].to_numpy().ravel().tolist() == cells


def test_measured_only_keeps_what_a_reader_wants(all_tables):
    lines = [
        line for line in all_tables["table2"].to_markdown(measured_only=True).splitlines() if line.startswith("| ")
    ]
    assert len(lines) == 2 + 3 * 3 + 2  # head; three systems three times; chance and perfect


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


@pytest.mark.parametrize(("value", "text"), [(0, "0.00"), (0.0996, "0.10"), (0.996, "1.00"), (1234.567, "1234.57")])
def test_significant_digits(value, text):
    assert significant(value) == text


def test_unknown_ids_are_refused(metrics):
    with pytest.raises(InputError, match="unknown corpus"):
        make_table("table2", metrics, corpora=["cifar"])
    assert set(CORPUS_IDS.values()) == set(SLOTS)
