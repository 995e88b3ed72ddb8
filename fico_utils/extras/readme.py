"""The tables of the READMEs, made from the committed ones: `python -m fico_utils.extras.readme`.

Each stands between ``<!-- KIND PROFILE CORPUS ... -->`` and ``<!-- /KIND -->``; the kinds are ``results`` (what was
found), ``seeds`` (how far the seed moves it), ``costs`` (what it costs) and ``agreement`` (what the paper's tables
share with ours).
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from pathlib import Path

import pandas as pd

from fico_utils import registry
from fico_utils.display.rows import NEAR_CHANCE, SHIPPED, as_shipped, room_share
from fico_utils.display.table import markdown_line
from fico_utils.display.tables.costs import MILLION
from fico_utils.errors import InputError
from fico_utils.escaping import markdown_text
from fico_utils.extras import seeds
from fico_utils.extras.claims.agreement import agreement_table, compare_with_paper
from fico_utils.extras.setups import measured_screens, setup_name
from fico_utils.files import write_text
from fico_utils.provenance import PROJECT
from fico_utils.results import store

#: (direction, metric, k) of the columns; how each is headed.
COLUMNS = (("i2t", "recall", "1"), ("t2i", "recall", "1"), ("i2t", "map", "10"), ("i2t", "map", "N"))
HEADS = ("i2t R@1", "t2i R@1", "i2t mAP@10", "i2t mAP@N")
MARKS = re.compile(r"(<!-- (results|costs|seeds|agreement) (\w+)((?: \w+)+) -->\n).*?(<!-- /\2 -->)", re.DOTALL)
#: Files that hold such tables.
READMES = (PROJECT / "README.md", PROJECT / "figures" / "README.md")


def _table(heads: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    """A GitHub table of numbers, each row under its label."""
    return "\n".join([markdown_line(["", *heads]), "| --- |" + " ---: |" * len(heads), *map(markdown_line, rows)])


def results_table(metrics: pd.DataFrame, corpora: Sequence[str]) -> str:
    """Our systems, chance and the perfect retriever on corpora, as a GitHub table; percent, with 95 % intervals.

    ‡ marks rows measured with weights of another run that ship. In a column of mAP where a system lies near chance,
    the share of the room between chance and a perfect score follows in brackets.
    """
    mine = metrics[(metrics["source"] != "paper") & (metrics["profile"] != "paper") & metrics["corpus"].isin(corpora)]
    index = ["system", "corpus", "direction", "metric", "k"]
    values = mine.drop_duplicates(index).set_index(index).sort_index()
    shipped, known = as_shipped(mine), set(mine["system"])
    names = {s: markdown_text(registry.system(s).name) + SHIPPED * (s in shipped) for s in registry.systems()}
    names |= {"perfect": "*Perfect retriever*", "chance": "*Chance*"}
    close = mine[(mine["metric"] == "map") & ((mine["value"] - mine["chance"]).abs() < NEAR_CHANCE)]
    near = {*close.loc[close["source"] == "ours", index[1:]].itertuples(index=False, name=None)}

    def cell(*key: str) -> str:
        if key not in values.index or pd.isna(values.loc[key, "value"]):
            return "–"
        row = values.loc[key]
        half = 50 * (row["ci_high"] - row["ci_low"])
        share = (
            f" ({100 * room_share(row['value'], row['chance']):.0f} %)"
            if key[1:] in near and key[0] in registry.systems()
            else ""
        )
        return f"{100 * row['value']:.1f}" + (f" ± {half:.1f}" if pd.notna(half) else "") + share

    return _table(
        [f"{markdown_text(registry.corpus(c).name)}<br>{head}" for c in corpora for head in HEADS],
        [[names[s], *(cell(s, c, *column) for c in corpora for column in COLUMNS)] for s in names if s in known],
    )


def costs_table(costs: pd.DataFrame, corpus: str) -> str:
    """What our systems cost, and what they find for it among the most scenes that were searched, as a GitHub table.

    Below the systems, the fastest screen that pays (`Screened.pays`), if any does.
    """
    mine = costs[(costs["source"] != "paper") & (costs["corpus"] == corpus)]
    grown = mine[(mine["phase"] == "gallery") & (mine["quantity"] == "recall_t2i@1")]
    small, large = (int(n) for n in (grown["scale_img"].min(), grown["scale_img"].max()))
    index = ["phase", "quantity", "system", "scale_img"]
    values = mine.drop_duplicates(index).set_index(index).sort_index()

    def cell(places: Sequence[tuple[str, str, str, int]], factor: float, digits: int) -> str:
        """The first of some cells that has a value."""
        for place in places:
            if place in values.index and pd.notna(values.loc[place, "value"]):
                value = factor * values.loc[place, "value"]
                about = "≈ " if values.loc[place, "status"] == "extrapolated" else ""
                return f"{about}{value:,.{digits if value < 100 else 0}f}"
        return "–"

    def found(phase: str, system: str) -> list[str]:
        return [cell([(phase, "recall_t2i@1", system, n)], 100, 1) for n in (small, large)]

    def stored(system: str) -> float:
        """Bytes: packed where a system can be, else embeddings and what else it reads."""
        places = [("store", f"{kind}_bytes", system, MILLION[0]) for kind in ("packed", "embedding", "feature")]
        packed, *whole = (0.0 if pd.isna(value) else value for value in map(values["value"].get, places))
        return packed or sum(whole)

    rows = []
    for s in registry.systems():
        if s in set(mine["system"]):
            alone = (s, f"{s}+flat_ip", f"{s}+binary_flat_counting")
            waits = [("deploy", "seconds_per_query", setup, large) for setup in alone]
            waits.append(("attention", "seconds_per_query", s, large))
            encoding = cell([("encode", "seconds", s, MILLION[0])], 1, 0)
            size = f"{stored(s) / 2**30:,.2f}"
            name = markdown_text(registry.system(s).name)
            rows.append([name, encoding, size, cell(waits, 1e3, 2), *found("gallery", s)])
    good = [screen for screen in measured_screens(mine.to_dict("records"), large) if screen.pays]
    if good:
        best = max(good, key=lambda screen: screen.faster).setup
        waits = cell([("deploy", "seconds_per_query", best, large)], 1e3, 2)
        rows.append([f"*{markdown_text(setup_name(best))}*", "both", "both", waits, *found("deploy", best)])
    if "perfect" in set(grown["system"]):
        rows.append(["*Perfect retriever*", "", "", "", *found("gallery", "perfect")])
    heads = ["encoding 1M images<br>and 5M captions, s", "their size<br>on disk, GiB"]
    heads += [f"a query among<br>{large:,} images, ms", *(f"t2i R@1<br>among {n:,}" for n in (small, large))]
    return _table(heads, rows)


def seeds_table(spread: pd.DataFrame, corpus: str) -> str:
    """Mean, least and largest of our systems over seeds on a corpus, as a GitHub table, in percent."""
    mine = spread[spread["corpus"] == corpus].set_index(["system", "direction", "metric", "k"]).sort_index()
    known = set(mine.index.get_level_values("system"))
    names = {s: markdown_text(row.name) for s, row in registry.systems().items() if s in known}

    def cell(*place: str) -> str:
        if place not in mine.index:
            return "–"
        mean, low, high = 100 * mine.loc[place, ["mean", "low", "high"]].astype(float)
        return f"{mean:.1f} ({low:.1f} to {high:.1f})"

    return _table(
        [f"{markdown_text(registry.corpus(corpus).name)}<br>{head}" for head in HEADS],
        [[name, *(cell(s, *c) for c in COLUMNS)] for s, name in names.items()],
    )


def order_table(metrics: pd.DataFrame, corpora: Sequence[str]) -> str:
    """What of our scores on corpora agrees with the paper's, as a GitHub table: a row a statement and metric."""
    made = agreement_table(compare_with_paper(metrics, corpora))
    rows = [[f"{what}, {metric}", *texts] for (what, metric), texts in zip(made.index, made.to_numpy(), strict=True)]
    return _table(["<br>".join(map(markdown_text, head)) for head in made], rows)


def refresh_tables(text: str, folder: Path = PROJECT / "figures") -> str:
    """The text of a README whose tables are those of ``<folder>/<profile>/``; InputError where no marks are in it."""
    if not MARKS.search(text):
        raise InputError("no <!-- results PROFILE CORPUS --> ... <!-- /results --> marks in this README; put them back")

    def table(marks: re.Match[str]) -> str:
        start, kind, profile, corpora, end = marks.groups()
        place, corpora = folder / profile, corpora.split()
        if kind == "seeds":
            made = seeds_table(seeds.read_seeds(place / seeds.FILE), corpora[0])
        elif kind == "costs":
            made = costs_table(store.load(place, "costs"), corpora[0])
        elif kind == "agreement":
            made = order_table(store.load(place, "metrics"), corpora)
        else:
            made = results_table(store.load(place, "metrics"), corpora)
        return f"{start}{made}\n{end}"

    return MARKS.sub(table, text)


if __name__ == "__main__":
    for readme in READMES:
        write_text(readme, refresh_tables(readme.read_text(encoding="utf-8")))
