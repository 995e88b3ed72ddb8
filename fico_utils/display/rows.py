"""Which rows a table has, which of them are ours or the paper's, and what its caption says about ours."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping

import pandas as pd

from fico_utils import registry
from fico_utils.errors import InputError
from fico_utils.results.paper_reference import SYSTEM_IDS, paper_reference, read_paper

#: Behind the name of a system whose weights another run trained.
SHIPPED = " ‡"
GROUPS = {"VLP": "vlp", "FG": "fg", "CG": "cg"}
#: Columns of metrics.csv that the CSV of a figure repeats.
METRIC_COLUMNS = [
    "source", "system", "corpus", "direction", "metric", "k", "value", "ci_low", "ci_high", "chance", "status", "run",
]  # fmt: skip


def one_run(frame: pd.DataFrame, table: str) -> pd.DataFrame:
    """The rows of `frame` that are not the paper's, if they are of one profile and one run.

    What a run measured with weights of another, ``mini-s0+standard-s0``, is its own.

    Raises
    ------
    InputError
        Results of several profiles or runs.
    """
    ours = frame[frame["profile"] != "paper"]
    for column in ("profile", "run"):
        known = sorted({name.partition("+")[0] for name in ours[column].unique()})
        if len(known) > 1:
            raise InputError(f"{table} mixes {column}s {', '.join(known)}; expected one, keep the rows of one of them")
    return ours


#: Columns of costs.csv that the CSV of a figure repeats.
COST_COLUMNS = ["source", "system", "corpus", "phase", "scale_img", "quantity", "unit", "value", "status", "run"]


def is_measured(phase: str) -> Callable[[pd.DataFrame], bool]:
    """A function that says whether costs.csv holds something of ours in a phase."""
    return lambda costs: bool(((costs["source"] == "ours") & (costs["phase"] == phase)).any())


def phase_rows(costs: pd.DataFrame, phase: str, advice: str) -> pd.DataFrame:
    """Our measured rows of a phase, of the first of its corpora; InputError with `advice` where there are none."""
    mine = with_value(one_run(costs, "costs.csv"))
    mine = mine[mine["phase"] == phase]
    if mine.empty:
        raise InputError(f"the costs hold nothing measured in phase {phase!r}; {advice}")
    return mine[mine["corpus"] == mine["corpus"].iloc[0]]


def short_count(x: float, _: object = None) -> str:
    """A number of items as the paper writes it.

    >>> short_count(2000), short_count(1_000_000), short_count(500)
    ('2K', '1M', '500')
    """
    for size, letter in ((1e6, "M"), (1e3, "K")):
        if x >= size:
            return f"{x / size:g}{letter}"
    return f"{x:g}"


def with_value(frame: pd.DataFrame) -> pd.DataFrame:
    """The rows of `frame` that hold a number that was measured."""
    return frame[frame["status"] == "ok"]


def run_name(mine: pd.DataFrame) -> str:
    """Profile and seed of the run that measured, in words."""
    return _named(mine["run"].iloc[0].partition("+")[0], mine["profile"].iloc[0])


def _named(run: str, profile: str) -> str:
    seed = re.search(r"-s(\d+)$", run)
    return f"{profile} profile, seed {seed[1]}" if seed else f"{profile} profile, run {run}"


def as_shipped(mine: pd.DataFrame) -> dict[str, str]:
    """System -> the run whose weights it read, in words, where that is not the run that measured.

    >>> as_shipped(pd.DataFrame({"system": ["scan", "vsrn"], "run": ["mini-s0", "mini-s0+standard-s0"]}))
    {'vsrn': 'standard profile, seed 0'}
    """
    pairs = mine[["system", "run"]].drop_duplicates().itertuples(index=False, name=None)
    found = {system: run.partition("+")[2] for system, run in pairs}
    return {system: _named(run, run.partition("-")[0]) for system, run in found.items() if run}


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
