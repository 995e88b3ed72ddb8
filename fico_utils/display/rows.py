"""Which rows tables and figures show, ours and the paper's, and what a caption says about ours."""

from __future__ import annotations

import re
from collections.abc import Collection, Sequence
from typing import Any, NamedTuple

import pandas as pd

from fico_utils import registry
from fico_utils.errors import InputError
from fico_utils.results.paper_reference import CORPUS_IDS, SYSTEM_IDS, paper_reference, read_paper

#: Behind the name of a system whose weights another run trained.
SHIPPED = " ‡"
#: The paper's corpora in the order of its columns.
SLOTS = tuple(CORPUS_IDS.values())
#: A score that is less than this above or below chance says little by itself.
NEAR_CHANCE = 0.05
#: Columns of metrics.csv that the CSV of a figure repeats.
METRIC_COLUMNS = [
    "source", "system", "corpus", "direction", "metric", "k", "value", "ci_low", "ci_high", "chance", "status", "run",
]  # fmt: skip


def require_one_run(ours: pd.DataFrame, table: str) -> None:
    """InputError where rows are of several profiles or runs.

    What a run measured with weights of another, ``mini-s0+standard-s0``, is its own.
    """
    for column in ("profile", "run"):
        known = sorted({name.partition("+")[0] for name in ours[column].unique()})
        if len(known) > 1:
            raise InputError(f"{table} mixes {column}s {', '.join(known)}; expected one, keep the rows of one of them")


def split_rows(frame: pd.DataFrame, table: str) -> dict[str, pd.DataFrame]:
    """``ours``, the rows of `frame` that are not the paper's; and ``paper``, its own, packaged ones where it has none.

    `table` is ``metrics`` or ``costs``. InputError where ours are of several profiles or runs.
    """
    of_paper = frame["profile"] == "paper"
    ours, paper = frame[~of_paper], frame[of_paper]
    require_one_run(ours, f"{table}.csv")
    return {"ours": ours, "paper": paper if len(paper) else paper_reference(table)}


def with_value(frame: pd.DataFrame) -> pd.DataFrame:
    """The rows of `frame` that hold a number that was measured."""
    return frame[frame["status"] == "ok"]


def our_scores(metrics: pd.DataFrame) -> pd.DataFrame:
    """Our systems' measured rows of the test split."""
    mine = with_value(split_rows(metrics, "metrics")["ours"])
    return mine[(mine["split"] == "test") & (mine["source"] == "ours")]


def room_share(value: Any, chance: Any) -> Any:
    """The share of the room between chance (0) and a perfect score (1) that a score fills; numbers or Series."""
    return (value - chance) / (1 - chance)


class NothingMeasuredError(InputError):
    """The results hold nothing that a figure draws."""


def short_count(x: float, _: object = None) -> str:
    """A number of items as the paper writes it; also a formatter of ticks.

    >>> short_count(2000), short_count(1_000_000), short_count(1250)
    ('2K', '1M', '1250')
    """
    for size, letter in ((1_000_000, "M"), (1000, "K")):
        if x >= size and x % (size // 10) == 0:
            return f"{x / size:g}{letter}"
    return f"{x:.12g}"


def run_name(mine: pd.DataFrame) -> str:
    """Profile and seed of the run that measured, in words."""
    return run_in_words(mine["run"].iloc[0].partition("+")[0])


def run_in_words(run: str) -> str:
    """A run, as result tables name it, in words.

    >>> run_in_words("mini-s0+standard-s1")
    'mini profile, seed 0, with weights of standard profile, seed 1'
    """
    return re.sub(r"([^+]+)-s(\d+)", r"\1 profile, seed \2", run).replace("+", ", with weights of ")


def as_shipped(mine: pd.DataFrame) -> dict[str, str]:
    """System -> the run whose weights it read, in words, where that is not the run that measured.

    >>> as_shipped(pd.DataFrame({"system": ["scan", "vsrn"], "run": ["mini-s0", "mini-s0+standard-s0"]}))
    {'vsrn': 'standard profile, seed 0'}
    """
    pairs = mine[["system", "run"]].drop_duplicates().itertuples(index=False, name=None)
    trained = {system: run.partition("+")[2] for system, run in pairs}
    return {system: run_in_words(run) for system, run in trained.items() if run}


def table_rows(paper_file: str, mine: pd.DataFrame, among: Collection[str] | None = None) -> dict[tuple[str, str], str]:
    """(group, printed name) -> system id: rows of a table of the paper, then systems of `mine` that it has nowhere.

    Columns `family` and `system` of `paper_file` give the paper's groups and rows; `among` are the ids wanted of them.
    """
    raw = read_paper(paper_file)
    listed = [(family, SYSTEM_IDS[name]) for family, name in zip(raw["family"], raw["system"], strict=True)]
    rows = {(family, registry.system(s).name): s for family, s in listed if among is None or s in among}
    groups = list(dict.fromkeys(family for family, _ in rows))
    for system in registry.systems().values():
        group = next((g for g in groups if g.lower() == system.family), None)
        if group and not system.paper_names and system.id in set(mine["system"]):
            rows[group, system.name] = system.id
    return dict(sorted(rows.items(), key=lambda item: groups.index(item[0][0])))


class Place(NamedTuple):
    """A place in the tables and figures: the paper's corpus there, and ours; "" where there is none.

    >>> Place("mscoco", "picto_diverse").name, Place("", "openclipart").name
    ('PictoScenes diverse', 'Openclipart')
    """

    paper: str
    ours: str

    @property
    def name(self) -> str:
        """Printed name of our corpus, or of the paper's where it stands alone."""
        return registry.corpus(self.ours or self.paper).name


def of_test_split(
    metrics: pd.DataFrame, corpora: Sequence[str] | None
) -> tuple[pd.DataFrame, pd.DataFrame, list[Place]]:
    """Our rows of the test split, the paper's, and the paper's corpora with ours beside them, then ours beside nothing.

    InputError where two corpora of `metrics` want the same columns, and `corpora` does not say which.
    """
    mine, paper = split_rows(metrics, "metrics").values()
    mine = mine[mine["split"] == "test"]
    beside: dict[str, str] = {}
    for corpus_id in mine.loc[mine["source"] == "ours", "corpus"].unique() if corpora is None else corpora:
        slot = registry.corpus(corpus_id).beside or corpus_id
        if slot in beside:
            raise InputError(
                f"both {beside[slot]} and {corpus_id} would stand beside {registry.corpus(slot).name}; "
                f"say which with corpora=[...]"
            )
        beside[slot] = corpus_id
    places = [Place(slot, beside.pop(slot, "")) for slot in SLOTS]
    return mine, paper, [*places, *(Place("", c) for c in registry.known_corpora() if c in beside.values())]


def quality_stamp(mine: pd.DataFrame, places: Sequence[Place]) -> str:
    """Where our numbers come from, in words: profile, seed, corpora, and whether they are photographs."""
    infos = [registry.corpus(place.ours) for place in places if place.ours]
    if mine.empty or not infos:
        return "Nothing of ours was measured."
    slots = [place.paper for place in places if place.ours]
    where = [
        name_beside(info.name, slot, info.id) if slot else f"{info.name} (not in the paper)"
        for info, slot in zip(infos, slots, strict=True)
    ]
    drawn = ["PictoScenes are drawn scenes"] if any(info.drawn for info in infos) else []
    drawn += [f"{info.name} holds no photographs" for info in infos if not info.photographs and not info.drawn]
    text = f"Ours: {run_name(mine)}, test split of {join_words(where)}."
    return text + (f" {' and '.join(drawn)}: these are not results on photographs." if drawn else "")


def name_beside(name: str, slot: str, corpus_id: str) -> str:
    """The name of a corpus, and beside which of the paper's it stands, if beside another."""
    return name + (f" (beside {registry.corpus(slot).name})" if slot and slot != corpus_id else "")


def join_words(words: Sequence[str]) -> str:
    """Words as a list in a sentence.

    >>> join_words(["a", "b", "c"]), join_words(["a"])
    ('a, b and c', 'a')
    """
    return " and ".join(filter(None, (", ".join(words[:-1]), words[-1])))
