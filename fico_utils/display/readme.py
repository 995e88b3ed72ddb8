"""The results table of README.md, made from the committed tables: `python -m fico_utils.display.readme`."""

from __future__ import annotations

import re
from pathlib import Path

import pandas as pd

from fico_utils import registry
from fico_utils.errors import InputError
from fico_utils.results import store
from fico_utils.workspace import PROJECT, write_text

#: (direction, metric, k) and how the column is headed.
COLUMNS = {
    ("i2t", "recall", "1"): "i2t R@1",
    ("t2i", "recall", "1"): "t2i R@1",
    ("i2t", "map", "10"): "i2t mAP@10",
    ("i2t", "map", "N"): "i2t mAP@N",
}
MARKS = re.compile(r"(<!-- results -->\n).*?(<!-- /results -->)", re.DOTALL)


def results_table(metrics: pd.DataFrame) -> str:
    """Our systems, chance and the perfect retriever on each corpus, as a GitHub table; percent, with 95 % intervals."""
    mine = metrics[(metrics["source"] != "paper") & (metrics["profile"] != "paper")]
    corpora = [c for c in registry.CORPORA if c in set(mine["corpus"])]
    systems = [s for s in registry.systems() if s in set(mine["system"])]
    heads = [f"{registry.corpus(c).name}<br>{name}" for c in corpora for name in COLUMNS.values()]
    lines = ["| " + " | ".join(["", *heads]) + " |", "| --- |" + " ---: |" * len(heads)]
    index = ["system", "corpus", "direction", "metric", "k"]
    rows = mine.drop_duplicates(index).set_index(index)
    names = {s: registry.system(s).name for s in systems} | {"perfect": "*Perfect retriever*", "chance": "*Chance*"}
    for system, name in names.items():
        cells = [_cell(rows, (system, corpus, *column)) for corpus in corpora for column in COLUMNS]
        lines.append("| " + " | ".join([name, *cells]) + " |")
    return "\n".join(lines)


def _cell(rows: pd.DataFrame, key: tuple[str, ...]) -> str:
    if key not in rows.index or pd.isna(rows.loc[key, "value"]):
        return "–"
    row = rows.loc[key]
    half = 50 * (row["ci_high"] - row["ci_low"])
    return f"{100 * row['value']:.1f}" + (f" ± {half:.1f}" if pd.notna(half) else "")


def refreshed(text: str, metrics: pd.DataFrame) -> str:
    """The text of a README whose results table, between its two marks, is that of `metrics`."""
    if not MARKS.search(text):
        raise InputError("README.md has no <!-- results --> ... <!-- /results --> marks; put them back")
    return MARKS.sub(lambda found: found[1] + results_table(metrics) + "\n" + found[2], text)


def main(readme: Path = PROJECT / "README.md", tables: Path = PROJECT / "figures" / "mini") -> None:
    """Write the results table of the committed mini renditions into README.md."""
    write_text(readme, refreshed(readme.read_text(encoding="utf-8"), store.load(tables, "metrics")))


if __name__ == "__main__":
    main()
