"""Slides: a page for each figure of a folder, with a plain sentence and where its numbers come from."""

from __future__ import annotations

import re
import shutil
import sys
from pathlib import Path

import pytest

from fico_utils import cli
from fico_utils.display.figures import FIGURES
from fico_utils.errors import InputError
from fico_utils.extras.verbs.slides import describe_source, draw_page
from fico_utils.provenance import PROJECT

STANDARD = PROJECT / "figures" / "standard"


def test_a_page_for_each_figure(tmp_path: Path, capsys) -> None:
    figures = tmp_path / "mini" / "figures"
    figures.mkdir(parents=True)
    for name in ("fig2", "gallery"):
        for ending in ("svg", "csv"):
            shutil.copy(STANDARD / f"{name}.{ending}", figures)
    assert cli.main(["slides", "--out", str(tmp_path)]) == 0
    written = (tmp_path / "mini" / "slides.pdf").read_bytes()
    assert capsys.readouterr().out == f"{tmp_path / 'mini/slides.pdf'}\n"
    assert len(re.findall(rb"/Type /Page\b", written)) == 2
    assert {path.name for path in (tmp_path / "mini").iterdir()} == {"figures", "slides.pdf"}


def test_without_figures_it_says_how_to_make_them(tmp_path: Path, capsys) -> None:
    assert cli.main(["slides", "--out", str(tmp_path)]) == 2
    assert "holds no figures; make them with: python -m fico_utils run --profile mini" in capsys.readouterr().err


@pytest.mark.parametrize("name", FIGURES)
def test_a_sentence_is_for_listeners(name: str) -> None:
    sentence = FIGURES[name].sentence
    assert re.fullmatch(r"[A-Z0-9(m][^`_]*\.", sentence), sentence
    assert not sentence.startswith("Figure")


def test_sources_are_ours_and_the_papers_with_run_and_corpora() -> None:
    assert describe_source(STANDARD / "fig3.csv", "standard").splitlines() == [
        "ours: standard profile, seed 0; PictoScenes diverse; PictoScenes people; Openclipart",
        "paper: figure3; MS-COCO; Flickr30K",
    ]
    assert describe_source(STANDARD / "fig4.csv", "standard").startswith("ours: standard profile, seed 0\npaper: ")
    assert "standard profile" in describe_source(STANDARD / "fig2.csv", "standard")


def test_without_what_draws_them_it_says_what_to_install(tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "resvg_py", None)  # as where it is not installed
    with pytest.raises(InputError, match="slides are drawn by the package resvg-py, which is not installed"):
        draw_page(PROJECT / "figures" / "mini" / "fig1.svg", "A title", "A sentence.", "ours")
