"""Kernels: the same numbers in plain Python as compiled, nothing loaded for little work, nothing compiled twice."""

from __future__ import annotations

import subprocess
import sys
import warnings

import numpy as np
import pandas as pd
import pytest

from fico_utils import cli, evaluate
from fico_utils.evaluation import compiling

METRICS = (
    "recall@1,3,N,R map@1,7,N,R precision@1,5,N,R recall_share@2,R,N f1@3,R mrr@5,N ndcg@1,3,10,N,R acg@1,4,N,R "
    "wap@1,4,N,R median_rank mean_rank"
)


def small_input(kind: str, seed: int) -> dict[str, object]:
    """A small corpus with many ties, graded relevance and up to 300 labels in common."""
    rng = np.random.default_rng(seed)
    n = int(rng.integers(3, 9))
    index = np.repeat(np.arange(n), 3)
    given: dict[str, object] = {"caption_image": index, "labels": rng.random((n, (2, 5, 300)[seed % 3])) < 0.9}
    if kind == "codes":
        given |= {"images": rng.integers(0, 2, (n, 9)), "texts": rng.integers(0, 2, (3 * n, 9)), "measure": "hamming"}
    elif kind == "similarity":
        given |= {"similarity": rng.integers(0, 5, (n, 3 * n)).astype("f8"), "relevance": np.argwhere(np.ones((n, n)))}
        given["relevance"] = np.column_stack([given["relevance"], rng.integers(1, 9, n * n) / 3])
    else:
        given |= {"images": rng.integers(1, 3, (n, 2)).astype("f4"), "texts": rng.integers(1, 3, (3 * n, 2))}
    return given


@pytest.mark.parametrize("kind", ["float", "codes", "similarity"])
@pytest.mark.parametrize("ties", ["expected", "optimistic", "pessimistic", "index"])
def test_plain_python_gives_the_bits_of_compiled_code(kind, ties, monkeypatch):
    metrics = METRICS + " map@radius2 precision@radius1" * (kind == "codes")
    for seed, divisor in enumerate(("found", "min", "first")):
        how = {"metrics": metrics, "ties": ties, "map_divisor": divisor, "curve": True}
        tables = []
        for limit in (np.inf, -1):
            monkeypatch.setattr(compiling, "UNCOMPILED", limit)
            with warnings.catch_warnings():
                warnings.simplefilter("error")  # such as an integer that wraps
                tables.append(evaluate(**small_input(kind, seed), **how))
        pd.testing.assert_frame_equal(*tables, check_exact=True)


def test_work_adds_up_until_it_pays_to_compile(monkeypatch):
    monkeypatch.setattr(compiling, "_done", 0)
    kernel = compiling.kernel(lambda: None)
    monkeypatch.setattr(compiling, "compiled", lambda function: "compiled")
    chosen = [compiling.fastest(kernel, compiling.UNCOMPILED // 2) for _ in range(3)]
    assert chosen == [kernel, kernel, "compiled"]


@pytest.mark.parametrize("metrics", [[], ["--metrics", "recall@1", "map@N", "ndcg@10"]])
@pytest.mark.parametrize("kind", ["float", "codes", "similarity"])
def test_a_tiny_evaluation_loads_neither_numba_nor_pandas(kind, metrics, tmp_path):
    rng = np.random.default_rng(0)
    arrays = {"images": rng.normal(size=(10, 64)), "texts": rng.normal(size=(50, 64))}
    how = []
    if kind == "codes":
        arrays, how = {name: np.sign(array) for name, array in arrays.items()}, ["--measure", "hamming"]
    elif kind == "similarity":
        arrays = {"similarity": arrays["images"] @ arrays["texts"].T}
    for name, array in (arrays | {"labels": rng.integers(0, 2, (10, 4))}).items():
        np.save(tmp_path / f"{name}.npy", array)
        how += [f"--{name}", str(tmp_path / f"{name}.npy")]
    code = "import sys; from fico_utils.cli import main; main(sys.argv[1:]); print(*sys.modules)"
    done = subprocess.run([sys.executable, "-c", code, "evaluate", *how, *metrics], capture_output=True, text=True)
    loaded = {name.partition(".")[0] for name in done.stdout.splitlines()[-1].split()}
    assert "recall" in done.stdout
    assert not {"numba", "pandas", "torch", "scipy", "matplotlib", "asyncio", "ssl"} & loaded


@pytest.mark.parametrize("protocol", ["fico", "all", "coco1k"])
def test_tables_are_written_as_pandas_writes_them(protocol, tmp_path, capsys):
    rng = np.random.default_rng(1)
    arrays = {"images": rng.normal(size=(10, 4)), "texts": rng.normal(size=(50, 4)), "labels": rng.integers(0, 3, 10)}
    flags = ["--protocol", protocol]
    for name, array in arrays.items():
        np.save(tmp_path / f"{name}.npy", array)
        flags += [f"--{name}", str(tmp_path / f"{name}.npy")]
    scores = evaluate(**arrays, protocol=protocol)
    assert cli.main(["evaluate", *flags, "--format", "csv"]) == 0
    assert capsys.readouterr().out == scores.to_csv(index=False, lineterminator="\n")
    assert cli.main(["evaluate", *flags]) == 0
    alike = [name for name, plain in (("protocol", "fico"), ("folds", 1)) if (scores[name] == plain).all()]
    text = scores.drop(columns=alike).to_string(index=False, na_rep="", float_format="{:.4f}".format)
    assert capsys.readouterr().out == text + "\n"
