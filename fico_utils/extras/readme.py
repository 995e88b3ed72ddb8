"""The tables and numbers of the READMEs, made from the committed tables: `python -m fico_utils.extras.readme`.

Each stands between ``<!-- KIND PROFILE ... -->`` and ``<!-- /KIND -->``. Tables name corpora: ``results`` (what was
found), ``summary`` (fewer columns of it, and the parameters), ``costs``, and ``agreement`` (what of it the paper
shares). In a sentence, ``value PROFILE CORPUS SYSTEM DIRECTION METRIC`` is one number, ``claims PROFILE``
counts verdicts, and ``setting PROFILE NAME`` is a parameter.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from pathlib import Path

import pandas as pd

from fico_utils import registry
from fico_utils.display.rows import NEAR_CHANCE, SHIPPED, as_shipped, join_words, room_share
from fico_utils.display.table import markdown_line
from fico_utils.display.tables.costs import MILLION
from fico_utils.errors import InputError
from fico_utils.escaping import markdown_text
from fico_utils.evaluation import Metric
from fico_utils.extras import seeds
from fico_utils.extras.claims import DEPENDS, VERDICTS, read_claims
from fico_utils.extras.claims.agreement import agreement_table, compare_with_paper
from fico_utils.extras.pages.page import number_of_claims
from fico_utils.extras.setups import measured_screens, setup_name
from fico_utils.files import read_arrays, write_text
from fico_utils.profiles import profile_settings
from fico_utils.provenance import PROJECT
from fico_utils.provenance import SHIPPED as WEIGHTS
from fico_utils.results import store

PLACE = ["system", "corpus", "direction", "metric", "k"]
#: (direction, metric, k) of the columns.
COLUMNS = (("i2t", "recall", "1"), ("t2i", "recall", "1"), ("i2t", "map", "10"), ("i2t", "map", "N"))
MARKS = re.compile(
    r"(<!-- (results|summary|costs|agreement|value|claims|setting) (\w+)((?: [\w@]+)*) -->\n?).*?(<!-- /\2 -->)",
    re.DOTALL,
)
#: Files that hold such marks.
READMES = tuple(PROJECT / name for name in ("README.md", "figures/README.md", "notebooks/TEACHING.md"))


def _table(heads: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    """A GitHub table of numbers, each row under its label."""
    return "\n".join([markdown_line(["", *heads]), "| --- |" + " ---: |" * len(heads), *map(markdown_line, rows)])


def _percent(row: pd.Series) -> str:
    """A value in percent, with half its 95 % interval where it has one."""
    half = 50 * (row["ci_high"] - row["ci_low"])
    return f"{100 * row['value']:.1f}" + (f" ± {half:.1f}" if pd.notna(half) else "")


def results_table(
    metrics: pd.DataFrame,
    corpora: Sequence[str],
    columns: Sequence[tuple[str, str, str]] = COLUMNS,
    spread: pd.DataFrame | None = None,
    parameters: Mapping[str, int] | None = None,
) -> str:
    """Our systems, chance and the perfect retriever on corpora, as a GitHub table; percent, with 95 % intervals.

    In a column of mAP where a system lies near chance, the share of the room between chance and a perfect score follows
    in brackets; below a number, its range over seeds, where the table `spread` has it. ‡ marks rows measured with
    weights of another run that ship. Below a name, how many `parameters` the system has, where they are given.
    """
    mine = metrics[(metrics["source"] != "paper") & (metrics["profile"] != "paper") & metrics["corpus"].isin(corpora)]
    values = mine.drop_duplicates(PLACE).set_index(PLACE).sort_index()
    ranges = {} if spread is None else spread.set_index(PLACE)[["low", "high"]].mul(100).round(1).T
    shipped, known = as_shipped(mine), set(mine["system"])
    names = {s: markdown_text(registry.system(s).name) + SHIPPED * (s in shipped) for s in registry.systems()}
    names |= {"perfect": "*Perfect retriever*", "chance": "*Chance*"}
    close = mine[(mine["metric"] == "map") & ((mine["value"] - mine["chance"]).abs() < NEAR_CHANCE)]
    near = {*close.loc[close["source"] == "ours", PLACE[1:]].itertuples(index=False, name=None)}

    def cell(*key: str) -> str:
        if key not in values.index or pd.isna(values.loc[key, "value"]):
            return "–"
        row = values.loc[key]
        in_room = key[1:] in near and key[0] in registry.systems()
        share = f" ({100 * room_share(row['value'], row['chance']):.0f}\N{NO-BREAK SPACE}%)" if in_room else ""
        over_seeds = "<br>{low} to {high}".format(**ranges[key]) if key in ranges else ""
        return _percent(row) + share + over_seeds

    heads = [
        f"{markdown_text(registry.corpus(c).name)}<br>{d} {Metric(m, k).label}" for c in corpora for d, m, k in columns
    ]
    names |= {s: f"{names[s]}<br>{count / 1e6:.2f} M" for s, count in (parameters or {}).items()}
    cells = {s: [cell(s, c, *column) for c in corpora for column in columns] for s in names if s in known}
    return _table(heads, [[names[s], *row] for s, row in cells.items()])


def count_parameters(profile: str, corpus: str) -> dict[str, int]:
    """System -> numbers in the weights that ship for it; rows of one training have the same."""
    paths = {s: WEIGHTS / profile / f"{row.trained}__{corpus}.safetensors" for s, row in registry.systems().items()}
    return {s: sum(array.size for array in read_arrays(path).values()) for s, path in paths.items() if path.is_file()}


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
                row = values.loc[place]
                value, about = factor * row["value"], "≈ " if row["status"] == "extrapolated" else ""
                if pd.isna(row["spread"]) or 2 * factor * row["spread"] <= value:  # no interval that is wider than it
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


def order_table(metrics: pd.DataFrame, corpora: Sequence[str]) -> str:
    """What of our scores on corpora agrees with the paper's, as a GitHub table: a row a statement and metric."""
    made = agreement_table(compare_with_paper(metrics, corpora))
    rows = [[f"{what}, {metric}", *texts] for (what, metric), texts in zip(made.index, made.to_numpy(), strict=True)]
    return _table(["<br>".join(map(markdown_text, head)) for head in made], rows)


def claims_sentence(judged: pd.DataFrame) -> str:
    """How many claims hold on our numbers, in a sentence."""
    found = judged["verdict_ours"].value_counts()
    told = [*VERDICTS, *(verdict for verdict in DEPENDS.values() if verdict in found)]
    counts = [number_of_claims(found.get(verdict, 0), verdict) for verdict in told]
    return f"Of the paper's {len(judged)} claims, on our numbers, {join_words(counts)}."


def measured_percent(metrics: pd.DataFrame, corpus: str, system: str, direction: str, metric: str) -> str:
    """A number of ours, with its interval, of chance, or of the perfect retriever; InputError where it is missing."""
    mine = metrics[(metrics["source"] != "paper") & (metrics["profile"] != "paper")]
    rows = mine[(mine[PLACE] == [system, corpus, direction, *metric.split("@")]).all(axis=1)]
    if len(rows) != 1:
        raise InputError(
            f"a mark asks for {system} {direction} {metric} on {corpus}, of which there are {len(rows)} rows"
        )
    return _percent(rows.iloc[0])


def refresh_tables(text: str, folder: Path = PROJECT / "figures") -> str:
    """The text of a README whose tables and numbers are those of ``<folder>/<profile>/``; InputError without marks."""
    if not MARKS.search(text):
        raise InputError("no <!-- results PROFILE CORPUS --> ... <!-- /results --> marks in this README; put them back")

    def make(kind: str, profile: str, names: Sequence[str]) -> str:
        place = folder / profile
        if kind == "setting":
            return str(profile_settings(profile)[names[0]])
        if kind == "claims":
            return claims_sentence(read_claims(place / "claims.csv"))
        if kind == "costs":
            return costs_table(store.load(place, "costs"), names[0])
        metrics = store.load(place, "metrics")
        if kind == "agreement":
            return order_table(metrics, names)
        if kind == "value":
            return measured_percent(metrics, *names)
        spread = seeds.read_seeds(place / seeds.FILE) if (place / seeds.FILE).is_file() else None
        if kind == "summary":
            return results_table(metrics, names, COLUMNS[1:], spread, count_parameters(profile, names[0]))
        return results_table(metrics, names, spread=spread)

    def refresh(marks: re.Match[str]) -> str:
        start, kind, profile, names, end = marks.groups()
        return start + make(kind, profile, names.split()) + "\n" * start.endswith("\n") + end

    return MARKS.sub(refresh, text)


if __name__ == "__main__":
    for readme in READMES:
        write_text(readme, refresh_tables(readme.read_text(encoding="utf-8")))
