"""The results tables of the READMEs, made from the committed tables: `python -m fico_utils.display.readme`.

A table stands between ``<!-- results PROFILE CORPUS ... -->`` and ``<!-- /results -->``.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from pathlib import Path

import pandas as pd

from fico_utils import registry
from fico_utils.display.rows import SHIPPED, as_shipped
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
MARKS = re.compile(r"(<!-- results (\w+)((?: \w+)+) -->\n).*?(<!-- /results -->)", re.DOTALL)
#: Files that hold such tables.
READMES = (PROJECT / "README.md", PROJECT / "figures" / "README.md")


def results_table(metrics: pd.DataFrame, corpora: Sequence[str]) -> str:
    """Our systems, chance and the perfect retriever on corpora, as a GitHub table; percent, with 95 % intervals.

    ‡ marks rows measured with weights of another run that ship.
    """
    mine = metrics[(metrics["source"] != "paper") & (metrics["profile"] != "paper") & metrics["corpus"].isin(corpora)]
    systems = [s for s in registry.systems() if s in set(mine["system"])]
    heads = [f"{registry.corpus(c).name}<br>{name}" for c in corpora for name in COLUMNS.values()]
    lines = ["| " + " | ".join(["", *heads]) + " |", "| --- |" + " ---: |" * len(heads)]
    index = ["system", "corpus", "direction", "metric", "k"]
    rows = mine.drop_duplicates(index).set_index(index).sort_index()
    shipped = as_shipped(mine)
    names = {s: registry.system(s).name + SHIPPED * (s in shipped) for s in systems}
    names |= {"perfect": "*Perfect retriever*", "chance": "*Chance*"}
    for system, name in names.items():
        if system in set(mine["system"]):
            cells = [_cell(rows, (system, corpus, *column)) for corpus in corpora for column in COLUMNS]
            lines.append("| " + " | ".join([name, *cells]) + " |")
    return "\n".join(lines)


def _cell(rows: pd.DataFrame, key: tuple[str, ...]) -> str:
    if key not in rows.index or pd.isna(rows.loc[key, "value"]):
        return "–"
    row = rows.loc[key]
    half = 50 * (row["ci_high"] - row["ci_low"])
    return f"{100 * row['value']:.1f}" + (f" ± {half:.1f}" if pd.notna(half) else "")


def refreshed(text: str, folder: Path = PROJECT / "figures") -> str:
    """The text of a README whose results tables, between their marks, are those of ``<folder>/<profile>/metrics.csv``.

    Raises
    ------
    InputError
        No marks, or a profile of which nothing is committed.
    """
    if not MARKS.search(text):
        raise InputError("no <!-- results PROFILE CORPUS --> ... <!-- /results --> marks in this README; put them back")

    def table(found: re.Match[str]) -> str:
        metrics = store.load(folder / found[2], "metrics")
        return found[1] + results_table(metrics, found[3].split()) + "\n" + found[4]

    return MARKS.sub(table, text)


def main() -> None:
    """Write the results tables of the committed renditions into the READMEs."""
    for readme in READMES:
        write_text(readme, refreshed(readme.read_text(encoding="utf-8")))


if __name__ == "__main__":
    main()
