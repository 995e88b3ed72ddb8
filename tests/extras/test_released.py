"""The authors' release: each kind of file, written from known arrays by a system's rule, gives their scores back."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pandas as pd
import pytest
from scipy.io import savemat

from fico_utils import evaluate
from fico_utils.errors import InputError
from fico_utils.extras.corpora.released import RELEASED, RULES, equal_digits, evaluate_arguments, list_released
from fico_utils.registry import SYSTEMS
from fico_utils.results.paper_reference import paper_reference

#: Images of the small release, and captions where an image may have more than five.
N, RAGGED = 30, np.repeat(np.arange(30), [5] * 20 + [6] * 8 + [7] * 2)
FIVES = np.repeat(np.arange(N), 5)


def truth(system, corpus, n=N, ragged=RAGGED):
    """(images, texts, caption_image) or (matrix, matrix_t2i, caption_image) of a system, each image once."""
    rule, rng = RULES[system], np.random.default_rng(len(system))
    index = ragged if corpus == "mscoco" and rule.all_captions else np.repeat(np.arange(n), 5)
    if rule.embeds:
        width = {"adv_2048": 2048, "adv_64": 64, "ucch": 64, "dadh": 64}.get(system, 24)
        images = rng.standard_normal((n, width))
        texts = images[index] + 1.5 * rng.standard_normal((len(index), width))
        return (images, texts, index) if rule.measure == "cosine" else (images > 0, texts > 0, index)
    scores = rng.standard_normal((n, len(index)))
    scores[index, np.arange(len(index))] += 1.5
    if rule.endings == ("sim",):
        return scores, None, index
    other = (scores + 0.1 * rng.standard_normal(scores.shape)).T
    depth = 12
    cut = [np.where(m >= np.sort(m, 1)[:, -depth, None], m, -np.inf) for m in (scores, other)]
    return *cut, index


def write(folder, system, corpus, arrays):
    """The files of a system as they are released: names, copies, exchanged sides, -100, float64, codes as they come."""
    rule, short = RULES[system], RELEASED[corpus][0]
    first, second, _ = arrays
    if rule.embeds:
        if system.startswith("adv"):
            first, second = first.astype(np.float64), second.astype(np.float64)  # {0, 1}
        elif rule.measure == "hamming":
            kind = np.float64 if system == "ucch" else np.int8
            first, second = (np.where(codes, 1, -1).astype(kind) for codes in (first, second))
        first = np.repeat(first, rule.images, 0)
        files = dict(zip(("txt", "img") if system == "dadh" else ("img", "txt"), (first, second), strict=True))
    elif second is None:
        files = {"sim": first}
    else:
        files = {name: np.where(np.isinf(m), -100, m) for name, m in (("sim_i2t", first), ("sim_t2i", second))}
    for ending, array in files.items():
        np.save(folder / f"{rule.name}_{short}_{ending}.npy", array)


LABELS = np.random.default_rng(5).integers(0, 2, (N, 6)) * np.random.default_rng(6).integers(0, 2, (N, 6))


@pytest.fixture
def release(tmp_path):
    np.save(tmp_path / "mscoco_test_indices.npy", RAGGED)
    savemat(tmp_path / "flickr30k-karpathy-test-lall.mat", {"LAll": LABELS.astype(float), "other": np.eye(2)})
    np.save(tmp_path / "coco-karpathy-testall-labels.npy", LABELS.astype(np.int32))
    for corpus in RELEASED:
        for system in RULES:
            write(tmp_path, system, corpus, truth(system, corpus))
    return tmp_path


def dense(system, arrays):
    """The scores of both directions as matrices, by the plainest computation."""
    first, second, _ = arrays
    if not RULES[system].embeds:
        return first, first.T if second is None else second
    if RULES[system].measure == "hamming":
        scores = -(first[:, None] != second[None]).sum(2).astype(float)
    else:
        scores = (first / np.linalg.norm(first, axis=1)[:, None]) @ (second / np.linalg.norm(second, axis=1)[:, None]).T
    return scores, scores.T


def slow_recall(scores, correct, k):
    """Recall@k, equal scores in every order: by counting, one query at a time."""
    total = 0.0
    for row, hits in zip(scores, correct, strict=True):
        best = row[hits].max()
        above, tied = int((row > best).sum()), int((row == best).sum())
        right = int((row[hits] == best).sum())
        places = min(max(k - above, 0), tied)
        miss = 1.0
        for taken in range(places):
            miss *= max(tied - right - taken, 0) / (tied - taken)
        total += 1 - miss
    return total / len(scores)


def test_every_system_of_the_paper_has_a_rule(release):
    assert list(RULES) == list(SYSTEMS)
    assert list_released(release) == [(system, corpus) for corpus in RELEASED for system in RULES]
    (release / "scan_coco_sim.npy").unlink()
    (release / "xvlm_f30k_sim_t2i.npy").unlink()
    assert len(list_released(release)) == 2 * len(RULES) - 2


@pytest.mark.parametrize("corpus", RELEASED)
@pytest.mark.parametrize("system", RULES)
def test_known_scores_come_back_to_the_last_digit(release, system, corpus):
    arrays = truth(system, corpus)
    given = evaluate_arguments(release, system, corpus, n_images=N)
    scores = evaluate(**given, recall_at=(1, 5, 10), map_at=(10, "N"))
    sims, index = dense(system, arrays), arrays[2]
    assert given["caption_image"].tolist() == index.tolist()
    assert given["labels"].tolist() == LABELS.tolist()
    correct = {"i2t": [np.flatnonzero(index == i) for i in range(N)], "t2i": [[i] for i in index]}
    found = scores.set_index(["direction", "metric", "k"])
    for direction, matrix in zip(("i2t", "t2i"), sims, strict=True):
        for k in (1, 5, 10):
            assert found.loc[(direction, "recall", str(k)), "value"] == pytest.approx(
                slow_recall(matrix, correct[direction], k), abs=1e-12
            )
    asked = {"caption_image": index, "labels": LABELS, "recall_at": (1, 5, 10), "map_at": (10, "N")}
    plain = evaluate(similarity=sims[0], similarity_t2i=sims[1], **asked)
    merged = scores.merge(plain, on=["task", "direction", "metric", "k"])
    assert (merged["status_x"] == merged["status_y"]).all()
    assert np.allclose(merged["value_x"], merged["value_y"], rtol=0, atol=1e-12, equal_nan=True)
    assert (found.loc[("i2t", "map", "N"), "status"] == "undefined") == (system in ("blip2", "xvlm"))


def test_the_published_sizes_of_mscoco(tmp_path):
    ragged = np.repeat(np.arange(5000), [5] * 4990 + [6] * 10)
    np.save(tmp_path / "mscoco_test_indices.npy", ragged)
    np.save(tmp_path / "coco-karpathy-testall-labels.npy", np.ones((5000, 80), np.uint8))
    arrays = truth("beit3", "mscoco", 5000, ragged)
    write(tmp_path, "beit3", "mscoco", arrays)
    write(tmp_path, "vsrn", "mscoco", truth("vsrn", "mscoco", 5000))
    given = evaluate_arguments(tmp_path, "beit3", "mscoco")
    assert (len(given["images"]), len(given["texts"])) == (5000, 25010)
    sims = dense("beit3", arrays)
    scores = evaluate(**{**given, "labels": None}, recall_at=(1,)).set_index(["direction", "metric", "k"])["value"]
    assert scores["i2t", "recall", "1"] == (ragged[sims[0].argmax(1)] == np.arange(5000)).mean()
    assert scores["t2i", "recall", "1"] == (sims[1].argmax(1) == ragged).mean()
    square = evaluate_arguments(tmp_path, "vsrn", "mscoco")
    assert (square["images"].shape[0], square["texts"].shape[0]) == (5000, 25000)
    assert isinstance(square["images"], np.memmap)


def test_a_square_matrix_with_copies_by_a_rule(release):
    scores = truth("scan", "flickr30k")[0]
    np.save(release / "scan_f30k_sim.npy", np.repeat(scores, 5, 0))
    with pytest.raises(InputError, match=r"has shape \(150, 150\), but by the rule of scan it has \(30, 150\)"):
        evaluate_arguments(release, "scan", "flickr30k", n_images=N)
    rules = {"scan": replace(RULES["scan"], images=5)}
    given = evaluate_arguments(release, "scan", "flickr30k", n_images=N, rules=rules)
    assert np.array_equal(given["similarity"], scores)


def spoil_copy(folder):
    array = np.load(folder / "vsrn_f30k_img.npy")
    array[7, 3] += 1
    np.save(folder / "vsrn_f30k_img.npy", array)


def cut(folder):
    path = folder / "vsrn_f30k_img.npy"
    path.write_bytes(path.read_bytes()[:-8])


def mat73(folder):
    path = folder / "flickr30k-karpathy-test-lall.mat"
    path.write_bytes(b"MATLAB 7.3 MAT-file, Platform: GLNXA64".ljust(128, b" ") + bytes(64))


def store(name, array):
    return lambda folder: np.save(folder / name, array, allow_pickle=True)


BAD = {
    "copies differ": (spoil_copy, "vsrn_f30k_img.npy: rows 5 to 9 differ, expected one image stored 5 times"),
    "truncated": (cut, "vsrn_f30k_img.npy cannot be read .* truncated"),
    "pickle": (store("vsrn_f30k_txt.npy", np.array([{}], object)), "never unpickled"),
    "other length": (
        store("vsrn_f30k_txt.npy", np.ones((149, 24))),
        r"\(149, 24\), but by the rule of vsrn it has \(150, w",
    ),
    "missing": (lambda f: (f / "vsrn_f30k_txt.npy").unlink(), "there is no file .*vsrn_f30k_txt.npy"),
    "labels short": (
        store("flickr30k-karpathy-test-labels.npy", LABELS[1:]),
        "has 29 rows for 30 images, expected one for each",
    ),
    "labels soft": (store("flickr30k-karpathy-test-labels.npy", LABELS * 0.5), "holds 0.5 in row .*expected 0 or 1"),
    "labels without HDF5": (mat73, "cannot be read .*: it is truncated or no .mat file"),
    "no labels": (lambda f: (f / "flickr30k-karpathy-test-lall.mat").unlink(), "has no labels of flickr30k; expected"),
}


@pytest.mark.parametrize("case", BAD)
def test_files_that_do_not_fit_are_refused_in_one_sentence(release, case):
    spoil, said = BAD[case]
    spoil(release)
    with pytest.raises(InputError, match=said) as error:
        evaluate_arguments(release, "vsrn", "flickr30k", n_images=N)
    assert "\n" not in str(error.value)


def test_other_indices_systems_and_corpora_are_refused(release):
    np.save(release / "mscoco_test_indices.npy", RAGGED + 1)
    with pytest.raises(InputError, match="expected for each caption its image, 0 to 29"):
        evaluate_arguments(release, "beit3", "mscoco", n_images=N)
    with pytest.raises(InputError, match="scan on picto_people is not in the release"):
        evaluate_arguments(release, "scan", "picto_people")
    with pytest.raises(InputError, match="unknown system 'clip'"):
        evaluate_arguments(release, "clip", "mscoco")


def test_the_papers_own_numbers_are_all_equal_and_others_are_counted():
    paper = paper_reference("metrics")
    own = paper[paper["run"].isin(["table2", "table3", "table4"])]
    same = equal_digits(own, paper)
    assert same["equal"].all()
    assert (same["digits"] == same["digits_equal"]).all()
    assert len(same) == (own["status"] == "ok").sum() > 250
    row = {"system": "scan", "corpus": "flickr30k", "direction": "i2t", "metric": "recall", "k": "1"}  # the paper: 66.7
    for value, digits in (
        (0.66749, 3),
        (0.6675, 2),
        (0.6651, 2),
        (0.66649, 2),
        (0.66651, 3),
        (0.76, 0),
        (0.069, 0),
        (1, 0),
    ):
        found = equal_digits(pd.DataFrame([row | {"value": value}]), paper)
        assert (found["digits"].tolist(), found["digits_equal"].tolist()) == ([3], [digits])
    assert equal_digits(pd.DataFrame([row | {"value": np.nan}]), paper).empty
