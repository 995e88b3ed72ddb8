"""`read_corpus`: every published format gives the same corpus, and what is wrong is said with its place."""

from __future__ import annotations

import csv
import io
import json

import numpy as np
import pytest
from PIL import Image

import fico_utils
from fico_utils import registry
from fico_utils.errors import InputError
from fico_utils.extras.corpora import published
from fico_utils.extras.corpora.fetching import fetch
from fico_utils.extras.corpora.folder import read_folder

#: Image -> split and captions; a name below a folder, captions with quotes, commas, other letters, and one twice.
SCENES = {
    "007.jpg": ("train", ['"red" car, parked', "two  dogs"]),
    "val2014/b.jpg": ("val", ["Kühe auf der Straße", "猫が二匹 🐈"]),
    "7.jpg": ("test", ["the same", "the same"]),
    "c.jpg": ("test", ["one | bar", "NA"]),
}
TEXTS = [" ".join(text.split()) for _, texts in SCENES.values() for text in texts]
ROWS = [(image, text) for image, (_, texts) in SCENES.items() for text in texts]


def as_table(rows, header=("image", "caption"), separator=",", end="\n", **options):
    out = io.StringIO(newline="")
    csv.writer(out, delimiter=separator, lineterminator=end, **options).writerows([header, *rows])
    return out.getvalue()


def karpathy(with_ids=True):
    images = []
    for place, (image, (split, texts)) in enumerate(SCENES.items()):
        folder, _, name = image.rpartition("/")
        sentences = [{"raw": text, "tokens": [], "imgid": place, "sentid": 2 * place} for text in texts]
        entry = {"filename": name, "split": split, "sentences": sentences}
        entry |= {"filepath": folder} if folder else {}
        images.append(entry | ({"sentids": [0], "imgid": place, "cocoid": place} if with_ids else {}))
    return {"images": images, "dataset": "mine"}


def coco():
    """Captions by rounds, so that they stand in another order than their images."""
    names = list(SCENES)
    images = [{"id": 70 + place, "file_name": name, "height": 5} for place, name in enumerate(names)]
    notes = [
        {"id": n, "image_id": 70 + names.index(image), "caption": SCENES[image][1][n]}
        for n in (1, 0)
        for image in reversed(names)
    ]
    return {"info": {}, "images": [*images, {"id": 99, "file_name": "bare.jpg"}], "annotations": notes}


FORMATS = {
    "captions.csv": as_table(ROWS),
    "crlf.csv": "\ufeff" + as_table(ROWS, end="\r\n"),
    "names.csv": as_table([(0, text, image.replace("/", "\\")) for image, text in ROWS], ("Nr", "Title", "File_Name")),
    "tabs.tsv": as_table(ROWS, ("filepath", "title"), "\t"),
    "semicolons.csv": as_table(ROWS, separator=";"),
    "plain.tsv": as_table(ROWS, ("filename", "text"), "\t", quoting=csv.QUOTE_NONE, quotechar=None),
    "bars.txt": as_table(ROWS, ("image", "comment"), "|"),
    "metadata.jsonl": "\n".join(json.dumps({"file_name": i, "text": texts}) for i, (_, texts) in SCENES.items())
    + "\n\n",
    "lines.jsonl": "".join(json.dumps({"file_name": i, "caption": text}) + "\r\n" for i, text in ROWS),
    "blip.json": "\ufeff" + json.dumps([{"image": i, "caption": texts} for i, (_, texts) in SCENES.items()]),
    "albef.json": json.dumps([{"image": i, "caption": text, "image_id": f"coco_{i}"} for i, text in ROWS]),
    "dataset_mine.json": json.dumps(karpathy()),
    "dataset_bare.json": json.dumps(karpathy(with_ids=False), ensure_ascii=False),
    "captions_val.json": json.dumps(coco()),
}


def pairs(corpus):
    """(image, caption) of each caption, in order."""
    return [(corpus.images[i], text) for i, text in zip(corpus.caption_image.tolist(), corpus.captions, strict=True)]


def refused(said, place, **given):
    with pytest.raises(InputError, match=said) as error:
        fico_utils.read_corpus(place, **given)
    assert str(error.value).isprintable()


@pytest.mark.parametrize("name", FORMATS)
def test_every_format_gives_the_same_corpus(tmp_path, name):
    (tmp_path / name).write_bytes(FORMATS[name].encode())
    corpus = fico_utils.read_corpus(tmp_path / name)
    bare = ["bare.jpg"] if name == "captions_val.json" else []
    assert corpus.images == [*SCENES, *bare]
    assert sorted(pairs(corpus)) == sorted(zip([image for image, _ in ROWS], TEXTS, strict=True))
    if name != "captions_val.json":
        assert corpus.captions == TEXTS
    said = [split for split, _ in SCENES.values()] if name.startswith("dataset") else [None] * (4 + len(bare))
    assert corpus.splits == said
    assert (corpus.labels, corpus.regions, corpus.paths) == (None, None, None)
    assert corpus.caption_image.dtype == np.int64


def test_captions_keep_the_order_of_the_file(tmp_path):
    (tmp_path / "c.json").write_text(FORMATS["captions_val.json"], encoding="utf-8")
    assert fico_utils.read_corpus(tmp_path / "c.json").captions == [
        TEXTS[2 * i + n] for n in (1, 0) for i in (3, 2, 1, 0)
    ]


@pytest.mark.parametrize("split", ["train", "val", "test"])
def test_a_split_is_what_its_images_are(tmp_path, split):
    content = karpathy()
    content["images"][0]["split"] = "restval"
    (tmp_path / "k.json").write_text(json.dumps(content), encoding="utf-8")
    part = fico_utils.read_corpus(tmp_path / "k.json", split=split)
    assert part.images == [image for image, (own, _) in SCENES.items() if own == split]
    assert pairs(part) == [(i, t) for (i, _), t in zip(ROWS, TEXTS, strict=True) if SCENES[i][0] == split]
    assert set(part.splits) == {split}
    refused("has no split 'dev'; those that it has are train, val", tmp_path / "k.json", split="dev")


#: Flickr30K's published table: spaces behind the bars, and a line without its last bar.
FLICKR = """image_name| comment_number| comment
1.jpg| 0| A "big" dog , runs .
1.jpg| 4   A dog runs across the grass .
2.jpg| 0| "Ok" he says .
"""


def test_flickr30ks_table(tmp_path):
    (tmp_path / "results.csv").write_text(FLICKR, encoding="utf-8")
    corpus = fico_utils.read_corpus(tmp_path / "results.csv")
    texts = ['A "big" dog , runs .', "A dog runs across the grass .", '"Ok" he says .']
    assert pairs(corpus) == list(zip(["1.jpg", "1.jpg", "2.jpg"], texts, strict=True))
    (tmp_path / "results.csv").write_text("image|comment_number|comment\n1.jpg|0|a\n2.jpg|red\n", encoding="utf-8")
    refused("results.csv line 3: the caption is empty", tmp_path / "results.csv")
    (tmp_path / "results.csv").write_text("image,title,text\n1.jpg,no,yes\n", encoding="utf-8")
    assert fico_utils.read_corpus(tmp_path / "results.csv").captions == ["no"]
    assert fico_utils.read_corpus(tmp_path / "results.csv", caption_column="text").captions == ["yes"]


def with_pictures(folder, names=tuple(SCENES)):
    for place, name in enumerate(names):
        (folder / "images" / name).parent.mkdir(parents=True, exist_ok=True)
        Image.new("RGB", (6, 6), (60 * place, 0, 0)).save(folder / "images" / name)
    return folder


@pytest.mark.parametrize("name", ["captions.csv", "captions.tsv", "metadata.jsonl", "images/metadata.jsonl"])
def test_a_folder_of_each_kind_is_read_fetched_and_run(tmp_path, name):
    around = "images/" if name == "metadata.jsonl" else ""
    folder, separator = with_pictures(tmp_path / "mine"), "\t" if name.endswith("tsv") else ","
    lines = "".join(json.dumps({"file_name": around + i, "text": texts}) + "\n" for i, (_, texts) in SCENES.items())
    (folder / name).write_text(
        lines if name.endswith("jsonl") else as_table(ROWS, separator=separator), encoding="utf-8"
    )
    splits = [(image.replace("/", "\\"), split) for image, (split, _) in SCENES.items()]
    (folder / "splits.csv").write_text(as_table(splits, ("image", "split")), encoding="utf-8")
    (folder / "labels.csv").write_text("image,label\n7.jpg,b\nimages/val2014/b.jpg,a\n", encoding="utf-8")
    corpus = fico_utils.read_corpus(folder)
    assert (corpus.images, corpus.captions) == (list(SCENES), TEXTS)
    assert corpus.splits == [split for split, _ in SCENES.values()]
    assert corpus.label_names == ("a", "b")
    assert corpus.labels.tolist() == [[0, 0], [1, 0], [0, 1], [0, 0]]
    assert [Image.open(path).getpixel((0, 0))[0] // 50 for path in corpus.paths] == [0, 1, 2, 3]
    said = []
    fetch([str(folder)], tmp_path, said.append, progress=False)
    assert "train 1 / 2, val 1 / 2, test 2 / 4" in said[-1]
    assert "1 captions stand at their image already and are kept" in said[-1]
    ran = read_folder(folder)
    assert (ran.image_ids, ran.captions, ran.split.tolist()) == (corpus.images, corpus.captions, corpus.splits)


def test_listed_pictures_are_left_out_wherever_the_captions_stand(tmp_path):
    folder = with_pictures(tmp_path)
    (folder / "captions.csv").write_text(as_table(ROWS), encoding="utf-8")
    (folder / "k.json").write_text(json.dumps(karpathy()), encoding="utf-8")
    (folder / "images" / "7.jpg").unlink()
    for place in (folder, folder / "k.json", folder / "captions.csv"):
        refused(r"1 of 4 pictures are not in .*first: 7.jpg", place)
    assert fico_utils.read_corpus(folder / "k.json", split="val").paths == [f"{folder}/images/val2014/b.jpg"]
    (folder / "problems.csv").write_text("image,problem\n7.jpg,missing\nc.jpg,greyscale\n", encoding="utf-8")
    for place in (folder, folder / "k.json", folder / "captions.csv"):
        corpus = fico_utils.read_corpus(place)
        assert corpus.images == ["007.jpg", "val2014/b.jpg", "c.jpg"]
        assert pairs(corpus) == [(i, t) for (i, _), t in zip(ROWS, TEXTS, strict=True) if i != "7.jpg"]
        assert corpus.paths == [f"{folder}/images/{image}" for image in corpus.images]


def test_a_folder_without_splits_says_none_and_a_run_makes_them(tmp_path):
    folder = with_pictures(tmp_path)
    (folder / "captions.csv").write_text(as_table(ROWS), encoding="utf-8")
    assert fico_utils.read_corpus(folder).splits == [None] * 4
    assert set(read_folder(folder).split) <= {"train", "val", "test"}
    refused("has no split 'test'; those that it has are none", folder, split="test")


@pytest.fixture(params=[1, 5], ids=["1x", "5x"])
def arrays(tmp_path, request):
    """SCAN's folder: 3 images to train, 2 to test, 4 in all of the test split."""
    for place, (split, n) in enumerate({"train": 3, "test": 2, "testall": 4}.items()):
        regions = (np.arange(n * 6, dtype=np.float32) + 100 * place).reshape(n, 2, 3)
        np.save(tmp_path / f"{split}_ims.npy", np.repeat(regions, request.param, 0))
        (tmp_path / f"{split}_caps.txt").write_text("".join(f"{split} {i} {k}\n" for i in range(n) for k in range(5)))
        (tmp_path / f"{split}_ids.txt").write_text("".join(f"{10 * (place == 0) + i}\n" for i in range(n)))
    return tmp_path


def test_scans_arrays_and_testall(arrays):
    corpus = fico_utils.read_corpus(arrays)
    assert corpus.images == ["10", "11", "12", "0", "1"]
    assert corpus.splits == ["train"] * 3 + ["test"] * 2
    assert corpus.captions[16] == "test 0 1"
    assert corpus.caption_image.tolist() == np.repeat(np.arange(5), 5).tolist()
    expected = np.concatenate([np.arange(18), np.arange(12) + 100]).reshape(5, 2, 3)
    assert np.array_equal(corpus.regions, expected)
    assert np.array_equal(corpus.regions[[3, 0]], expected[[3, 0]])
    assert np.array_equal(corpus.regions[-1], expected[-1])
    assert corpus.regions[5:].shape == (0, 2, 3)
    whole = fico_utils.read_corpus(arrays, split="testall")
    assert (whole.images, len(whole.captions), whole.splits) == (["0", "1", "2", "3"], 20, ["testall"] * 4)
    assert np.array_equal(whole.regions, np.arange(24).reshape(4, 2, 3) + 200)
    refused("has no split 'val'; those that it has are train, test", arrays, split="val")


def test_a_known_corpus_by_its_id(tmp_path, monkeypatch):
    drawn = fico_utils.read_corpus("picto_people", split="test")
    assert len(drawn.captions) == len(drawn.caption_image) > len(drawn.images) == len(drawn.labels) > 0
    assert (drawn.paths, drawn.regions) == (None, None)
    monkeypatch.setitem(published.COUNTS, "mscoco", {"train": (1, 2), "val": (1, 2), "test": (2, 4)})
    monkeypatch.setattr("fico_utils.extras.corpora.library.PROJECT", tmp_path)
    monkeypatch.setattr("fico_utils.extras.corpora.places.PROJECT", tmp_path)
    folder = with_pictures(tmp_path / "data" / "mscoco")
    content = karpathy() | {"dataset": "coco"}
    (folder / "dataset_coco.json").write_text(json.dumps(content), encoding="utf-8")
    corpus = fico_utils.read_corpus("mscoco")
    assert (corpus.images, corpus.captions) == (list(SCENES), TEXTS)
    assert corpus.paths == [f"{folder}/images/{image}" for image in SCENES]
    (folder / "problems.csv").write_text("image,problem\n2,unreadable\n", encoding="utf-8")
    assert fico_utils.read_corpus("mscoco", split="test").images == ["c.jpg"]
    refused("unknown corpus 'nowhere'", "nowhere")
    refused("there is no file or folder .*none.json", tmp_path / "none.json")
    assert "mscoco" in registry.known_corpora()


BAD = {
    "a.json": [
        ("[1]", r"a.json entry 0 is 1, expected an object such as \{'image'"),
        ('[{"image": "a.jpg"}]', "entry 0 has no caption; expected it under caption, title, text, comment, or name it"),
        ('[{"image": "a.jpg", "caption": "x"}, {"caption": "x"}]', "entry 1 has no image; expected it under image"),
        ('[{"image": 7, "caption": "x"}]', "entry 0: file name 7 does not lie inside"),
        ('[{"image": "a/../../b.jpg", "caption": "x"}]', "file name 'a/../../b.jpg' does not lie inside"),
        ('[{"image": "a.jpg", "caption": ["x", 5]}]', "entry 0: the caption is 5, expected a text"),
        ('[{"image": "a.jpg", "caption": {}}]', r"entry 0: the caption is \{\}, expected a text"),
        ('[{"image": "a.jpg", "caption": "\\ud800"}]', r"entry 0: the caption is '\\ud800', expected a text"),
        ('[{"image": "a.jpg", "caption": "x", "split": 1}]', "entry 0: the split is 1, expected a text"),
        ('[{"image": "a", "caption": "x"}, {"image": "a", "caption": "x", "split": [1]}]', "entry 1: the split is"),
        ("[]", "a.json has no rows or entries with a caption"),
        ('[{"image": "a.jpg", "cap', r"a.json is truncated or no JSON \(Unterminated string.*line 1"),
        ("{}\n{}", r"Extra data: line 2 column 1.*name it .jsonl if each line is an object"),
        ("5", "a.json has no list 'images'; expected Karpathy's JSON"),
        ('{"images": [{"filename": "a.jpg"}]}', "image 0 .'a.jpg'. has no list 'sentences'"),
        ('{"images": [{"filename": "a.jpg", "sentences": [{}]}]}', "sentence 0 has no caption; expected it under raw"),
        ('{"images": [], "annotations": {}}', "a.json has no list 'annotations'"),
        ('{"images": [{"id": 1, "file_name": "a"}, {"id": 1, "file_name": "b"}], "annotations": []}', "the id 1 of"),
        ('{"images": [], "annotations": [{"image_id": [3], "caption": "x"}]}', r"annotation 0 is of image \[3\]"),
        ('{"images": [{"id": 1, "file_name": "a"}], "annotations": [{"image_id": 1}]}', "annotation 0 has no caption"),
    ],
    "a.jsonl": [
        ('{"file_name": "a.jpg", "text": "x"}\n{"file_name": "b.jpg", "te', r"a.jsonl line 2 is truncated or no JSON"),
        ('{"file_name": "a.jpg", "text": "x"}\n\n[]', r"a.jsonl line 3 is \[\], expected an object"),
    ],
    "a.csv": [
        ("image,words\na.jpg,x\n", "columns image, words has no caption; expected it under caption, title"),
        (" image,image,caption\na.jpg,b.jpg,x\n", "has columns image, image, caption, expected each name once"),
        ("image,caption\n", "a.csv has no rows"),
        ("image\tcaption, long\na.jpg\tx\n", "columns image, caption, long has no caption"),
        ("image,caption,split\na.jpg,x,val\na.jpg,y,test\n", "line 3: image 'a.jpg' is there before, expected it"),
    ],
    "a.npy": [("x", "is none of .json, .jsonl, .csv")],
}  # fmt: skip


@pytest.mark.parametrize(("name", "text", "said"), [(name, *case) for name, cases in BAD.items() for case in cases])
def test_what_is_wrong_is_said_with_its_place(tmp_path, name, text, said):
    (tmp_path / name).write_text(text, encoding="utf-8")
    refused(said, tmp_path / name)


def test_wrong_places_are_one_sentence(tmp_path):
    refused("has neither images/ nor arrays such as test_ims.npy", tmp_path)
    refused("was given 5, expected a text", 5)
    refused("was given 5, expected a text", tmp_path, image_column=5)
    refused("unknown corpus", "a\0b")
