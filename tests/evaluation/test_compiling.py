"""Kernels: the same numbers in plain Python as compiled, nothing loaded for little work, nothing compiled twice."""

from __future__ import annotations

import subprocess
import sys
import warnings

import numpy as np
import pandas as pd
import pytest
from scipy.sparse import csr_array

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
def test_tables_say_what_those_of_pandas_say(protocol, tmp_path, capsys):
    rng = np.random.default_rng(1)
    arrays = {"images": rng.normal(size=(10, 4)), "texts": rng.normal(size=(50, 4)), "labels": rng.integers(0, 3, 10)}
    flags = ["--protocol", protocol]
    for name, array in arrays.items():
        np.save(tmp_path / f"{name}.npy", array)
        flags += [f"--{name}", str(tmp_path / f"{name}.npy")]
    scores = evaluate(**arrays, protocol=protocol)
    assert cli.main(["evaluate", *flags, "--format", "csv"]) == 0
    assert capsys.readouterr().out == scores.to_csv(index=False, lineterminator="\n")
    if protocol == "all":  # stands side by side
        return
    assert cli.main(["evaluate", *flags]) == 0
    alike = [name for name, plain in (("protocol", "fico"), ("folds", 1)) if (scores[name] == plain).all()]
    text = scores.drop(columns=alike).to_string(index=False, na_rep="", float_format="{:.4f}".format)
    printed = capsys.readouterr().out.splitlines()
    assert [line.split() for line in printed] == [line.split() for line in text.splitlines()]
    assert len({len(line) for line in printed}) == 1  # all columns end below each other


def test_no_change_of_form_compiles_anything_anew(tmp_path, monkeypatch):
    """Scores of float32, of float64 and of codes are compiled once, in whatever form they come."""
    monkeypatch.setattr(compiling, "UNCOMPILED", -1)
    monkeypatch.setattr(compiling, "_COMPILED", {})  # so that what other tests compiled does not count
    rng = np.random.default_rng(0)
    images, texts, labels = rng.normal(size=(6, 16)), rng.normal(size=(12, 16)), rng.integers(0, 2, (6, 5))

    def score(images, texts, labels=labels, **how):
        evaluate(images, texts, labels=labels, metrics=METRICS, curve=True, **how)

    def compiled():
        kernels = [k for names in compiling._COMPILED.values() for k in names.values() if hasattr(k, "signatures")]
        return sum(len(kernel.signatures) for kernel in kernels)

    def mapped(array):
        np.save(tmp_path / f"{array.dtype}{array.shape[0]}.npy", array)
        return np.load(tmp_path / f"{array.dtype}{array.shape[0]}.npy", mmap_mode="r")

    def forms(array):
        yield from (array.astype(t) for t in (array.dtype, np.float16 if array.dtype.itemsize < 8 else np.float64))
        yield from (np.asfortranarray(array), mapped(array), np.repeat(array, 2, axis=1)[:, ::2])

    for dtype in (np.float32, np.float64):
        i, t = images.astype(dtype), texts.astype(dtype)
        score(i, t)
        evaluate(similarity=i @ t.T, labels=labels, metrics=METRICS, curve=True)
        before = compiled()
        assert before > 4
        for a, b in zip(forms(i), forms(t), strict=True):
            score(a, b)
        for matrix in (np.asfortranarray(i @ t.T), mapped(i @ t.T)):
            evaluate(similarity=matrix, labels=labels, metrics=METRICS, curve=True)
        for other in (labels[:, :2], np.tile(labels, 60), labels.astype(bool), mapped(labels), np.arange(6) % 3):
            score(i, t, other)
        for other in (np.arange(6, dtype=np.int32)[:, None] % 2, csr_array(labels), labels.astype(np.float32)):
            score(i, t, other)
        score(i[:1], t[:1], labels[:1])
        assert compiled() == before
    signs = np.sign(images).astype(np.int8), np.sign(texts).astype(np.int8)
    score(*signs, measure="hamming")
    assert compiled() > before  # whole numbers are another kind of scores: the count does see it
    before = compiled()
    for bits in (1, 8, 64, 1000):
        wide = [rng.integers(0, 2, (len(side), bits), dtype=np.uint8) for side in signs]
        score(*wide, measure="hamming")
        score(*(np.packbits(side, axis=1) for side in wide), measure="hamming", bits=bits)
        score(*(mapped(np.asfortranarray(side).astype(bool)) for side in wide), measure="hamming")
    assert compiled() == before
