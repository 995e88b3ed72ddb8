"""The lessons 04 to 08: what they need, terms before their use, and sentences that no cell computes."""

from __future__ import annotations

import json
import re
from types import SimpleNamespace

import numpy as np
import pandas as pd
import pytest

from fico_utils.costs.storage import storage_rows
from fico_utils.display.rows import room_share
from fico_utils.display.table import two_digits
from fico_utils.display.teaching import named_table
from fico_utils.provenance import PROJECT
from fico_utils.results import store

LESSONS = sorted((PROJECT / "notebooks").glob("0[4-8]_*.ipynb"))
#: Term -> what the first text that uses it says of it, or the line about what a student needs.
TERMS = {
    r"R@(?:1|k)": r"share of the (?:queries|captions)|You need\*\* to know|recall at k",
    r"mAP@": r"mean of AP@k|You need\*\* to know",
    r"\bi2t\b": r"\*image-to-text\*|image to text",
    r"\bt2i\b": r"\*text-to-image\*|text to image",
    r"\bNF\b": r"no fusion|without its second|leaves that step out",
    r"\bgallery\b": r"items that are ranked are the|is what is searched|(?:the )?gallery \(what is searched\)",
    r"\bHNSW\b": r"graph",
    r"\b[Rr]erank": r"reads? .*candidates|first candidates|read the best candidates once more",
    r"hash codes?": r"row of bits|one bit a dimension|codes? of \d+ bits|know what embeddings and hash codes are",
}
COMMITTED = ("mini", "standard")

each_lesson = pytest.mark.parametrize("path", LESSONS, ids=lambda path: path.stem)
each_profile = pytest.mark.parametrize("profile", COMMITTED)


def cells_of(path, kind: str) -> list[str]:
    """The sources of the cells of a kind, in order."""
    cells = json.loads(path.read_text(encoding="utf-8"))["cells"]
    return ["".join(cell["source"]) for cell in cells if cell["cell_type"] == kind]


@each_lesson
def test_it_says_what_a_student_needs_to_know(path):
    need = next(re.search(r"\*\*You need\*\* ([^.]+)\.", text)[1] for text in cells_of(path, "markdown")[1:2])
    assert not need.startswith("nothing")


@each_lesson
@pytest.mark.parametrize("term", TERMS)
def test_a_term_is_explained_where_it_is_first_used(path, term):
    texts = cells_of(path, "markdown")[1:]  # the aims come first, and name what is to be learned
    first = next((i for i, text in enumerate(texts) if i and re.search(term, text)), None)
    if first is not None:
        assert any(re.search(TERMS[term], text) for text in texts[: first + 1]), texts[first]


def metrics_of(profile: str) -> pd.DataFrame:
    return store.load(PROJECT / "figures" / profile, "metrics")


@each_profile
def test_a_random_ranking_of_picto_people_is_near_90(profile):
    chance = metrics_of(profile).query(
        "source == 'chance' and corpus == 'picto_people' and metric == 'map' and k == 'N'"
    )
    assert len(chance) == 2
    assert chance["value"].between(0.7, 1).all()  # of 10, 50 and 90 % it is 90


@each_profile
def test_places_by_category_lie_closer_on_picto_people(profile):
    placed = metrics_of(profile).query("corpus == 'picto_people' and metric in ('place', 'map_place')")
    widths = placed.groupby(["direction", "metric"])["value"].agg(lambda places: places.max() - places.min()).unstack()
    assert (widths["map_place"] < widths["place"]).all()


@each_profile
def test_systems_come_further_at_the_head_than_over_the_whole_ranking(profile):
    ours = metrics_of(profile).query("source == 'ours' and metric == 'map' and k in ('10', 'N')")
    shares = ours.assign(share=room_share(ours["value"], ours["chance"])).groupby(["corpus", "k"])["share"].median()
    assert (shares.unstack()["10"] > shares.unstack()["N"]).all()


@each_profile
def test_the_order_of_ties_counts_more_at_the_head(profile):
    ends = metrics_of(profile).query("metric in ('map_optimistic', 'map_pessimistic') and k in ('10', 'N')")
    ends = ends.pivot(index=["system", "corpus", "direction", "k"], columns="metric", values="value")
    gap = (ends["map_optimistic"] - ends["map_pessimistic"]).groupby(["system", "k"]).mean().unstack()
    assert (gap["10"] > gap["N"]).all()


@each_profile
def test_recall_falls_with_the_gallery_and_map_hardly_moves(profile):
    costs = store.load(PROJECT / "figures" / profile, "costs").query("phase == 'gallery' and source != 'paper'")
    for quantity in ("recall_t2i@1", "map_t2i"):
        values = (
            costs[costs["quantity"] == quantity].pivot(index="system", columns="scale_img", values="value").dropna()
        )
        smallest, largest = values.iloc[:, 0], values.iloc[:, -1]
        if quantity == "map_t2i":
            assert (abs(largest / smallest - 1) < 0.1).all()
        else:
            assert (largest < 0.95 * smallest).all()
            assert "perfect" in values.index


def test_storage_of_systems_that_keep_no_fragments_is_a_table() -> None:
    """The cell of lesson 05, with the rows of two systems that keep nothing beside their embeddings and codes."""
    (cell,) = (cell for cell in cells_of(LESSONS[1], "code") if "costs.storage_table(" in cell)
    rng = np.random.default_rng(0)
    rows = [
        *storage_rows(rng.normal(size=(10, 8)), rng.normal(size=(50, 8)), system="beit3"),
        *storage_rows(*(rng.integers(0, 256, (n, 8), np.uint8) for n in (10, 50)), bits=64, system="ucch"),
    ]
    stub = SimpleNamespace(storage_samples=lambda subjects: None, storage_table=lambda subjects, samples: rows)
    place = {"costs": stub, "subjects": None, "systems": ["beit3", "ucch"], "rows": [], "np": np, "pd": pd}
    place |= {"two_digits": two_digits, "named_table": named_table}
    *before, last = cell.splitlines()
    exec("\n".join(before), place)  # noqa: S102 - our own cell
    kept = place["kept"]
    assert kept.loc["ucch", "embeddings or codes"] == 6 * 8
    assert kept["fragments"].isna().all()
    assert "nan" not in eval(last, place).to_html()  # noqa: S307 - our own cell
