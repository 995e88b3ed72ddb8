"""Everything that has no meaning is refused through the command: one sentence, exit 2, nothing written."""

from __future__ import annotations

import json
import struct

import numpy as np
import pytest
from safetensors.numpy import save_file

from fico_utils.cli import main
from fico_utils.errors import InputError
from fico_utils.evaluation import evaluate

RNG = np.random.default_rng(0)
GOOD = {"images": RNG.standard_normal((4, 8)), "texts": RNG.standard_normal((8, 8))}


def call(*flags):
    return main(["evaluate", *map(str, flags)])


@pytest.fixture
def refused(tmp_path, capsys):
    """Run the command on arrays (saved) and files (as they are); returns the sentence it ends with."""

    def run(*flags, **inputs):
        words = list(flags)
        for name, value in inputs.items():
            if isinstance(value, np.ndarray):
                np.save(tmp_path / f"{name}.npy", value)
                value = tmp_path / f"{name}.npy"
            words += [f"--{name.replace('_', '-')}", value]
        out = tmp_path / "out.csv"
        before = set(tmp_path.iterdir())
        code = call(*words, "--out", out)
        said = capsys.readouterr()
        assert code == 2
        assert said.out == ""
        assert said.err.count("\n") == 1
        assert "Traceback" not in said.err
        assert set(tmp_path.iterdir()) == before
        return said.err.strip().removeprefix("fico_utils evaluate: ")

    return run


def changed(array, row, value):
    array = array.copy()
    array[row, 0] = value
    return array


@pytest.mark.parametrize("side", ["images", "texts"])
@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf])
@pytest.mark.parametrize("measure", ["cosine", "inner_product", "euclidean"])
def test_not_finite(refused, side, value, measure):
    said = refused("--measure", measure, **{**GOOD, side: changed(GOOD[side], 3, value)})
    assert said.startswith(f"{side} have NaN or infinity in row 3")


@pytest.mark.parametrize("value", [np.nan, np.inf])
def test_not_finite_matrix(refused, value):
    sim = RNG.standard_normal((4, 8))
    assert refused(similarity=changed(sim, 2, value)).startswith("similarity has NaN or +inf in row 2")
    said = refused(similarity=sim, similarity_t2i=changed(sim.T, 5, value))
    assert said.startswith("--similarity-t2i has NaN or +inf in row 5")


def test_zero_vector(refused):
    images = GOOD["images"].copy()
    images[2] = 0
    said = refused(**{**GOOD, "images": images})
    assert "zero vector in row 2" in said
    assert "--allow-zero" in said
    scores = evaluate(images, GOOD["texts"], allow_zero=True, recall_at=(1,))
    assert (scores.status == "ok").all()


RULES = {
    "unequal widths": ({**GOOD, "texts": RNG.standard_normal((8, 7))}, (), "8 wide and texts 7"),
    "one dimension": ({**GOOD, "texts": np.ones(8)}, (), "texts have shape (8,)"),
    "empty": ({**GOOD, "images": np.ones((0, 8))}, (), "images have shape (0, 8)"),
    "text values": ({**GOOD, "images": np.full((4, 8), "a")}, (), "images hold <U1 values"),
    "complex": ({**GOOD, "images": np.ones((4, 8), complex)}, (), "images hold complex128 values"),
    "index outside": ({**GOOD, "caption_image": np.array([0, 1, 2, 3, 4, 0, 0, 0])}, (), "image 4 at caption 4"),
    "negative index": ({**GOOD, "caption_image": np.array([0, 1, 2, 3, -1, 0, 0, 0])}, (), "image -1 at caption 4"),
    "no caption": ({**GOOD, "caption_image": np.array([0, 1, 3, 3, 1, 0, 0, 0])}, (), "image 2 has no caption"),
    "index length": ({**GOOD, "caption_image": np.arange(4)}, (), "shape (4,), expected one index for each of 8"),
    "index not whole": ({**GOOD, "caption_image": np.full(8, 0.5)}, (), "expected whole numbers from 0 to 3"),
    "no index": ({**GOOD, "texts": RNG.standard_normal((7, 8))}, (), "7 captions do not divide evenly among 4"),
    "labels length": ({**GOOD, "labels": np.ones((5, 2))}, (), "labels have shape (5, 2)"),
    "soft labels": ({**GOOD, "labels": changed(np.ones((4, 2)), 1, 0.3)}, (), "labels hold 0.3 in row 1"),
    "classes not whole": ({**GOOD, "labels": np.array([0, 1, 1.5, 2])}, (), "whole class numbers"),
    "third value": (
        {k: changed(np.sign(v), 1, 0) for k, v in GOOD.items()}, ("--measure", "hamming"), "third value",
    ),
    "floats as codes": (GOOD, ("--measure", "hamming"), "images hold"),
    "packed, bits not given": (
        {k: np.full((len(v), 2), 77, np.uint8) for k, v in GOOD.items()}, ("--measure", "hamming"), "--bits",
    ),
    "bits do not fit": (
        {k: np.full((len(v), 2), 77, np.uint8) for k, v in GOOD.items()}, ("--measure", "hamming", "--bits", 64),
        "2 bytes wide, but 64 bits need 8",
    ),
    "bits beyond": (
        {k: np.full((len(v), 2), 77, np.uint8) for k, v in GOOD.items()}, ("--measure", "hamming", "--bits", 10),
        "bits set beyond the first 10",
    ),
    "bits, not packed": (GOOD, ("--measure", "hamming", "--bits", 64), "expected packed uint8"),
    "bits without hamming": (GOOD, ("--bits", 64), "say measure 'hamming'"),
    "bits below 1": (GOOD, ("--measure", "hamming", "--bits", 0), "bits is 0"),
    "unequal code lengths": (
        {"images": np.ones((4, 8)), "texts": np.ones((8, 9))}, ("--measure", "hamming"), "8 bits and texts 9",
    ),
    "k below 1": (GOOD, ("--recall-at", "1,0"), "recall_at has 0"),
    "negative k": (GOOD, ("--map-at", "-5"), "map_at has -5"),
    "k is no ASCII digit": (GOOD, ("--recall-at", "²"), "--recall-at has '²', expected digits 0 to 9"),
    "k beyond int64": (GOOD, ("--map-at", "9" * 20), "expected digits 0 to 9, at most 18"),
    "k of a metric beyond int64": (GOOD, ("--metrics", "recall@" + "9" * 20), "expected digits 0 to 9, at most 18"),
    "k is no number": (GOOD, ("--recall-at", "1,all"), "recall_at has 'ALL'"),
    "recall at N": (GOOD, ("--recall-at", "N"), "recall_at has 'N'"),
    "empty k": (GOOD, ("--map-at", "1,,2"), "--map-at is '1,,2'"),
    "unknown metric": (GOOD, ("--metrics", "hits@10"), "metrics has 'hits@10'; expected one of recall@k, median_rank"),
    "metric without k": (GOOD, ("--metrics", "recall@1", "map"), "metrics has 'map', expected map@k, k a whole number"),
    "metric of k 0": (GOOD, ("--metrics", "precision@0"), "metrics has 'precision@0', expected precision@k"),
    "metric of a broken list": (GOOD, ("--metrics", "recall@1,five"), "metrics has 'recall@1,five', expected recall@k"),
    "metric that has no k": (GOOD, ("--metrics", "median_rank@5"), "metrics has 'median_rank@5', expected median_rank"),
    "points of the curve": (GOOD, ("--metrics", "precision@R=0.3"), "metrics has 'precision@R=0.3'"),
    "no metric": (GOOD, ("--metrics", " "), "metrics is empty"),
    "metrics and recall_at": (
        GOOD, ("--metrics", "recall@1", "--recall-at", "1"), "metrics is given together with recall_at",
    ),
    "metrics and map_at": (GOOD, ("--metrics", "recall@1", "--map-at", "1"), "metrics is given together with map_at"),
    "a protocol of labels": (GOOD, ("--protocol", "dcmh"), "protocol dcmh needs labels, which was not given"),
    "block": (GOOD, ("--block-mib", "0"), "--block-mib is 0"),
    "only images": ({"images": GOOD["images"]}, (), "nothing to score"),
    "nothing": ({}, (), "nothing to score"),
    "a measure of a matrix": ({"similarity": np.ones((4, 8))}, ("--measure", "cosine"), "leave measure out"),
    "bits of a matrix": ({"similarity": np.ones((4, 8))}, ("--bits", 8), "leave bits out"),
    "both kinds": ({**GOOD, "similarity": np.ones((4, 8))}, (), "expected one of the two"),
    "only t2i": ({"similarity_t2i": np.ones((8, 4))}, (), "without similarity"),
    "t2i not transposed": (
        {"similarity": np.ones((4, 8)), "similarity_t2i": np.ones((4, 8))}, (), "expected (8, 4)",
    ),
    "too large": (
        {"images": np.full((4, 8), 1e200), "texts": np.full((8, 8), 1e200)}, ("--measure", "inner_product"),
        "too large",
    ),
}  # fmt: skip


@pytest.mark.parametrize("rule", RULES)
def test_no_meaning(refused, rule):
    inputs, flags, sentence = RULES[rule]
    assert sentence in refused(*flags, **inputs)


def write_safetensors(path, dtype, shape, begin, end, data):
    header = json.dumps({"x": {"dtype": dtype, "shape": shape, "data_offsets": [begin, end]}}).encode()
    path.write_bytes(struct.pack("<Q", len(header)) + header + data)


def bad_files(folder):
    """Name -> (place to read, part of the sentence)."""
    files = {"missing": (folder / "none.npy", "there is no file"), "format": (folder / "a.csv", "is not one of")}
    np.save(folder / "objects.npy", np.array([{}, []], dtype=object), allow_pickle=True)
    files["objects"] = (folder / "objects.npy", "never unpickled")
    np.savez(folder / "objects.npz", x=np.array([{}], dtype=object), y=np.ones(3))
    files["objects in npz"] = (f"{folder}/objects.npz:x", "never unpickled")
    files["several"] = (folder / "objects.npz", "holds 2 arrays (x, y): pick one")
    files["no such name"] = (f"{folder}/objects.npz:z", "has no array 'z', only x, y")
    np.save(folder / "one.npy", np.ones((4, 8)))
    files["name of npy"] = (f"{folder}/one.npy:x", "leave out :x")
    whole = (folder / "one.npy").read_bytes()
    for name, size in (("cut.npy", 200), ("head.npy", 20), ("nothing.npy", 0)):
        (folder / name).write_bytes(whole[:size])
        files[name] = (folder / name, "truncated" if size else "is empty")
    (folder / "noise.npy").write_bytes(b"noise " * 30)
    files["noise"] = (folder / "noise.npy", "magic string")
    (folder / "cut.npz").write_bytes((folder / "objects.npz").read_bytes()[:150])
    files["cut.npz"] = (folder / "cut.npz", "cannot be read")
    (folder / "npy.npz").write_bytes(whole)
    files["npy as npz"] = (folder / "npy.npz", "no .npz file")
    save_file({"x": np.ones((4, 8), np.float32), "y": np.ones(2)}, folder / "two.safetensors")
    files["safetensors name"] = (f"{folder}/two.safetensors:z", "has no array 'z', only x, y")
    whole = (folder / "two.safetensors").read_bytes()
    for size in (4, 50, 200):
        (folder / f"cut{size}.safetensors").write_bytes(whole[:size])
        files[f"cut{size}.safetensors"] = (f"{folder}/cut{size}.safetensors:x", "truncated")
    write_safetensors(folder / "f4.safetensors", "F4", [8], 0, 4, b"1234")
    files["f4"] = (folder / "f4.safetensors", "holds F4 values")
    write_safetensors(folder / "size.safetensors", "F32", [3], 0, 8, b"12345678")
    files["wrong size"] = (folder / "size.safetensors", "truncated")
    from scipy.io import savemat

    savemat(folder / "old.mat", {"x": np.ones((4, 8)), "cell": np.array([{}, 1], dtype=object)})
    files["mat name"] = (f"{folder}/old.mat:z", "has no array 'z', only cell, x")
    files["mat cell"] = (f"{folder}/old.mat:cell", "never unpickled")
    (folder / "cut.mat").write_bytes((folder / "old.mat").read_bytes()[:180])
    files["long name"] = ("x" * 5000 + ".npy", "is no name of a file: it has 5004 characters")
    files["cut.mat"] = (f"{folder}/cut.mat:x", "cut.mat")
    return files


def test_bad_files(refused, tmp_path):
    folder = tmp_path / "files"
    folder.mkdir()
    np.save(tmp_path / "texts.npy", GOOD["texts"])
    files = bad_files(folder)
    for name, (place, sentence) in files.items():
        said = refused(images=place, texts=tmp_path / "texts.npy")
        assert sentence in said, name
    assert len(files) >= 20


def test_output_place(refused, tmp_path, capsys):
    np.save(tmp_path / "x.npy", np.eye(4))
    for out in (tmp_path / "none" / "a.csv", tmp_path / "a.xlsx"):
        assert call("--images", tmp_path / "x.npy", "--texts", tmp_path / "x.npy", "--out", out) == 2
        assert "expected a name ending in .csv" in capsys.readouterr().err
        assert not out.exists()


def test_unknown_choices_are_named():
    for words in ({"measure": "dot"}, {"ties": "random"}):
        with pytest.raises(InputError, match="expected one of"):
            evaluate(np.eye(2), np.eye(2), **words)


def test_good_files_give_equal_tables(tmp_path, capsys):
    from scipy.io import savemat

    index, labels = np.array([3, 0, 1, 2, 0, 1, 2, 3]), np.eye(4, 2, dtype=np.uint8)
    arrays = {**GOOD, "index": index, "labels": labels}
    for name, array in arrays.items():
        np.save(tmp_path / f"{name}.npy", array)
    np.savez(tmp_path / "all.npz", **arrays)
    savemat(tmp_path / "all.mat", arrays)
    save_file({k: np.ascontiguousarray(v) for k, v in arrays.items()}, tmp_path / "all.safetensors")
    tables = []
    for place in ("{}.npy", "all.npz:{}", "all.mat:{}", "all.safetensors:{}"):
        names = {"images": "images", "texts": "texts", "caption-image": "index", "labels": "labels"}
        words = [w for flag, name in names.items() for w in (f"--{flag}", tmp_path / place.format(name))]
        assert call(*words, "--curve", "--out", tmp_path / "out.csv") == 0
        tables.append((tmp_path / "out.csv").read_text())
    assert tables[1:] == tables[:-1]
    assert capsys.readouterr().out == ""
    assert call(*words) == 0
    assert "median_rank" in capsys.readouterr().out
