"""The committed renditions are those of the committed tables: drawn again without torch, they are the same bytes."""

from __future__ import annotations

import csv
import html
import re
from importlib.metadata import version

import pytest

from fico_utils.display.tables import TABLES as TABLE_ENTRIES
from fico_utils.extras.claims import read_claims
from fico_utils.provenance import PROJECT

#: What the renditions are drawn from, and the spread over runs of other seeds.
TABLES = {"metrics.csv", "costs.csv", "stored.csv", "seeds.csv"}
#: Drawn by notebook 00 from pictures and embeddings, which are not committed.
FROM_PICTURES = {"fig1.svg", "fig1.pdf", "fig1.csv"}
#: What `studies` and the trials left beside them.
STUDIES = re.compile(r"study_\w+\.csv|sheet\.png|trials\.md")
PINNED = re.search(r"^matplotlib==(\S+)$", (PROJECT / "constraints.txt").read_text(encoding="utf-8"), re.MULTILINE)[1]


def files(redrawn) -> dict:
    """Name -> the file that was drawn again."""
    made = [*(redrawn.root / "figures").iterdir(), redrawn.root / "claims.csv"]
    made += (redrawn.root / "tables").glob("*.md")
    return {path.name: path for path in made}


def test_what_is_committed_is_what_is_drawn(redrawn):
    committed = {path.name for path in redrawn.committed.iterdir()} - TABLES - FROM_PICTURES
    assert {name for name in committed if not STUDIES.fullmatch(name)} == set(files(redrawn))


@pytest.mark.parametrize("ending", ["csv", "md", "svg", "pdf"])
def test_drawn_again_the_bytes_are_the_same(redrawn, ending):
    if ending in ("svg", "pdf") and version("matplotlib") != PINNED:
        pytest.skip(f"pictures are drawn by matplotlib {PINNED}, here is {version('matplotlib')}")
    chosen = {name: path for name, path in files(redrawn).items() if path.suffix == f".{ending}"}
    assert len(chosen) >= 5
    stale = [name for name, path in chosen.items() if path.read_bytes() != (redrawn.committed / name).read_bytes()]
    assert stale == [], "run `make figures` and commit what changed"


def test_redrawing_takes_less_than_a_minute(redrawn):
    assert redrawn.seconds < 60
    assert len(list((redrawn.root / "tables").iterdir())) == 4 * len(TABLE_ENTRIES)


def test_claims_have_two_verdicts_each(redrawn):
    claims = read_claims(redrawn.committed / "claims.csv")
    assert len(claims) >= 25
    assert claims["evidence"].str.contains(f"Ours ({redrawn.committed.name})", regex=False).all()


def test_figure_1_shows_the_rows_of_its_csv(redrawn):
    folder = redrawn.committed
    if not (folder / "fig1.csv").is_file():
        pytest.skip("no figure 1 is committed for this profile")
    svg = html.unescape((folder / "fig1.svg").read_text(encoding="utf-8"))
    words = re.findall(r"<text[^>]*>([^<]*)</text>", svg)
    with open(folder / "fig1.csv", newline="", encoding="utf-8") as file:
        rows = list(csv.DictReader(file))
    assert len(rows) == 10
    kinds = {("True", "True"): "by id", ("False", "True"): "by label", ("False", "False"): "not"}
    for row in rows:
        score = abs(float(row["score"]))
        number = f"{score:.0f}" if "." not in row["score"] else f"{score:.2f}"  # bits that differ, or a cosine
        kind = kinds[row["relevant_by_id"], row["relevant_by_label"]]
        assert any(word.startswith(f"{row['rank']}  {kind}") for word in words)
        assert any(re.search(rf"(^|\D){number}(\D|$)", word) for word in words)
