"""Which rows a table has, which of them are ours or the paper's, and what its caption says about ours."""

from __future__ import annotations

import re
from collections.abc import Mapping

import pandas as pd

from fico_utils import registry
from fico_utils.results.paper_reference import SYSTEM_IDS, paper_reference, read_paper

GROUPS = {"VLP": "vlp", "FG": "fg", "CG": "cg"}


def run_name(mine: pd.DataFrame) -> str:
    profile, run = mine["profile"].iloc[0], mine["run"].iloc[0]
    seed = re.search(r"-s(\d+)$", run)
    return f"{profile} profile, seed {seed[1]}" if seed else f"{profile} profile, run {run}"


def papers_rows(frame: pd.DataFrame, table: str) -> pd.DataFrame:
    """The paper's rows: those of `frame`, or the packaged ones where it has none."""
    rows = frame[frame["profile"] == "paper"]
    return rows if len(rows) else paper_reference(table)


def row_groups(paper_file: str) -> dict[str, str]:
    """Printed system name -> the row group that a table of the paper puts it in, in the table's order."""
    raw = read_paper(paper_file)
    return dict(zip(raw["system"], raw["family"], strict=True))


def table_rows(families: Mapping[str, str], mine: pd.DataFrame, paper: pd.DataFrame) -> dict[tuple[str, str], str]:
    """(group, printed name) -> system id: the paper's rows, then systems that the paper has nowhere."""
    rows = {(family, registry.system(SYSTEM_IDS[n]).name): SYSTEM_IDS[n] for n, family in families.items()}
    groups = list(dict.fromkeys(families.values()))
    for system in registry.systems().values():
        group = next((g for g in groups if GROUPS[g] == system.family), None)
        if group and not system.paper_names and system.id in set(mine["system"]):
            rows[group, system.name] = system.id
    return dict(sorted(rows.items(), key=lambda item: groups.index(item[0][0])))
