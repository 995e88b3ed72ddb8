"""The long run at the paper's size, at a tiny one: right recalls, and a stopped run goes on."""

from __future__ import annotations

import importlib.util
import sys

import numpy as np
import pytest

from fico_utils.costs.clock import Timing
from fico_utils.costs.search import Synthetic, search_rows
from fico_utils.provenance import PROJECT
from fico_utils.results.store import load

pytest.importorskip("faiss")


@pytest.fixture
def script(monkeypatch, tmp_path):
    spec = importlib.util.spec_from_file_location("paper_size", PROJECT / "benchmarks" / "search_paper_size.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    monkeypatch.setattr(module, "BLOCK", 700)
    monkeypatch.setattr(module, "QUERIES", 16)
    monkeypatch.setenv("OMP_NUM_THREADS", "1")
    monkeypatch.setenv("OPENBLAS_NUM_THREADS", "1")
    command = ["paper", "--candidates", "2000", "--queries", "40", "--dim", "32", "--bits", "16", "--train", "300"]
    monkeypatch.setattr(sys, "argv", [*command, "--work", str(tmp_path / "work"), "--out", str(tmp_path / "out.csv")])
    return module


def test_the_long_run_in_small(script, tmp_path, capsys, monkeypatch):
    script.main()
    frame = load(tmp_path / "out.csv", "costs")
    blocks = sorted((tmp_path / "work").rglob("*.safetensors"))
    assert len(blocks) == 3
    got = {(r.system, r.quantity): r.value for r in frame[frame.phase == "search"].itertuples()}
    from fico_utils.costs.indexes import Settings

    data = Synthetic(32, 2000, 40, 300)
    direct = search_rows(
        data, indexes=["binary_flat"], settings=Settings(bits=16), beside=("sign",), timing=Timing(1, threads=1)
    )
    for r in (r for r in direct if r["quantity"].startswith("recall")):
        assert got["binary_flat", r["quantity"]] == pytest.approx(r["value"])
    assert got["binary_flat_counting", "recall@1000"] == got["binary_flat", "recall@1000"]
    assert f"{len(frame)} rows in" in capsys.readouterr().out

    # stopped: the last block is missing, and the others are not drawn again
    drawn = []
    whole = Synthetic.base_chunks
    monkeypatch.setattr(Synthetic, "base_chunks", lambda self, *range_: drawn.append(range_) or whole(self, *range_))
    blocks[-1].unlink()
    script.main()
    assert drawn == [(1400, 2000)]
    again = load(tmp_path / "out.csv", "costs")
    kept = again.quantity.str.startswith("recall")
    np.testing.assert_array_equal(again.value[kept], frame.value[kept])


def test_nearest_neighbours_are_exact(script, tmp_path):
    from fico_utils.costs.indexes import make_binariser

    data = Synthetic(32, 2000, 40, 300)
    encoders = {"sign": make_binariser("sign", data.train(), 16)}
    nearest, codes = script.one_pass(data, encoders, tmp_path, "key")
    np.testing.assert_array_equal(nearest, data.nearest)
    np.testing.assert_array_equal(codes["sign"], np.concatenate([encoders["sign"](c) for c in data.base_chunks()]))
