"""Where our corpora stand: beside one of the paper's, or behind them; and what a caption says about ours."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import pandas as pd

from fico_utils import registry
from fico_utils.display.rows import one_run, run_name
from fico_utils.errors import InputError

#: The paper's corpora in the order of its columns.
SLOTS = ("mscoco", "flickr30k")


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


def of_test_split(metrics: pd.DataFrame, corpora: Sequence[str] | None) -> tuple[pd.DataFrame, tuple[Place, ...]]:
    """Our rows of the test split, and the places of the paper's corpora and ours (see `find_places`)."""
    mine = one_run(metrics, "metrics.csv")
    mine = mine[mine["split"] == "test"]
    return mine, find_places(mine, corpora)


def find_places(metrics: pd.DataFrame, corpora: Sequence[str] | None = None) -> tuple[Place, ...]:
    """The paper's corpora with ours beside them, then those of ours that stand beside nothing, as registered.

    Raises
    ------
    InputError
        Two corpora of `metrics` want the same columns, and `corpora` does not say which.
    """
    known = metrics.loc[metrics["source"] == "ours", "corpus"].unique() if corpora is None else corpora
    beside: dict[str, str] = {}
    apart: set[str] = set()
    for corpus_id in known:
        slot = registry.corpus(corpus_id).beside or corpus_id
        if slot not in SLOTS:
            apart.add(corpus_id)
            continue
        if slot in beside:
            raise InputError(
                f"both {beside[slot]} and {corpus_id} would stand beside {registry.corpus(slot).name}; "
                f"say which with corpora=[...]"
            )
        beside[slot] = corpus_id
    return (
        *(Place(slot, beside.get(slot, "")) for slot in SLOTS),
        *(Place("", corpus_id) for corpus_id in registry.known_corpora() if corpus_id in apart),
    )


def column_heads(found: Sequence[Place]) -> list[str]:
    """What stands over the columns of each place; the name of a corpus that two bear is followed by its id."""
    names = [registry.corpus(corpus_id).name for place in found for corpus_id in {*place} - {""}]
    return [
        registry.corpus(p.paper).name if p.paper else p.name + (f" ({p.ours})" if names.count(p.name) > 1 else "")
        for p in found
    ]


def quality_stamp(mine: pd.DataFrame, found: Sequence[Place]) -> str:
    """Where our numbers come from, in words: profile, seed, corpora, and whether they are photographs."""
    ours = [place for place in found if place.ours]
    if mine.empty or not ours:
        return "Nothing of ours was measured."
    where = [_where(place) for place in ours]
    listed = " and ".join(filter(None, (", ".join(where[:-1]), where[-1])))
    text = f"Ours: {run_name(mine)}, test split of {listed}."
    infos = [registry.corpus(place.ours) for place in ours]
    drawn = ["PictoScenes are drawn scenes"] if any(info.drawn for info in infos) else []
    drawn += [f"{info.name} holds no photographs" for info in infos if not info.photographs and not info.drawn]
    return text + (f" {' and '.join(drawn)}: these are not results on photographs." if drawn else "")


def _where(place: Place) -> str:
    if not place.paper:
        return f"{place.name} (not in the paper)"
    return place.name + (f" (beside {registry.corpus(place.paper).name})" if place.paper != place.ours else "")
