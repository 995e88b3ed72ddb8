"""The forms in which people hold what is scored: every one gives the numbers of the plain array, or a sentence."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest
import scipy.sparse
import torch

from fico_utils.cli import main
from fico_utils.errors import InputError
from fico_utils.evaluation import evaluate

pytestmark = pytest.mark.filterwarnings("ignore:the matrix subclass")
RNG = np.random.default_rng(0)
IMAGES, TEXTS = RNG.standard_normal((6, 8)), RNG.standard_normal((12, 8))
OWN, CLASSES = np.repeat(np.arange(6), 2), np.array([0, 1, 0, 2, 1, 0])
PAIRS = np.column_stack([OWN, np.arange(12)])
SCORES = RNG.standard_normal((6, 12))
CODES, OTHERS = RNG.integers(0, 2, (6, 20)), RNG.integers(0, 2, (12, 20))


def same(table, other):
    pd.testing.assert_frame_equal(table, other)


FORMS = {
    "gradients": lambda x: torch.tensor(x, requires_grad=True),
    "matrix": np.matrix,
    "sparse": scipy.sparse.csr_array,
    "pandas": pd.DataFrame,
    "pandas, a vector a row": lambda x: pd.Series(list(x)),
    "lists": lambda x: x.tolist(),
    "other byte order": lambda x: np.asfortranarray(x).astype(">f8"),
}


@pytest.mark.parametrize("form", FORMS)
@pytest.mark.parametrize("folds", [1, 2])
def test_vectors(form, folds):
    change, how = FORMS[form], {"folds": folds, "labels": CLASSES}
    same(evaluate(change(IMAGES), change(TEXTS), **how), evaluate(IMAGES, TEXTS, **how))


@pytest.mark.parametrize("form", [form for form in FORMS if form != "sparse"])
def test_matrices_and_what_is_relevant(form):
    change = FORMS[form]
    same(evaluate(similarity=change(SCORES)), evaluate(similarity=SCORES))
    same(evaluate(similarity=change(SCORES), folds=3), evaluate(similarity=SCORES, folds=3))
    related = {"relevance": PAIRS, "metrics": "recall@1 map@N"}
    same(evaluate(IMAGES, TEXTS, **{**related, "relevance": change(1.0 * PAIRS)}), evaluate(IMAGES, TEXTS, **related))
    same(evaluate(IMAGES, TEXTS, labels=change(np.eye(3)[CLASSES])), evaluate(IMAGES, TEXTS, labels=CLASSES))


@pytest.mark.parametrize(
    "labels",
    [CLASSES[None], np.matrix(CLASSES).T, scipy.sparse.csr_array(CLASSES[:, None]), pd.DataFrame({"class": CLASSES})],
)
def test_class_numbers_as_rows_and_columns(labels):
    same(evaluate(IMAGES, TEXTS, labels=labels), evaluate(IMAGES, TEXTS, labels=CLASSES))


def test_an_index_in_a_column():
    same(evaluate(IMAGES, TEXTS, caption_image=OWN[:, None]), evaluate(IMAGES, TEXTS, caption_image=OWN))


@pytest.mark.parametrize(
    ("images", "owners"),
    [
        (np.arange(6) + 42, OWN + 42.0),  # pandas and MATLAB write whole numbers as 42.0
        ([str(i) for i in range(6)], OWN),
        (np.array(list("abcdef"), "S"), np.array(list("abcdef"))[OWN]),
    ],
)
def test_names_of_two_types(images, owners):
    same(evaluate(IMAGES, TEXTS, image_ids=images, caption_image_ids=owners), evaluate(IMAGES, TEXTS))


def test_no_name_is_no_image():
    owners = pd.Series(list("abcdef"))[OWN].reset_index(drop=True)
    owners[3] = None
    index = np.where(np.arange(12) == 3, -1, OWN)
    named = evaluate(IMAGES, TEXTS, image_ids=list("abcdef"), caption_image_ids=owners, distractors=True)
    same(named, evaluate(IMAGES, TEXTS, caption_image=index, distractors=True))


@pytest.mark.parametrize("ending", ["", "\n", "\n\n", "\r\n", "\r\n\r\n", "\n  "])
def test_an_editor_may_leave_a_blank_last_line(ending, tmp_path, capsys):
    """Also where the last caption has no image, so that its name is blank."""
    owners = np.array(["abcdef"[at] for at in OWN], object)
    owners[-1] = ""
    np.save(tmp_path / "images.npy", IMAGES)
    np.save(tmp_path / "texts.npy", TEXTS)
    names = {"image-ids": "abcdef", "caption-image-ids": owners, "caption-ids": "abcdefghijkl"}
    words = ["--distractors", "--out", str(tmp_path / "x.csv")]
    for flag in ("images", "texts"):
        words += [f"--{flag}", str(tmp_path / f"{flag}.npy")]
    for flag, texts in names.items():
        end = ending or ("\n" if flag == "caption-image-ids" else "")
        (tmp_path / f"{flag}.txt").write_bytes(("\n".join(texts) + end).encode())
        words += [f"--{flag}", str(tmp_path / f"{flag}.txt")]
    assert main(["evaluate", *words]) == 0, capsys.readouterr()
    table = evaluate(IMAGES, TEXTS, caption_image=np.where(np.arange(12) == 11, -1, OWN), distractors=True)
    assert pd.read_csv(tmp_path / "x.csv").value.tolist() == pytest.approx(table.value.tolist())


@pytest.mark.parametrize(
    ("text", "line"), [("a\nb\n\nc\nd\ne\nf\n", 3), ("a\nb\nc\nd\ne\nf\n\n\n", 7), ("a\n\nc\n\ne\nf", 2)]
)
def test_other_blank_lines_are_refused(text, line, tmp_path, capsys):
    np.save(tmp_path / "scores.npy", SCORES)
    (tmp_path / "names.txt").write_text(text)
    call = ["--similarity", str(tmp_path / "scores.npy"), "--image-ids", str(tmp_path / "names.txt")]
    assert main(["evaluate", *call, "--caption-image-ids", str(tmp_path / "names.txt")]) == 2
    assert f"(line {line} is blank)" in capsys.readouterr().err


@pytest.mark.parametrize("sets", [("images", "texts"), ("queries", "gallery")])
def test_names_that_are_numbers_are_no_positions(sets, tmp_path):
    images, captions = RNG.permutation(6), RNG.permutation(12)
    how = {**dict(zip(sets, (IMAGES, TEXTS), strict=True)), "metrics": "recall@1 map@N"}
    plain = evaluate(**how, relevance=PAIRS)
    named = np.column_stack([images[OWN], captions])
    same(evaluate(**how, relevance=named, image_ids=images, caption_ids=captions), plain)
    for name, array in {**how, "image_ids": images, "caption_ids": captions}.items():
        np.save(tmp_path / f"{name}.npy", array)
    turned = pd.DataFrame(named[:, ::-1], columns=["caption", "image"])  # the header says which is which
    same(evaluate(**how, relevance=turned, image_ids=images, caption_ids=captions), plain)
    turned.to_csv(tmp_path / "pairs.tsv", sep="\t", index=False)
    flags = [f"--{name.replace('_', '-')}" for name in (*sets, "image_ids", "caption_ids")]
    files = [str(tmp_path / f"{flag[2:].replace('-', '_')}.npy") for flag in flags]
    words = [word for pair in zip(flags, files, strict=True) for word in pair]
    words += ["--relevance", str(tmp_path / "pairs.tsv"), "--metrics", how["metrics"], "--out", str(tmp_path / "x.csv")]
    assert main(["evaluate", *words]) == 0
    assert pd.read_csv(tmp_path / "x.csv").value.tolist() == pytest.approx(plain.value.tolist())


def test_a_pair_that_one_of_an_ensemble_did_not_rank():
    a, b = np.array(SCORES), SCORES[:, ::-1].astype("f4")
    a[:, 8:], b[:, :3] = -100, -100
    marked = [np.where(x == -100, -np.inf, x) for x in (a, b)]
    same(evaluate(similarity=[a, b], unranked=-100), evaluate(similarity=marked))


@pytest.mark.parametrize("value", [np.nan, np.float64(-0.1)])
def test_what_means_not_ranked(value):
    marked = SCORES.astype("f4")
    marked[:, 8:] = -np.inf
    given = np.where(marked == -np.inf, np.float32(value), marked)
    same(evaluate(similarity=given, unranked=value), evaluate(similarity=marked))


def test_copies_that_were_encoded_in_other_batches():
    copies = np.repeat(IMAGES, 5, axis=0) * (1 + 1e-6 * RNG.standard_normal((30, 8)))
    texts = np.repeat(IMAGES, 5, axis=0) + RNG.standard_normal((30, 8))
    with pytest.raises(InputError, match="images_repeated=5"):
        evaluate(copies, texts)
    same(evaluate(copies, texts, images_repeated=5), evaluate(copies[::5], texts))


def test_a_set_without_a_gallery_has_one_set_of_names(tmp_path):
    how = {"queries": IMAGES, "query_labels": CLASSES, "leave_out_self": True, "image_ids": list("abcdef")}
    evaluate(**how, trec_run=tmp_path / "run.txt")
    rows = [line.split() for line in (tmp_path / "run.txt").read_text().splitlines()]
    assert {row[2] for row in rows} == set("abcdef")
    assert all(row[0] != f"q2g:{row[2]}" for row in rows)


VECTORS, SETS = {"images": IMAGES, "texts": TEXTS}, {"queries": IMAGES, "gallery": TEXTS}
BOTH = {"query_labels": CLASSES, "gallery_labels": np.repeat(CLASSES, 2)}
REFUSED = {
    "labels of one side": ({**VECTORS, "text_labels": OWN}, "text_labels are given without labels"),
    "a gallery's labels alone": (
        {"queries": IMAGES, "leave_out_self": True, "relevance": PAIRS[:1], "gallery_labels": CLASSES}, "query_labels",
    ),
    "images as queries": ({**VECTORS, **BOTH}, "is given with a query set"),
    "a set without itself": ({**VECTORS, "leave_out_self": True}, "is given with a query set"),
    "distractors of a set": ({**SETS, **BOTH, "distractors": True}, "distractors is given with a query set"),
    "both transposed": ({"images": IMAGES.T, "texts": TEXTS.T}, "transpose images and texts if"),
    "images transposed": ({"images": IMAGES.T, "texts": TEXTS}, "transpose images if"),
    "captions transposed": ({"images": IMAGES, "texts": TEXTS.T}, "transpose texts if"),
    "codes transposed": ({"images": CODES.T, "texts": OTHERS.T, "measure": "hamming"}, "transpose images and texts if"),
    "labels transposed": ({**VECTORS, "labels": np.eye(6, 4, dtype=int).T}, "transpose them"),
    "relevance transposed": (
        {**VECTORS, "relevance": scipy.sparse.coo_array((np.ones(12), PAIRS.T[::-1]))}, "transpose it",
    ),
    "relevance as a whole table": ({**VECTORS, "relevance": np.ones((6, 12), bool)}, "scipy.sparse.csr_array"),
    "relevance as lists": ({**VECTORS, "relevance": [[0, 1], [2], [3, 4, 5]]}, "relevance cannot be read"),
    "relevance as dicts": ({**VECTORS, "relevance": {"q": {"d": 1}}}, "relevance has shape ()"),
    "an index from 1": ({**VECTORS, "caption_image": OWN + 1}, "count from 1"),
    "pairs from 1": ({**VECTORS, "relevance": PAIRS + 1}, "count from 1"),
    "sides swapped": ({"images": TEXTS, "texts": IMAGES, "caption_image": OWN}, "swapped"),
    "a label twice": (
        {**VECTORS, "labels": scipy.sparse.coo_array(([1, 1], ([0, 0], [1, 1])), shape=(6, 3))}, "of 0 and 1",
    ),
    "too many names": ({**VECTORS, "caption_image": OWN, "image_ids": range(7)}, "image_ids has 7 names"),
    "too few names": ({**VECTORS, "caption_ids": range(5)}, "caption_ids has 5 names, expected one for each of 12"),
    "a caption's name twice": ({**VECTORS, "caption_ids": ["c"] * 12}, "caption_ids has 'c' at 0 and at 1"),
    "owners missing": ({**VECTORS, "image_ids": range(6), "caption_image_ids": OWN[:-1]}, "caption_image_ids has 11"),
    "an ensemble of none": ({"similarity": []}, "similarity have shape (0,)"),
    "names of files": ({"images": "i.npy", "texts": "t.npy"}, "images hold"),
}  # fmt: skip


@pytest.mark.parametrize("rule", REFUSED)
def test_the_sentence_names_the_culprit(rule):
    given, sentence = REFUSED[rule]
    with pytest.raises(InputError) as caught:
        evaluate(**given)
    assert sentence in str(caught.value)


@pytest.mark.parametrize(
    "given", [{"relevance": np.column_stack([PAIRS, np.full(12, 0.5)])}, {"caption_ids": ["a b", *range(11)]}]
)
def test_no_file_is_written_where_one_is_refused(given, tmp_path):
    files = {name: tmp_path / name for name in ("per_query", "trec_run", "trec_qrels")}
    with pytest.raises(InputError, match="TREC"):
        evaluate(IMAGES, TEXTS, **given, **files, metrics="recall@1")
    assert not list(tmp_path.iterdir())


def test_two_files_of_one_name_are_refused(tmp_path):
    with pytest.raises(InputError, match=r"name .*both\.csv twice: give each a file of its own"):
        evaluate(IMAGES, TEXTS, per_query=tmp_path / "both.csv", trec_run=str(tmp_path / "both.csv"))
    assert not list(tmp_path.iterdir())
