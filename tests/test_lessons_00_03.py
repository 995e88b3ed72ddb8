"""The lessons 00 to 03: terms explained where they are first used, what pictures show, Figure 1."""

from __future__ import annotations

import json
import re

import numpy as np
import pandas as pd
import pytest

from fico_utils import experiment
from fico_utils.data.pictoscenes import make_corpus
from fico_utils.display import teaching
from fico_utils.workspace import setup
from tests.test_exercises import run_notebook
from tests.test_notebook_contract import NOTEBOOKS, notebook, tags  # noqa: F401

LESSONS = pytest.mark.parametrize("notebook", NOTEBOOKS[:4], ids=lambda path: path.stem, indirect=True)
#: Terms of the field, as they are written in text, and how the cell that explains one prints it.
TERMS = {
    r"R@\d|R@k": r"\*\*R@[1k]\*\*",
    r"mAP@": r"\*\*mAP@N\*\*",
    r"\bi2t\b": r"\*\*i2t\*\*",
    r"\bt2i\b": r"\*\*t2i\*\*",
    r"\bNF\b": r"\*\*NF\*\*",
    r"\brerank": r"\*\*rerank\*\*",
    r"\bHamming dist": r"\*\*Hamming distance\*\*",
    r"\bgaller": r"\*\*gallery\*\*",
}


@LESSONS
def test_a_term_is_explained_where_it_first_occurs(notebook):  # noqa: F811
    texts = [cell["source"] for cell in notebook["cells"][4:] if cell["cell_type"] == "markdown"]
    for term, explained in TERMS.items():
        uses = [i for i, text in enumerate(texts) if re.search(term, text)]
        if uses:
            assert re.search(explained, texts[uses[0]]), f"{term}: {texts[uses[0]][:80]}"


def test_a_table_shows_marks_as_they_are_written(tmp_path):
    with pd.option_context("styler.format.escape", None):
        setup(out_dir=str(tmp_path))
        shown = pd.DataFrame({"word": ["<start>", "a <b>bold</b> caption"]}).style.hide().to_html()
    assert "&lt;start&gt;" in shown
    assert "<b>" not in shown


@pytest.mark.parametrize("columns", [4, 5, 6])
def test_captions_of_a_sheet_do_not_reach_into_their_neighbours(columns):
    corpus = make_corpus("picto_diverse", {"train": 1, "val": 1, "test": 60}).subset("test")
    picture = teaching.sheet(corpus.images[:60], corpus.captions[:60], columns=columns)
    ax = picture.figure.axes[0]
    starts = sorted({text.get_position()[0] for text in ax.texts})
    for text in ax.texts:
        box = text.get_window_extent().transformed(ax.transData.inverted())
        later = [x for x in starts if x > text.get_position()[0]]
        assert box.x1 <= (later[0] if later else teaching.PAGE), text.get_text()


def test_attention_fades_what_a_word_does_not_look_at():
    weights = np.full((1, 4), 0.1)
    weights[0, 2] = 0.7
    ax = teaching.attention(np.zeros((8, 8, 3), np.uint8), ["star"], weights).figure.axes[0]
    veil = ax.images[1].get_array()
    assert (veil[..., :3] == 1).all()
    assert veil[1, 0, 3] == 0
    assert (np.delete(veil[..., 3].ravel(), 2) > 0.7).all()
    assert ax.get_title() == "star 70%"


def test_figure_1_shows_the_first_caption_that_fits_the_rule_beside_it(tmp_path, monkeypatch):
    monkeypatch.setenv("FICO_UTILS_SETTINGS", json.dumps({"n_test": {"picto_diverse": 150, "picto_people": 150}}))
    cells = json.loads(NOTEBOOKS[0].read_text(encoding="utf-8"))["cells"]
    cells = [c | {"source": "".join(c["source"]), "tags": tags(c)} for c in cells]
    names, printed = run_notebook(cells, tmp_path)

    run = setup("mini", 0, str(tmp_path))
    test = experiment.corpus(run, "picto_diverse").subset("test")
    fine, coarse = (experiment.serve(run, s, "picto_diverse", shipped=True).embeddings() for s in ("beit3", "dadh"))
    fitting = []
    for caption, own in enumerate(test.caption_image):
        best = max(range(test.n_img), key=lambda i: fine["img"][i] @ fine["txt"][caption])
        apart = [sum(int(x).bit_count() for x in code ^ coarse["txt"][caption]) for code in coarse["img"]]
        first = sorted(range(test.n_img), key=lambda i: (apart[i], i))[:5]
        of_kind = sum(bool((test.labels[i] & test.labels[own]).any()) for i in first)
        if best == own and of_kind >= 4:
            fitting.append((caption, own in first, of_kind))
    caption, found, of_kind = fitting[0]
    assert names["asked"][names["chosen"]] == caption
    assert f"{len(fitting) / test.n_txt:.0%} of {test.n_txt} captions fit the rule" in printed
    data = names["fig1"].data
    assert data["relevant_by_id"].tolist()[:5] == [True, False, False, False, False]
    assert data.loc[data["system"] == "dadh", "relevant_by_label"].sum() == of_kind
    assert "BEiT-3: the right picture at rank 1;" in printed
    shown = "DADH: the right picture at rank" if found else f"DADH: not the right picture; {of_kind} of its first five"
    assert shown in printed
