"""The tables of the READMEs, made from the committed ones: `python -m fico_utils.extras.readme`.

What was found stands between ``<!-- results PROFILE CORPUS ... -->`` and ``<!-- /results -->``, how far the seed moves
it between ``<!-- seeds PROFILE CORPUS -->`` and ``<!-- /seeds -->``, what it costs between
``<!-- costs PROFILE CORPUS -->`` and ``<!-- /costs -->``.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from pathlib import Path

import pandas as pd

from fico_utils import registry
from fico_utils.display.rows import SHIPPED, as_shipped
from fico_utils.display.tables.costs import MILLION
from fico_utils.errors import InputError
from fico_utils.extras import seeds
from fico_utils.files import write_text
from fico_utils.provenance import PROJECT
from fico_utils.results import store
from fico_utils.results.setups import measured_screens, setup_name

#: (direction, metric, k) and how the column is headed.
COLUMNS = {
    ("i2t", "recall", "1"): "i2t R@1",
    ("t2i", "recall", "1"): "t2i R@1",
    ("i2t", "map", "10"): "i2t mAP@10",
    ("i2t", "map", "N"): "i2t mAP@N",
}
MARKS = re.compile(r"(<!-- (results|costs|seeds) (\w+)((?: \w+)+) -->\n).*?(<!-- /\2 -->)", re.DOTALL)
#: How an extrapolated value begins.
ABOUT = "≈ "
#: Files that hold such tables.
READMES = (PROJECT / "README.md", PROJECT / "figures" / "README.md")


def results_table(metrics: pd.DataFrame, corpora: Sequence[str]) -> str:
    """Our systems, chance and the perfect retriever on corpora, as a GitHub table; percent, with 95 % intervals.

    ‡ marks rows measured with weights of another run that ship.
    """
    mine = metrics[(metrics["source"] != "paper") & (metrics["profile"] != "paper") & metrics["corpus"].isin(corpora)]
    systems = [s for s in registry.systems() if s in set(mine["system"])]
    heads = [f"{registry.corpus(c).name}<br>{name}" for c in corpora for name in COLUMNS.values()]
    lines = _head(heads)
    index = ["system", "corpus", "direction", "metric", "k"]
    rows = mine.drop_duplicates(index).set_index(index).sort_index()
    shipped = as_shipped(mine)
    names = {s: registry.system(s).name + SHIPPED * (s in shipped) for s in systems}
    names |= {"perfect": "*Perfect retriever*", "chance": "*Chance*"}
    for system, name in names.items():
        if system in set(mine["system"]):
            cells = [_cell(rows, (system, corpus, *column)) for corpus in corpora for column in COLUMNS]
            lines.append(_line([name, *cells]))
    return "\n".join(lines)


def _line(cells: Sequence[str]) -> str:
    return "| " + " | ".join(cells) + " |"


def _head(heads: Sequence[str]) -> list[str]:
    return [_line(["", *heads]), "| --- |" + " ---: |" * len(heads)]


def _cell(rows: pd.DataFrame, key: tuple[str, ...]) -> str:
    if key not in rows.index or pd.isna(rows.loc[key, "value"]):
        return "–"
    row = rows.loc[key]
    half = 50 * (row["ci_high"] - row["ci_low"])
    return f"{100 * row['value']:.1f}" + (f" ± {half:.1f}" if pd.notna(half) else "")


def costs_table(costs: pd.DataFrame, corpus: str) -> str:
    """What our systems cost, and what they find for it among the most scenes that were searched, as a GitHub table.

    Below the systems, the fastest screen that pays (`Screened.pays`), if any does.
    """
    mine = costs[(costs["source"] != "paper") & (costs["corpus"] == corpus)]
    grown = mine[(mine["phase"] == "gallery") & (mine["quantity"] == "recall_t2i@1")]
    small, large = (int(n) for n in (grown["scale_img"].min(), grown["scale_img"].max()))
    heads = [
        "encoding 1M images<br>and 5M captions, s", "their size<br>on disk, GiB",
        f"a query among<br>{large:,} images, ms", *(f"t2i R@1<br>among {n:,}" for n in (small, large)),
    ]  # fmt: skip
    index = ["phase", "quantity", "system", "scale_img"]
    rows = mine.drop_duplicates(index).set_index(index).sort_index()

    def cell(places: Sequence[tuple[str, str, str, int]], factor: float, digits: int) -> str:
        """The first of some cells that has a value."""
        for place in places:
            if place in rows.index and pd.notna(rows.loc[place, "value"]):
                row = rows.loc[place]
                about = ABOUT if row["status"] == "extrapolated" and place[0] != "store" else ""
                value = factor * row["value"]
                return f"{about}{value:,.{digits if value < 100 else 0}f}"
        return "–"

    def recalls(phase: str, system: str) -> list[str]:
        return [cell([(phase, "recall_t2i@1", system, n)], 100, 1) for n in (small, large)]

    def stored(system: str) -> float:
        """Bytes: packed where a system can be, else embeddings and what else it reads."""
        places = [("store", f"{kind}_bytes", system, MILLION[0]) for kind in ("packed", "embedding", "feature")]
        packed, *whole = (0.0 if pd.isna(value) else value for value in map(rows["value"].get, places))
        return packed or sum(whole)

    lines = _head(heads)
    for s in registry.systems():
        if s in set(mine["system"]):
            encoding = cell([("encode", "seconds", s, MILLION[0])], 1, 0)
            alone = (s, f"{s}+flat_ip", f"{s}+binary_flat_counting")
            waits = [("deploy", "seconds_per_query", setup, large) for setup in alone]
            waits.append(("attention", "seconds_per_query", s, large))
            size = f"{stored(s) / 2**30:,.2f}"
            lines.append(_line([registry.system(s).name, encoding, size, cell(waits, 1e3, 2), *recalls("gallery", s)]))
    good = [c for c in measured_screens(mine.to_dict("records"), large) if c.pays]
    if good:
        best = max(good, key=lambda c: c.faster).setup
        waits = cell([("deploy", "seconds_per_query", best, large)], 1e3, 2)
        lines.append(_line([f"*{setup_name(best)}*", "both", "both", waits, *recalls("deploy", best)]))
    if "perfect" in set(grown["system"]):
        lines.append(_line(["*Perfect retriever*", "", "", "", *recalls("gallery", "perfect")]))
    return "\n".join(lines)


def seeds_table(spread: pd.DataFrame, corpus: str) -> str:
    """Mean, least and largest of our systems over seeds on a corpus, as a GitHub table, in percent."""
    mine = spread[spread["corpus"] == corpus].set_index(["system", "direction", "metric", "k"]).sort_index()

    def cell(place: tuple[str, ...]) -> str:
        if place not in mine.index:
            return "–"
        row = 100 * mine.loc[place, ["mean", "low", "high"]].astype(float)
        return f"{row['mean']:.1f} ({row['low']:.1f} to {row['high']:.1f})"

    known = set(mine.index.get_level_values("system"))
    lines = _head([f"{registry.corpus(corpus).name}<br>{name}" for name in COLUMNS.values()])
    for s in registry.systems():
        if s in known:
            lines.append(_line([registry.system(s).name, *(cell((s, *column)) for column in COLUMNS)]))
    return "\n".join(lines)


def refreshed(text: str, folder: Path = PROJECT / "figures") -> str:
    """The text of a README whose tables, between their marks, are those of ``<folder>/<profile>/``.

    Raises
    ------
    InputError
        No marks, or a profile of which nothing is committed.
    """
    if not MARKS.search(text):
        raise InputError("no <!-- results PROFILE CORPUS --> ... <!-- /results --> marks in this README; put them back")

    def table(found: re.Match[str]) -> str:
        start, kind, profile, corpora, end = found.groups()
        if kind == "seeds":
            made = seeds_table(seeds.read_seeds(folder / profile / seeds.FILE), corpora.split()[0])
        elif kind == "costs":
            made = costs_table(store.load(folder / profile, "costs"), corpora.split()[0])
        else:
            made = results_table(store.load(folder / profile, "metrics"), corpora.split())
        return f"{start}{made}\n{end}"

    return MARKS.sub(table, text)


def main() -> None:
    """Write the tables of the committed renditions into the READMEs."""
    for readme in READMES:
        write_text(readme, refreshed(readme.read_text(encoding="utf-8")))


if __name__ == "__main__":
    main()
