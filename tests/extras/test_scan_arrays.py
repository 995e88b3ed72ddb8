"""SCAN's folder layout: images stored once or five times give the same corpus, features and scores."""

from __future__ import annotations

import numpy as np
import pytest

from fico_utils import evaluate
from fico_utils.errors import InputError
from fico_utils.extras.corpora.scan_arrays import read_scan_arrays

#: Images of each split.
SIZES = {"train": 6, "dev": 3, "test": 8}


def features(split):
    """(n, 36, 2048) float32, the published shape; region 0 names the image, the rest is noise."""
    rng = np.random.default_rng(len(split))
    array = rng.standard_normal((SIZES[split], 36, 2048)).astype(np.float32)
    array[:, 0] = np.eye(SIZES[split], 2048)
    return array


@pytest.fixture(params=[1, 5], ids=["1x", "5x"])
def folder(tmp_path, request):
    copies = request.param
    for split, n in SIZES.items():
        np.save(tmp_path / f"{split}_ims.npy", np.repeat(features(split), copies, 0))
        lines = [f"caption {k} of {split} {i}\n" for i in range(n) for k in range(5)]
        (tmp_path / f"{split}_caps.txt").write_text("".join(lines), encoding="utf-8")
        ids = [f"{split}_{i + 100}\n" for i in range(n) for _ in range(copies)]
        (tmp_path / f"{split}_ids.txt").write_text("".join(ids), encoding="utf-8")
    return tmp_path


def test_images_are_served_once_and_mapped(folder):
    corpus, regions = read_scan_arrays("precomp", folder)
    assert corpus.split.tolist() == ["train"] * 6 + ["val"] * 3 + ["test"] * 8
    assert list(regions) == ["train", "val", "test"]
    for split, name in (("train", "train"), ("dev", "val"), ("test", "test")):
        part = corpus.subset(name)
        assert part.image_ids == [f"{split}_{i + 100}" for i in range(SIZES[split])]
        assert np.array_equal(regions[name], features(split))
        assert isinstance(regions[name], np.memmap)
        assert not regions[name].flags.writeable
    assert corpus.subset("test").captions[7] == "caption 2 of test 1"
    assert corpus.subset("test").caption_image.tolist() == np.repeat(np.arange(8), 5).tolist()


def test_known_scores_come_back(folder):
    corpus, regions = read_scan_arrays("precomp", folder)
    corpus = corpus.subset("test")
    index = corpus.caption_image.copy()
    index[::8] = (index[::8] + 1) % 8  # 5 of 40 captions speak of the next image
    texts = np.eye(8, 2048)[index] + 1e-3 * np.eye(8, 2048)[corpus.caption_image]
    scores = evaluate(regions["test"][:, 0], texts, caption_image=corpus.caption_image, recall_at=(1, 2))
    values = scores[scores.metric == "recall"].set_index(["direction", "k"])["value"]
    assert values["t2i", "1"] == 35 / 40
    assert values["t2i", "2"] == 1.0


def test_ids_may_be_one_a_caption_or_missing(folder):
    ids = [f"id{i}\n" for i in range(8) for _ in range(5)]
    (folder / "test_ids.txt").write_text("".join(ids), encoding="utf-8")
    assert read_scan_arrays("precomp", folder)[0].subset("test").image_ids == [f"id{i}" for i in range(8)]
    (folder / "test_ids.txt").unlink()
    assert read_scan_arrays("precomp", folder)[0].subset("test").image_ids == [f"test-{i}" for i in range(8)]


def lines(folder, change):
    path = folder / "test_caps.txt"
    kept = path.read_text(encoding="utf-8").splitlines()
    change(kept)
    path.write_text("\n".join(kept) + "\n", encoding="utf-8")


def unequal(folder):
    array = np.repeat(features("test"), 5, 0)
    array[13, 4, 5] += 1
    np.save(folder / "test_ims.npy", array)


def truncated(folder):
    path = folder / "test_ims.npy"
    path.write_bytes(path.read_bytes()[:-1000])


BAD = {
    "captions lost": (
        lambda f: lines(f, lambda k: k.pop()),
        r"rows and .*test_caps.txt 39 lines, expected 5 lines a row",
    ),
    "empty caption": (
        lambda f: lines(f, lambda k: k.__setitem__(6, " ")),
        "test_caps.txt line 7: the caption is empty",
    ),
    "5000 words": (lambda f: lines(f, lambda k: k.__setitem__(0, "w " * 5000)), "line 1: the caption has 5000 words"),
    "not UTF-8": (
        lambda f: (f / "test_caps.txt").write_bytes(b"a\nb\xff\n"),
        "line 2 holds byte 0xff, which is not UTF-8",
    ),
    "truncated": (truncated, "test_ims.npy cannot be read .* truncated"),
    "pickle": (lambda f: np.save(f / "test_ims.npy", np.array([{}] * 8, object), allow_pickle=True), "never unpickled"),
    "copies differ": (unequal, "rows 10 to 14 differ, expected one image stored 5 times"),
    "whole numbers": (lambda f: np.save(f / "test_ims.npy", np.ones((8, 36, 4), int)), "expected features"),
    "ids lost": (lambda f: (f / "test_ids.txt").write_text("a\n"), "has 1 lines for 8 images"),
    "ids mixed": (lambda f: (f / "test_ids.txt").write_text("a\nb\n" * 20), "lines 1 to 5 name several images"),
    "same ids": (lambda f: (f / "test_ids.txt").write_text("a\n" * 40), "share the id 'a'"),
    "no captions": (lambda f: (f / "test_caps.txt").unlink(), "there is no file .*test_caps.txt"),
}


@pytest.mark.parametrize("case", BAD)
def test_bad_folders_are_refused_in_one_sentence(folder, case):
    spoil, said = BAD[case]
    spoil(folder)
    with pytest.raises(InputError, match=said) as error:
        read_scan_arrays("precomp", folder)
    assert "\n" not in str(error.value)


def test_splits_are_named(tmp_path):
    with pytest.raises(InputError, match=r"has no file train_ims.npy"):
        read_scan_arrays("precomp", tmp_path)
    for split in ("dev", "val"):
        np.save(tmp_path / f"{split}_ims.npy", np.zeros((1, 1, 1), np.float32))
    with pytest.raises(InputError, match=r"both dev_ims.npy and val_ims.npy"):
        read_scan_arrays("precomp", tmp_path)
