"""A folder corpus: every column and row is checked, and said with its file and line."""

from __future__ import annotations

import numpy as np
import pytest
from PIL import Image

from fico_utils import evaluate
from fico_utils.data.corpus import Corpus
from fico_utils.errors import InputError
from fico_utils.extras.corpora.folder import read_folder, write_folder
from fico_utils.extras.corpora.pictures import FileImages

CAPTIONS = 'image,caption\nb.png,A cat\na.jpg,"A dog, running\nfast"\nb.png,Two  cats\nsub/c.png,Ein Käfer\n'
NAMES = ("a.jpg", "b.png", "sub/c.png")


@pytest.fixture
def folder(tmp_path):
    path = tmp_path / "own"
    for place, name in enumerate(NAMES):
        (path / "images" / name).parent.mkdir(parents=True, exist_ok=True)
        Image.new("RGB", (20, 10 + place), (50 * place, 0, 0)).save(path / "images" / name)
    (path / "captions.csv").write_text(CAPTIONS, encoding="utf-8")
    (path / "labels.csv").write_text("image,label\na.jpg,animal\nb.png,cat\nb.png,animal\n", encoding="utf-8")
    (path / "splits.csv").write_text("image,split\na.jpg,train\nb.png,test\nsub/c.png,val\n", encoding="utf-8")
    return path


def test_a_folder_is_a_corpus(folder):
    corpus = read_folder(folder)
    assert corpus.name == "own"
    assert corpus.image_ids == ["b.png", "a.jpg", "sub/c.png"]
    assert corpus.captions == ["A cat", "A dog, running fast", "Two cats", "Ein Käfer"]
    assert corpus.caption_image.tolist() == [0, 1, 0, 2]
    assert corpus.split.tolist() == ["test", "train", "val"]
    assert corpus.label_names == ("animal", "cat")
    assert corpus.labels.tolist() == [[1, 1], [1, 0], [0, 0]]
    pictures = read_folder(folder, size=16).images
    assert pictures[:].shape == (3, 16, 16, 3)
    assert pictures[0][0, 0].tolist() == [255, 255, 255]  # padded, so that nothing is cut off
    assert pictures[0][8, 8].tolist() == [50, 0, 0]
    assert FileImages(pictures.paths, 16, "crop")[0][0, 0].tolist() == [50, 0, 0]


def test_known_scores_come_back(folder):
    corpus = read_folder(folder)
    texts = np.array([[1, 0, 0], [1, 0.5, 0], [1, 0, 0], [0, 0, 1]])  # the caption of image 1 is nearer to image 0
    scores = evaluate(np.eye(3), texts, caption_image=corpus.caption_image, labels=corpus.labels, recall_at=(1, 2))
    values = scores.set_index(["direction", "metric", "k"])["value"]
    assert values["t2i", "recall", "1"] == 3 / 4
    assert values["t2i", "recall", "2"] == 1
    assert values["i2t", "recall", "1"] == 1


def test_labels_may_be_a_table_and_splits_may_be_made(folder):
    (folder / "labels.csv").write_text("image,cat,animal\na.jpg,0,1\nsub/c.png,0,0\nb.png,1,1\n", encoding="utf-8")
    (folder / "splits.csv").unlink()
    corpus = read_folder(folder)
    assert corpus.label_names == ("cat", "animal")
    assert corpus.labels.tolist() == [[1, 1], [0, 1], [0, 0]]
    assert corpus.split.tolist() == read_folder(folder).split.tolist()
    (folder / "labels.csv").unlink()
    assert read_folder(folder).labels is None


def test_transparent_and_16_bit_pictures(folder):
    Image.new("RGBA", (8, 8), (255, 0, 0, 0)).save(folder / "images" / "b.png")
    Image.fromarray(np.full((8, 8), 0x8000, np.uint16)).save(folder / "images" / "sub" / "c.png")
    images = read_folder(folder, size=8).images
    assert images[0][4, 4].tolist() == [255, 255, 255]
    assert images[2][4, 4].tolist() == [128, 128, 128]


def test_what_is_written_is_what_is_read(tmp_path):
    (tmp_path / "images").mkdir()
    Image.new("RGB", (4, 4)).save(tmp_path / "images" / "x.png")
    write_folder(tmp_path, [("x.png", 'He said "no", 1\u202f000 times')], [("x.png", "a,b")], [("x.png", "test")])
    corpus = read_folder(tmp_path)
    assert isinstance(corpus, Corpus)
    assert corpus.captions == ['He said "no", 1 000 times']
    assert corpus.label_names == ("a,b",)


def test_missing_pictures_are_refused_or_left_out(folder):
    (folder / "images" / "a.jpg").unlink()
    with pytest.raises(InputError, match=r"1 of 3 pictures are not in .*first: a.jpg.*list them in problems.csv"):
        read_folder(folder)
    assert read_folder(folder, leave_out=["a.jpg"]).image_ids == ["b.png", "sub/c.png"]
    assert read_folder(folder, leave_out=None).n_img == 3


CSV = {
    "empty caption": ("captions", CAPTIONS + "b.png,  \n", r"captions.csv line 7: the caption is empty"),
    "5000 words": (
        "captions",
        CAPTIONS + "b.png," + "w " * 5000,
        "line 7: the caption has 5000 words, expected at most",
    ),
    "path escape": (
        "captions",
        CAPTIONS + "../own/images/b.png,x\n",
        "line 7: file name '../own/images/b.png' does not lie",
    ),
    "absolute path": ("captions", CAPTIONS + "/b.png,x\n", "line 7: file name '/b.png' does not lie inside"),
    "no image": ("captions", CAPTIONS + ",x\n", "line 7: file name '' does not lie inside"),
    "blank line": ("captions", CAPTIONS + "\nb.png,x\n", "line 7: file name '' does not lie inside"),
    "other columns": ("captions", "file,text\nb.png,x\n", "columns file, text has no image; expected it under image,"),
    "surplus comma": ("captions", CAPTIONS + "b.png,x, y\n", "cannot be read as CSV .*line 6.*quote fields"),
    "all surplus": ("captions", "image,caption\nb.png,x, y\n", "captions.csv .*quote fields that hold a comma"),
    "no rows": ("captions", "image,caption\n", "captions.csv has no rows"),
    "empty": ("captions", "", "captions.csv cannot be read as CSV"),
    "label of nothing": (
        "labels",
        "image,label\na.jpg,x\nz.jpg,x\n",
        "labels.csv line 3: image 'z.jpg' is not in captions",
    ),
    "empty label": ("labels", "image,label\na.jpg,x\na.jpg,\n", "labels.csv line 3: the label is empty"),
    "label value": ("labels", "image,x\na.jpg,0\nb.png,2\n", "labels.csv line 3: x is '2', expected 0 or 1"),
    "labels short": ("labels", "image,x\na.jpg,0\n", r"no row for image 'b.png' \(2 such images\)"),
    "labels twice": (
        "labels",
        "image,x\na.jpg,0\na.jpg,1\n",
        "line 3: image 'a.jpg' stands in .*labels.csv line 2 already",
    ),
    "split name": (
        "splits",
        "image,split\na.jpg,dev\n",
        "splits.csv line 2: the split is 'dev', expected train, val, test",
    ),
    "split short": ("splits", "image,split\na.jpg,train\n", r"no row for image 'b.png' \(2 such images\)"),
}


@pytest.mark.parametrize("case", CSV)
def test_bad_rows_are_refused_with_their_line(folder, case):
    name, text, said = CSV[case]
    (folder / f"{name}.csv").write_text(text, encoding="utf-8")
    with pytest.raises(InputError, match=said) as error:
        read_folder(folder)
    assert "\n" not in str(error.value)


def test_other_bytes_than_utf8_and_no_images(folder, tmp_path):
    (folder / "captions.csv").write_bytes("image,caption\nb.png,A cat\na.jpg,café\n".encode("latin-1"))
    with pytest.raises(InputError, match=r"captions.csv line 3 holds byte 0xe9, which is not UTF-8 there"):
        read_folder(folder)
    with pytest.raises(InputError, match=r"has no folder images, expected images/ and captions.csv"):
        read_folder(tmp_path)
