"""An index built in shards is the index of all rows, whatever the file, and only its lists lie on disk."""

from __future__ import annotations

import importlib.util
import subprocess
import sys
from pathlib import Path

import faiss
import numpy as np
import pytest

from fico_utils.errors import InputError
from fico_utils.extras.deploy import shards
from fico_utils.provenance import PROJECT

N, DIM = 1000, 16


def write_rows(folder: Path, kind: str) -> tuple[Path, np.ndarray]:
    """A file of vectors or codes, and what is asked: vectors of unit length, or codes."""
    rng = np.random.default_rng(0)
    if kind == "codes":
        rows = rng.integers(0, 256, (N, 8), np.uint8)
        np.save(folder / "rows.npy", rows)
        return folder / "rows.npy", rows
    rows = rng.normal(size=(N, DIM)).astype(np.float16)
    np.save(folder / "rows.npy", rows)
    unit = rows.astype(np.float32)
    faiss.normalize_L2(unit)
    if kind == "parquet":
        pa = pytest.importorskip("pyarrow")
        from pyarrow import parquet

        flat = pa.array(rows.astype(np.float32).ravel())
        table = pa.table({"vector": pa.FixedSizeListArray.from_arrays(flat, DIM)})
        parquet.write_table(table, folder / "rows.parquet", row_group_size=170)
        return folder / "rows.parquet", unit
    return folder / "rows.npy", unit


@pytest.mark.parametrize("kind", ["npy", "parquet", "codes"])
def test_joined_shards_find_what_one_index_finds(kind: str, tmp_path: Path, monkeypatch) -> None:
    monkeypatch.setattr(shards, "BLOCK", 130)  # blocks end within shards and within row groups
    source, asked = write_rows(tmp_path, kind)
    trained, ends = tmp_path / "trained", [0, 333, 700, N]
    shards.train_index(source, "BIVF8" if kind == "codes" else "IVF8,Flat", trained)
    parts = [tmp_path / f"{i}" for i in range(3)]
    for part, start, stop in zip(parts, ends, ends[1:], strict=False):
        shards.build_shard(source, trained, part, start, stop)
    shards.join_shards(trained, parts, tmp_path / "joined")
    whole = (faiss.read_index_binary if kind == "codes" else faiss.read_index)(str(trained))
    whole.add(asked)
    joined = (faiss.read_index_binary if kind == "codes" else faiss.read_index)(str(tmp_path / "joined"))
    assert joined.ntotal == N
    whole.nprobe = joined.nprobe = 3
    for mine, theirs in zip(joined.search(asked[:50], 5), whole.search(asked[:50], 5), strict=True):
        if kind != "codes" or mine.dtype == np.int32:  # codes at one distance stand in any order
            np.testing.assert_allclose(mine, theirs, rtol=1e-5)
    assert joined.search(asked, 1)[1][:, 0].tolist() == list(range(N))  # each row is its own nearest
    if kind != "codes":
        assert (tmp_path / "joined").stat().st_size < 4 * N * DIM < (tmp_path / "joined.ivfdata").stat().st_size


def test_what_cannot_be_built_is_one_sentence(tmp_path: Path) -> None:
    source, _ = write_rows(tmp_path, "npy")
    for factory, sentence in (("HNSW8", "expected one with inverted lists"), ("IVF500,Flat", "expected 39 for each")):
        with pytest.raises(InputError, match=sentence):
            shards.train_index(source, factory, tmp_path / "trained")
    shards.train_index(source, "IVF4,Flat", tmp_path / "trained")
    with pytest.raises(InputError, match="expected a part of the 1,000 rows"):
        shards.build_shard(source, tmp_path / "trained", tmp_path / "0", 500, 1001)
    with pytest.raises(InputError, match=r"expected a \.npy or \.parquet file"):
        shards.open_rows(tmp_path / "none.csv")


@pytest.mark.skipif(importlib.util.find_spec("snakemake") is None, reason="the extra `cluster` is not installed")
def test_an_index_of_another_corpus_is_refused(tmp_path: Path, monkeypatch, capsys) -> None:
    """By its width, by its kind, by its centroids where all else is equal, and where it is none or was cut."""
    monkeypatch.chdir(tmp_path)
    rng = np.random.default_rng(0)
    for name, width in (("one", 16), ("two", 16), ("wide", 32)):
        np.save(f"{name}.npy", rng.normal(size=(1000, width)).astype(np.float32))
        shards.main(["train", f"{name}.npy", "IVF16,Flat", f"{name}.index"])
        shards.main(["build", f"{name}.npy", f"{name}.index", f"{name}.0", "--start", "0", "--stop", "500"])
    np.save("codes.npy", rng.integers(0, 255, (1000, 8), dtype=np.uint8))
    Path("cut.0").write_bytes(Path("one.0").read_bytes()[:3000])
    span = "out", "--start", "0", "--stop", "9"
    refused = {
        ("build", "wide.npy", "one.index", *span): "one.index is an index of vectors of 16 dimensions",
        ("build", "codes.npy", "one.index", *span): "codes.npy holds codes of 64 bits",
        ("build", "one.npy", "one.npy", *span): "one.npy is no whole index",
        ("build", "one.npy", "missing.index", *span): "missing.index is no whole index",
        ("join", "one.index", "out", "one.0", "two.0"): "two.0 is of another corpus than one.index",
        ("join", "one.index", "out", "wide.0"): "wide.0 is of another corpus than one.index",
        ("join", "one.index", "out", "cut.0"): "cut.0 is no whole index",
    }
    for words, sentence in refused.items():
        with pytest.raises(SystemExit) as stopped:
            shards.main(words)
        assert stopped.value.code == 2
        assert sentence in capsys.readouterr().err
        assert not Path("out").exists()


def test_the_workflow_joins_its_shards(tmp_path: Path, monkeypatch) -> None:
    source, asked = write_rows(tmp_path, "npy")
    monkeypatch.setenv("PYTHONPATH", str(PROJECT))
    call = [sys.executable, "-m", "snakemake", "--snakefile", str(PROJECT / "workflow" / "shards.smk"), "--cores", "1"]
    call += ["--directory", str(tmp_path), "--config", f"rows={source}", "factory=IVF8,Flat", f"items={N}", "shards=3"]
    done = subprocess.run(call, cwd=tmp_path, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    monkeypatch.chdir(tmp_path)
    index = faiss.read_index("results/shards/joined.index")
    index.nprobe = 8
    assert index.search(asked, 1)[1][:, 0].tolist() == list(range(N))
