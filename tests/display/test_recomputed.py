"""The paper's tables from a generated release of the published shapes, through the command."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest
from scipy.io import savemat

from fico_utils import __main__ as cli
from fico_utils.results import store
from fico_utils.results.paper_reference import paper_reference

N_IMG, N_TXT = 1000, 5000
OWN = np.repeat(np.arange(N_IMG), 5)


def ranked(n_queries, n_items, first, share):
    """Scores whose first correct item stands in the first 1, 5, 10 places for exactly those shares of the queries.

    Parameters
    ----------
    first : the correct item of each query that is placed.
    share : dict, k -> fraction of the queries.
    """
    places = np.full(n_queries, 20)
    for k in (10, 5, 1):
        places[: round(share[k] * n_queries)] = k - 1
    scores = np.full((n_queries, n_items), -100.0)
    rows = np.arange(n_queries)
    for place in range(30):  # the fillers: items that are nobody's
        scores[rows, (first + 7 + 5 * place) % n_items] = -1.0 * place
    scores[rows, first] = 0.5 - places  # just before the filler of its place
    return scores


@pytest.fixture(scope="module")
def release(tmp_path_factory):
    """X-VLM's two matrices with the paper's own recalls, VSRN's copies, UCCH's codes."""
    folder, rng = tmp_path_factory.mktemp("release"), np.random.default_rng(0)
    paper = paper_reference("metrics")
    wanted = paper[(paper.run == "table2") & (paper.system == "xvlm") & (paper.corpus == "flickr30k")]
    share = {d: {int(r.k): r.value for r in wanted[wanted.direction == d].itertuples()} for d in ("i2t", "t2i")}
    np.save(folder / "xvlm_f30k_sim_i2t.npy", ranked(N_IMG, N_TXT, 5 * np.arange(N_IMG), share["i2t"]))
    np.save(folder / "xvlm_f30k_sim_t2i.npy", ranked(N_TXT, N_IMG, OWN, share["t2i"]))
    images = rng.standard_normal((N_IMG, 32))
    texts = images[OWN] + rng.standard_normal((N_TXT, 32))
    np.save(folder / "vsrn_f30k_img.npy", np.repeat(images, 5, 0))
    np.save(folder / "vsrn_f30k_txt.npy", texts)
    np.save(folder / "ucch_f30k_img.npy", np.repeat(np.sign(images), 5, 0))
    np.save(folder / "ucch_f30k_txt.npy", np.sign(texts))
    savemat(folder / "flickr30k-karpathy-test-lall.mat", {"LAll": rng.random((N_IMG, 24)) < 0.2})
    return folder


@pytest.fixture(scope="module")
def root(release, tmp_path_factory):
    out = tmp_path_factory.mktemp("out")
    assert cli.main(["precomputed", str(release), "--out", str(out), "--quiet"]) == 0
    return out / "precomputed"


def test_tables_figure_and_report_are_there(root):
    names = {p.name for p in (root / "tables").iterdir()}
    assert {f"table{n}.{e}" for n in (2, 3, 4) for e in ("csv", "md", "html", "tex")} | {"digits.csv"} <= names
    assert {f"fig3.{e}" for e in ("svg", "pdf", "csv")} == {p.name for p in (root / "figures").iterdir()}
    assert "precomputed" in (root / "report" / "index.html").read_text(encoding="utf-8")
    metrics = store.load(root, "metrics")
    assert set(metrics.loc[metrics.source == "ours", "system"]) == {"xvlm", "vsrn", "ucch"}
    curve = metrics[(metrics.source == "ours") & (metrics.metric == "precision")]
    assert curve.groupby(["system", "direction"]).size().eq(11).all()


def test_the_papers_recalls_come_back_digit_by_digit(root):
    digits = pd.read_csv(root / "tables" / "digits.csv")
    recalls = digits[(digits.system == "xvlm") & (digits.metric == "recall")]
    assert len(recalls) == 6
    assert recalls["equal"].all()
    assert (recalls["digits"] == recalls["digits_equal"]).all()
    others = digits[digits.system == "vsrn"]
    assert len(others)
    assert not others["equal"].all()


def test_another_release_leaves_nothing_of_the_first(release, root, tmp_path, capsys):
    for name in ("vsrn_f30k_img.npy", "vsrn_f30k_txt.npy", "flickr30k-karpathy-test-lall.mat"):
        (tmp_path / name).write_bytes((release / name).read_bytes())
    assert cli.main(["precomputed", str(tmp_path), "--out", str(tmp_path)]) == 0
    first = capsys.readouterr().out
    assert "1 of 1: VSRN on Flickr30K" in first
    assert " digits" in first
    assert cli.main(["run", "--profile", "precomputed", "--out", str(tmp_path), "--set", f"data_dir={tmp_path}"]) == 2
    assert "has no system of the release whole" in capsys.readouterr().err
    (tmp_path / "released").mkdir()
    for name in ("ucch_f30k_img.npy", "ucch_f30k_txt.npy", "flickr30k-karpathy-test-lall.mat"):
        (tmp_path / "released" / name).write_bytes((release / name).read_bytes())
    assert cli.main(["run", "--profile", "precomputed", "--out", str(tmp_path), "--set", f"data_dir={tmp_path}"]) == 0
    metrics = store.load(tmp_path / "precomputed", "metrics")
    assert set(metrics.loc[metrics.source == "ours", "system"]) == {"ucch"}
