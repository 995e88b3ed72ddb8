"""Every number printed in a table or the report, or drawn in a figure, is in the tidy tables or the paper's files.

Headers and labels are read here without the package's table code, and looked up in the tidy tables; the paper's cells
are compared, character by character, with the transcribed files. Written for the tables of notebook 06, for each
folder that is committed.
"""

from __future__ import annotations

import base64
import csv
import html
import json
import math
import re

import numpy as np
import pandas as pd
import pytest

from fico_utils import registry
from fico_utils.display.figures import FIGURES, draw_figure
from fico_utils.display.picture import save_picture
from fico_utils.display.tables import make_table
from fico_utils.extras.pages.report import write_report
from fico_utils.results.paper_reference import CORPUS_IDS, SYSTEM_IDS, read_paper

GIB = 2**30
DIRECTIONS = {"Image-to-text": "i2t", "Text-to-image": "t2i"}
QUALITY = {
    "table2": ("table2_instance_recall", "recall_percent"),
    "table3": ("table3_extended_recall", "recall_percent"),
    "table4": ("table4_category_map", "map_percent"),
}
ABSENT = {"n/a": "undefined", "DNF": "dnf", "–": "unavailable"}
#: Figures without numbers of the tables: one query with its scores, and the framework.
DRAWINGS = {"fig1", "fig2"}
#: Columns of a figure's CSV that hold numbers.
NUMERIC = (
    *("value", "ci_low", "ci_high", "chance", "spread", "scale_img", "scale_txt"),
    *("share", "share_low", "share_high"),
)


def ids() -> dict[str, str]:
    """Printed name -> id, of systems, indexes and the two references."""
    known = {**registry.systems(), **registry.INDEXES}
    return {**{s.name: i for i, s in known.items()}, "Chance": "chance", "Perfect retriever": "perfect"}


def corpora() -> dict[str, str]:
    return {c.name: c.id for c in registry.CORPORA.values()}


def read(path) -> list[dict[str, str]]:
    with open(path, newline="", encoding="utf-8") as file:
        return list(csv.DictReader(file))


def to_printed_precision(text: str, value: float) -> bool:
    """Whether `text` is `value`, rounded to the decimals that it shows, or to two digits where it is a large number."""
    text = text.strip("×†+±")
    unit = 10.0 ** -len(text.partition(".")[2]) if "." in text else 10.0 ** max(len(text.lstrip("-")) - 2, 0)
    return abs(float(text) - value) <= 0.5 * unit * (1 + 1e-6) + 1e-12 * abs(value)


def size(text: str) -> float:
    """1.5K -> 1500."""
    return float(text.rstrip("KM")) * {"K": 1e3, "M": 1e6}.get(text[-1], 1)


# ------------------------------------------------------------------------------------- tables 2, 3 and 4


def quality_header(header: str) -> tuple[str, str, str, str, str]:
    """Our corpus, the paper's (ours again where the paper has none), direction, metric, k."""
    found = re.fullmatch(r"(?:(.+) beside )?(.+) (Image-to-text|Text-to-image) (R|mAP)@(\w+)", header)
    ours, paper, direction, letter, k = found.groups()
    metric = "recall" if letter == "R" else "map"
    return corpora()[ours or paper], corpora()[paper], DIRECTIONS[direction], metric, k


def check_quality(name: str, lines: list[dict[str, str]], metrics: pd.DataFrame) -> int:
    """Cells that hold a number; each is a row of `metrics`, its interval or share of the room, or a paper's cell."""
    source, column = QUALITY[name]
    paper = {
        (SYSTEM_IDS[r.system], CORPUS_IDS[r.dataset], r.direction, r.k): getattr(r, column)
        for r in read_paper(source).itertuples()
    }
    rows = metrics[metrics["split"] == "test"].to_dict("records")
    index = ("system", "corpus", "direction", "metric", "k")
    known = {tuple(r[c] for c in index): r for r in rows if r["profile"] != "paper"}
    chance = [r for r in rows if r["source"] == "chance" and r["profile"] == "paper"]
    ends = {(r["corpus"], r["direction"]): r["value"] for r in chance}
    checked = 0
    for line in lines:
        system = ids()[line["System"].removesuffix(" ‡")]
        for header in list(line)[3:]:
            ours, theirs, direction, metric, k = quality_header(header)
            row, printed = known.get((system, ours, direction, metric, k)), paper.get((system, theirs, direction, k))
            if system == "chance" and metric == "map" and k == "N" and theirs in CORPUS_IDS.values():
                printed = f"{100 * ends[theirs, direction]:.1f}"
            value = row["value"] if row and row["status"] == "ok" else math.nan
            text = line[header]
            if line["Source"] == "± 95 %":
                half = math.nan if math.isnan(value) else (row["ci_high"] - row["ci_low"]) / 2
                assert (text == "") == math.isnan(half), (name, system, header, text)
                assert text == "" or to_printed_precision(text, 100 * half), (name, system, header, text)
            elif line["Source"] == "% of room":
                share = (value - row["chance"]) / (1 - row["chance"]) if row else math.nan
                assert text == "" or to_printed_precision(text.removesuffix(" %"), 100 * share)
            elif line["Source"] == "paper, % of room":
                share = (float(printed) / 100 - ends[theirs, direction]) / (1 - ends[theirs, direction]) if text else 0
                assert text == "" or to_printed_precision(text.removesuffix(" %"), 100 * share)
            elif line["Source"] != "ours" and theirs not in CORPUS_IDS.values():
                assert text == ""  # nothing in the paper corresponds
            elif line["Source"] == "ours":
                status = row["status"] if row else "unavailable"
                assert ABSENT.get(text, "ok") == status, (name, system, header, text)
                assert text in ABSENT or to_printed_precision(text, 100 * value), (name, system, header, text)
            elif line["Source"] == "paper":
                if printed is None:
                    assert text == "–"
                else:
                    same = text == "n/a" if printed == "" else float(text) == float(printed)  # 93.0 is 93
                    assert same, (name, system, header, text, printed)
            else:
                pytest.fail(f"a line of {line['Source']}: ours are of other pictures, and nothing is subtracted")
            checked += text not in ABSENT and text != ""
    return checked


@pytest.mark.parametrize("name", QUALITY)
def test_each_quality_printed_is_a_row(redrawn, name):
    assert check_quality(name, read(redrawn.root / "tables" / f"{name}.csv"), redrawn.metrics) > 40


@pytest.mark.parametrize("name", QUALITY)
@pytest.mark.parametrize("which", ["openclipart", "openclipart_alone"])
def test_so_it_is_with_a_corpus_that_the_paper_has_not(which, name, request, tmp_path):
    metrics = request.getfixturevalue(which)
    make_table(name, metrics).write(tmp_path)
    lines = read(tmp_path / f"{name}.csv")
    own = [header for header in lines[0] if header.startswith("Openclipart ")]
    assert len(own) == 6
    assert check_quality(name, lines, metrics) > 20
    numbers = [line[header] for line in lines for header in own if line["Source"] == "ours"]
    assert sum(text not in ABSENT for text in numbers) == 6 * (2 if name == "table3" else 4)  # systems and chance


# ------------------------------------------------------------------------------------- tables 5, 6 and 7


def cost_place(name: str, line: dict[str, str], header: str) -> tuple[str, str, str, float] | None:
    """(phase, quantity, queries or images/texts, factor to the printed unit) of a column; None: it holds words."""
    if name == "table7":
        queries, candidates = map(size, line["Group"].split("/"))
        quantity = {"Index (s)": ("index", "seconds", 1), "Search (s)": ("search", "seconds", 1)}.get(header)
        if quantity is None:
            quantity = ("search", f"recall@{re.fullmatch(r'R@([0-9]+) .%.', header)[1]}", 100)
        phase, quantity, factor = quantity
        return phase, quantity, (queries, candidates), factor
    found = re.fullmatch(r"(Encoding time|Query-time attention) \(s\) (.+)/(.+)", header)
    if found:
        phase = "encode" if found[1] == "Encoding time" else "attention"
        return phase, "seconds", (size(found[2]), size(found[3])), 1
    found = re.fullmatch(r"Storage at 1M/5M \(GiB\) (.+)", header)
    if not found:
        return None
    what = {"Embeddings": "paper_bytes", "Embeddings, bit-packed": "packed_bytes", "Features": "feature_bytes"}[
        found[1]
    ]
    return "store", what, (1e6, 5e6), 1 / GIB


def papers_costs() -> dict[tuple, str]:
    """(system, phase, quantity, queries or images) -> what the paper prints."""
    found = {}
    for name, phase in (("table5_encoding_time", "encode"), ("table6_attention_time", "attention")):
        for r in read_paper(name).itertuples():
            found[SYSTEM_IDS[r.system], phase, "seconds", float(r.images)] = r.seconds or r.status
    for r in read_paper("table5_storage").itertuples():
        found[SYSTEM_IDS[r.system], "store", "paper_bytes", 1e6] = r.embedding_gib
        found[SYSTEM_IDS[r.system], "store", "feature_bytes", 1e6] = r.feature_gib or "–"
    names = {n: i.id for i in registry.INDEXES.values() for n in i.paper_names}
    for r in read_paper("table7_faiss").itertuples():
        place = names[r.index], float(r.queries)
        found[place[0], "index", "seconds", place[1]] = r.index_seconds
        found[place[0], "search", "seconds", place[1]] = r.search_seconds
        for k in (1, 100, 1000):
            found[place[0], "search", f"recall@{k}", place[1]] = getattr(r, f"recall_at_{k}")
    return found


@pytest.mark.parametrize(("name", "least"), [("table5", 60), ("table6", 10), ("table7", 60)])
def test_each_cost_printed_is_a_row(redrawn, name, least):
    paper, costs = papers_costs(), redrawn.costs[redrawn.costs["profile"] != "paper"]
    mechanisms = {SYSTEM_IDS[r.system]: r.mechanism for r in read_paper("table6_attention_time").itertuples()}
    known: dict[tuple, list[dict]] = {}
    for r in costs.to_dict("records"):
        known.setdefault((r["system"], r["phase"], r["quantity"], (r["scale_img"], r["scale_txt"])), []).append(r)
    checked = 0
    for line in read(redrawn.root / "tables" / f"{name}.csv"):
        system = ids()[line.get("System") or line["Index"]]
        for header in list(line)[3:]:
            place, text = cost_place(name, line, header), line[header]
            if place is None:
                expected = {"ours": registry.systems()[system].attention, "paper": mechanisms.get(system)}
                assert text in (expected.get(line["Source"]), "–")
                continue
            phase, quantity, scale, factor = place
            printed = paper.get((system, phase, quantity, scale[0]))
            rows = [r for r in known.get((system, phase, quantity, scale), []) if not math.isnan(r["value"])]
            values = [r["value"] * factor for r in rows]
            if text == "?":
                assert any(r["status"] == "extrapolated" and 2 * r["spread"] > r["value"] for r in rows)
                continue
            checked += text not in ABSENT
            if text in ABSENT and line["Source"] == "ours":
                no_embedding = quantity == "paper_bytes" and text == "n/a"  # features alone are kept
                assert values == ([0.0] if no_embedding else [])
            elif line["Source"] == "ours":
                marked = text.endswith("†")
                match = [v for v, r in zip(values, rows, strict=True) if marked == (r["status"] == "extrapolated")]
                assert any(to_printed_precision(text, v) for v in match), (name, system, header, text)
            elif line["Source"] == "paper":
                same = printed is not None and (text == printed or text.lstrip("<") == printed.lstrip("<"))
                same = same or (printed and text not in ABSENT and float(text) == float(printed))  # 90 for 90.0
                assert same or (printed is None and text == "–"), (name, system, header, text, printed)
            elif text != "–":
                below = 0.5 if printed.startswith("<") else 1
                theirs = below * float(printed.lstrip("<"))
                rounded = 0.5 * 10.0 ** -len(printed.partition(".")[2]) if quantity.endswith("_bytes") else 0
                close = [v for v in values if to_printed_precision(text, v / theirs)]
                assert close or any(abs(float(text.strip("×†")) - v / theirs) <= rounded for v in values)
    assert checked >= least


def test_table_1_has_the_papers_words(redrawn):
    paper = {r["system"]: r for r in read_paper("table1_systems").to_dict("records")}
    heads = ("Approach", "Query-time attention", "Embedding dims", "Image features", "Text features", "Data type")
    names = ("approach", "query_time_attention", "embedding_dims", "image_features", "text_features", "dtype")
    lines = [line for line in read(redrawn.root / "tables" / "table1.csv") if line["Source"] == "paper"]
    assert len(lines) == 12 - ("adv_64" not in {ids()[line["System"]] for line in lines}) - 2  # NF rows are not in it
    for line in lines:
        system = registry.systems()[ids()[line["System"]]]
        row = next(r for name, r in paper.items() if any(p.startswith(name) for p in system.paper_names))
        assert [line[head] for head in heads] == [row[name] or "–" for name in names]


def test_the_other_files_of_a_table_hold_the_same_cells(redrawn):
    for n in range(1, 8):
        path = redrawn.root / "tables" / f"table{n}.csv"
        cells = [text for line in read(path) for text in list(line.values())[3:]]
        page = path.with_suffix(".html").read_text(encoding="utf-8")
        assert [html.unescape(c) for c in re.findall(r"<td[^>]*>(.*?)</td>", page)] == cells
        lines = [line for line in path.with_suffix(".md").read_text(encoding="utf-8").splitlines() if line[:2] == "| "]
        assert [c.strip().strip("*") for line in lines[2:] for c in line.split("|")[4:-1]] == cells


# -------------------------------------------------------------------------------------- figures


def of_metrics(data: pd.DataFrame, metrics: pd.DataFrame) -> pd.DataFrame:
    keys = ["source", "system", "corpus", "direction", "metric", "k", "run"]
    return data.merge(metrics, on=keys, how="left", suffixes=("", " of the table"))


def of_costs(data: pd.DataFrame, costs: pd.DataFrame) -> pd.DataFrame:
    keys = ["source", "system", "corpus", "phase", "scale_img", "scale_txt", "quantity", "run"]
    keys = [key for key in keys if key in data]
    return data.merge(costs.drop_duplicates(keys), on=keys, how="left", suffixes=("", " of the table"))


@pytest.mark.parametrize("which", ["openclipart", "openclipart_alone"])
def test_what_is_drawn_of_a_corpus_that_the_paper_has_not_is_a_row(which, request):
    metrics, own = request.getfixturevalue(which), set()
    for entry in (entry for entry in FIGURES.values() if entry.reads == ("metrics",)):
        data = entry(metrics).data
        found = of_metrics(data, metrics)
        assert len(found) == len(data) > 0
        np.testing.assert_allclose(found["value"], found["value of the table"], rtol=1e-12)
        drawn = data[data["corpus"] == "openclipart"]
        assert {*drawn["direction"]} == {"i2t", "t2i"}
        own |= {*drawn["metric"]}
    assert {"precision", "map", "recall_optimistic", "place"} <= own


def test_each_number_drawn_is_a_row(redrawn):
    seen = set()
    for path in sorted((redrawn.root / "figures").glob("*.csv")):
        if path.stem in DRAWINGS:
            continue
        data = pd.read_csv(path, dtype=str, keep_default_na=False)
        numeric = [name for name in NUMERIC if name in data]
        data[numeric] = data[numeric].replace("", "nan").astype(float)
        found = of_costs(data, redrawn.costs) if "quantity" in data else of_metrics(data, redrawn.metrics)
        assert len(found) == len(data) > 0, path.name
        for column in ("value", "ci_low", "ci_high", "chance", "spread"):
            if column in data and f"{column} of the table" in found:
                drawn, table = (found[c].astype(float) for c in (column, f"{column} of the table"))
                if column == "chance":  # the paper's rows take theirs from its chance rows
                    drawn, table = (x[found["source"] == "ours"] for x in (drawn, table))
                np.testing.assert_allclose(drawn, table, rtol=1e-8, err_msg=f"{path.name} {column}")
        if "share" in data:
            for share, column in (("share", "value"), ("share_low", "ci_low"), ("share_high", "ci_high")):
                worked_out = (data[column] - data["chance"]) / (1 - data["chance"])
                np.testing.assert_allclose(data[share], worked_out, atol=1e-8)
        seen.add(path.stem)
    assert {"fig3", "fig4", "chance_corrected", "ranking_category", "ranking_instance", "tie_gap"} <= seen


def test_the_papers_chance_is_drawn_where_its_curves_end(redrawn):
    data = pd.read_csv(redrawn.root / "figures" / "chance_corrected.csv")
    curves = read_paper("figure3_precision_recall")
    for row in data[data["source"] == "paper"].itertuples():
        name = next(n for n, i in CORPUS_IDS.items() if i == row.corpus)
        ends = curves[(curves["dataset"] == name) & (curves["direction"] == row.direction)].query("recall == '1.0'")
        assert row.chance == pytest.approx(ends["precision"].astype(float).median())


# --------------------------------------------------------------------------------------- report


@pytest.fixture(scope="session")
def page(redrawn):
    """The report of what was redrawn; costs.csv lies beside it, as in a results folder."""
    for table in ("metrics", "costs"):
        (redrawn.root / f"{table}.csv").write_bytes((redrawn.committed / f"{table}.csv").read_bytes())
    return write_report(redrawn.root, redrawn.root.name, []).read_text(encoding="utf-8")


def section(page: str, title: str) -> str:
    return page.partition(f"<h2>{title}</h2>")[2].partition("</section>")[0]


def cells(part: str) -> list[str]:
    return [html.unescape(c) for c in re.findall(r"<td[^>]*>(.*?)</td>", part, re.DOTALL)]


def test_the_report_prints_the_tables(redrawn, page):
    tables = [redrawn.root / "tables" / f"table{n}.csv" for n in range(1, 8)]
    expected = [text for path in tables for line in read(path) for text in list(line.values())[3:]]
    assert cells(section(page, "Ours against the paper's")) == expected


def test_the_report_prints_a_corpus_that_the_paper_has_not(openclipart, tmp_path):
    paths = [make_table(name, openclipart).write(tmp_path / "tables")[0] for name in QUALITY]
    save_picture(draw_figure("fig3", openclipart), tmp_path / "figures", "fig3")
    page = write_report(tmp_path, "mini", []).read_text(encoding="utf-8")
    expected = [text for path in paths for line in read(path) for text in list(line.values())[3:]]
    assert cells(section(page, "Ours against the paper's")) == expected
    assert page.count("Openclipart") >= 6
    assert page.count("<figure>") == 1


def test_the_report_prints_the_costs(redrawn, page):
    ours = [r for r in read(redrawn.committed / "costs.csv") if r["source"] == "ours"]
    columns = ("system", "corpus", "phase", "scale_img", "scale_txt", "quantity", "unit", "value", "spread", "status")
    printed = cells(section(page, "Costs"))
    expected = [row[column] for row in ours for column in columns]
    assert len(printed) == len(expected) > 100
    for text, cell in zip(printed, expected, strict=True):
        if text != cell:
            assert float(text.replace(",", "")) == pytest.approx(float(cell), rel=6e-4)


def test_the_report_prints_the_claims_and_shows_the_pictures(redrawn, page):
    claims = read(redrawn.committed / "claims.csv")
    part = html.unescape(section(page, "What the paper claims"))
    assert all(row["claim"] in part and row["evidence"] in part for row in claims)
    counts = [
        int(n) for n in re.findall(r"(?:holds|part|hold|here|features|training) (\d+)", part.partition("</summary>")[0])
    ]
    assert sum(counts) == len(claims)
    pictures = [base64.b64decode(data) for data in re.findall(r'src="data:image/svg\+xml;base64,([^"]+)"', page)]
    drawn = [path.read_bytes() for path in (redrawn.root / "figures").glob("*.svg")]
    assert sorted(pictures) == sorted(drawn)


def test_the_summary_says_what_is_there(redrawn, page):
    facts = json.loads((redrawn.root / "report" / "summary.json").read_text(encoding="utf-8"))
    assert facts["tables"] == [f"table{n}.html" for n in range(1, 8)]
    assert len(facts["figures"]) == page.count("<figure>") >= 7


# ------------------------------------------------------------------------------ a walk that can fail


def test_a_changed_number_would_be_seen(redrawn, tmp_path):
    assert to_printed_precision("37.3", 37.25001)
    assert not to_printed_precision("37.3", 37.36)
    assert to_printed_precision("0.012×", 0.0123)
    assert not to_printed_precision("40.00†", 40.02)
    path = redrawn.root / "figures" / "fig3.csv"
    data = pd.read_csv(path, dtype={"k": str})
    changed = data.assign(value=data["value"] + 0.01)
    table = of_metrics(changed, redrawn.metrics)
    assert not np.allclose(table["value"], table["value of the table"], rtol=1e-8)
