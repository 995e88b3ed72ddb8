"""Corpus checks itself, and selects what it should."""

from __future__ import annotations

import numpy as np
import pytest

from fico_utils.data.corpus import Corpus
from fico_utils.errors import InputError


def small(**changes):
    fields = {
        "name": "own",
        "image_ids": ["a", "b", "c"],
        "captions": ["a cat", "two cats", "a dog", "a cow", "one cow"],
        "caption_image": [0, 0, 1, 2, 2],
        "split": ["train", "test", "train"],
        "labels": [[1, 0], [0, 1], [1, 1]],
        "label_names": ("cat", "dog"),
        "images": np.arange(3 * 4 * 4 * 3, dtype=np.uint8).reshape(3, 4, 4, 3),
    }
    return Corpus(**{**fields, **changes})


BAD = {
    "no images": ({"image_ids": []}, "no images"),
    "same id": ({"image_ids": ["a", "b", "a"]}, r"rows 0 and 2 share the id 'a'"),
    "empty id": ({"image_ids": ["a", " ", "c"]}, "id of image row 1 is ' '"),
    "short split": ({"split": ["train"]}, r"split has shape \(1,\) for 3 images"),
    "unknown split": ({"split": ["train", "dev", "test"]}, r"image row 1 \('b'\) has split 'dev'"),
    "too few images": ({"images": np.zeros((2, 4, 4, 3), np.uint8)}, "2 images for 3 image ids"),
    "too few scenes": ({"scenes": [1]}, "1 scenes for 3 image ids"),
    "short index": ({"caption_image": [0, 0, 1, 2]}, r"caption_image has shape \(4,\) for 5 captions"),
    "to nowhere": ({"caption_image": [0, 0, 1, 7, 2]}, "caption row 3 points to image 7"),
    "before the first": ({"caption_image": [0, -1, 1, 2, 2]}, "caption row 1 points to image -1"),
    "NaN index": ({"caption_image": [0, 0, 1, np.nan, 2]}, "caption row 3 points to image nan"),
    "half index": ({"caption_image": [0, 0.5, 1, 2, 2]}, "caption row 1 points to image 0.5"),
    "no index": ({"caption_image": [0, 0, None, 1, 2]}, "caption row 2 points to image None"),
    "text index": (
        {"caption_image": ["0", "0", "1", "2", "2"]},
        "caption row 0 points to image 0; .* whole",
    ),
    "truth index": ({"caption_image": [False, False, True, True, True]}, "caption row 0 .* whole numbers"),
    "empty caption": ({"captions": ["a", "b", " \t", "d", "e"]}, "caption row 2 is ' "),
    "caption that is no text": ({"captions": ["a", "b", "c", None, "e"]}, "caption row 3 is None"),
    "image without caption": ({"caption_image": [0, 0, 0, 2, 2]}, r"image row 1 \('b'\) has no caption"),
    "short labels": ({"labels": [[1, 0], [0, 1]]}, r"labels have shape \(2, 2\), expected \(3, n_labels\)"),
    "flat labels": ({"labels": [1, 0, 1]}, r"labels have shape \(3,\)"),
    "ragged labels": ({"labels": [[1, 0], [0], [1, 1]]}, "labels row 1 is not as long as row 0"),
    "names of labels": ({"label_names": ("cat",)}, "2 columns but there are 1 label names"),
    "names without labels": ({"labels": None}, "2 label names but no labels"),
    "two in a label": ({"labels": [[1, 0], [0, 2], [1, 1]]}, r"image row 1 \('b'\) have 2 for 'dog'"),
    "NaN in a label": ({"labels": [[1, 0], [0, 1], [np.nan, 1]]}, r"image row 2 \('c'\) have nan for 'cat'"),
    "text in a label": ({"labels": [["y", "n"]] * 3}, "labels are of type <U1"),
}


@pytest.mark.parametrize("case", BAD)
def test_bad_corpora_are_refused_in_one_sentence_naming_the_row(case):
    changes, sentence = BAD[case]
    with pytest.raises(InputError, match=sentence) as error:
        small(**changes)
    assert str(error.value).startswith("Corpus 'own': ")
    assert "\n" not in str(error.value)


def test_fields_are_brought_to_their_types():
    corpus = small(caption_image=[0.0, 0.0, 1.0, 2.0, 2.0], labels=np.array([[1, 0], [0, 1], [1, 1]], bool))
    assert (corpus.caption_image.dtype, corpus.labels.dtype) == (np.int64, np.uint8)
    assert (corpus.n_img, corpus.n_txt) == (3, 5)


def test_subset_keeps_pairs_labels_and_pictures_together():
    corpus = small(caption_image=[2, 0, 1, 0, 2])  # captions need not stand in the order of the images
    train = corpus.subset("train")
    assert train.image_ids == ["a", "c"]
    assert train.captions == ["a cat", "two cats", "a cow", "one cow"]
    assert train.caption_image.tolist() == [1, 0, 0, 1]
    assert train.labels.tolist() == [[1, 0], [1, 1]]
    assert np.array_equal(train.images[0:2], corpus.images[[0, 2]])
    assert np.array_equal(train.images[1], corpus.images[2])
    assert np.array_equal(train.select([1]).images[np.array([0])], corpus.images[[2]])
    with pytest.raises(InputError, match="no split 'val'; it has train, test"):
        corpus.subset("val")
    with pytest.raises(InputError, match="between 0 and 2"):
        corpus.select([3])


def test_key_tells_contents_apart():
    same, other = (
        small().key,
        {
            small(name="x").key,
            small(captions=["a cat", "two cats", "a dog", "a cow", "one cow!"]).key,
            small(captions=["a cat", "two cats", "a dog", "a co", "wone cow"]).key,
            small(caption_image=[0, 1, 1, 2, 2]).key,
            small(labels=[[1, 0], [0, 1], [1, 0]]).key,
            small(split=["train", "test", "val"]).key,
            small(labels=None, label_names=()).key,
        },
    )
    assert same == small().key
    assert len(other) == 7
    assert same not in other
