"""Karpathy's JSON, COCO instances, label files and picture folders, on small files of the published shapes."""

from __future__ import annotations

import json
import struct
import zlib

import numpy as np
import pytest
from PIL import Image
from scipy.io import savemat

from fico_utils import evaluate
from fico_utils.errors import InputError
from fico_utils.extras.corpora.pictures import PROBLEMS, check_images
from fico_utils.extras.corpora.published import COCO_NAMES, COUNTS, read_karpathy, read_published
from fico_utils.extras.corpora.reading import read_json_object

#: Captions of each small image: ragged, as MS-COCO's are.
RAGGED = (5, 6, 5, 7, 5, 5, 5, 6)
SPLITS = ("train", "restval", "val", "test", "test", "restval", "train", "test")


def karpathy(name, counts=RAGGED, splits=SPLITS):
    """A split JSON with the fields of the published ones; COCO ids go backwards, so no order is right by chance."""
    images, sentid = [], 0
    for imgid, (count, split) in enumerate(zip(counts, splits, strict=True)):
        sentences = []
        for n in range(count):
            raw = f"Caption {n} of picture {imgid}.\n"
            sentences.append({"tokens": raw.lower().split(), "raw": raw, "imgid": imgid, "sentid": sentid})
            sentid += 1
        entry = {"sentids": [s["sentid"] for s in sentences], "imgid": imgid, "sentences": sentences, "split": split}
        if name == "mscoco":
            folder = "train2014" if split == "train" else "val2014"
            entry |= {"filepath": folder, "cocoid": 900 - imgid, "filename": f"COCO_{folder}_{900 - imgid:012d}.jpg"}
        else:
            entry |= {"filename": f"{1000 + imgid}.jpg"}
        images.append(entry)
    return {"images": images, "dataset": "coco" if name == "mscoco" else "flickr30k"}


@pytest.fixture
def files(tmp_path):
    """Both JSONs, pictures for each, and COCO's instances."""
    for name in ("flickr30k", "mscoco"):
        content = karpathy(name)
        (tmp_path / f"{name}.json").write_text(json.dumps(content), encoding="utf-8")
        for entry in content["images"]:
            path = tmp_path / name / entry.get("filepath", "") / entry["filename"]
            path.parent.mkdir(parents=True, exist_ok=True)
            Image.new("RGB", (40 + entry["imgid"], 30), (10 * entry["imgid"], 0, 0)).save(path, quality=95)
    categories = [
        {"supercategory": "x", "id": i, "name": n}
        for i, n in zip((90, 1, 44), ("brush", "person", "bottle"), strict=True)
    ]
    for half, (rows, marks) in {
        "train": ((900, 894), [(900, 90), (900, 90), (894, 1)]),
        "val": (range(895, 900), [(899, 44), (899, 1), (897, 90)]),
    }.items():
        instances = {
            "info": {"year": 2014}, "images": [{"id": i, "file_name": "x.jpg"} for i in [*rows, 893]],
            "licenses": [], "annotations": [
                {"segmentation": [[1.5, 2.5]], "image_id": i, "category_id": c, "id": n, "iscrowd": 0}
                for n, (i, c) in enumerate([*marks, (12345, 1)])
            ], "categories": categories,
        }  # fmt: skip
        (tmp_path / f"instances_{half}2014.json").write_text(json.dumps(instances), encoding="utf-8")
    return tmp_path


def both_instances(folder):
    return [folder / "instances_train2014.json", folder / "instances_val2014.json"]


@pytest.mark.parametrize("name", ["flickr30k", "mscoco"])
def test_ragged_captions_and_restval(files, name):
    corpus = read_published(name, files / f"{name}.json", files / name, complete=False)
    assert corpus.split.tolist() == ["train", "train", "val", "test", "test", "train", "train", "test"]
    assert np.bincount(corpus.caption_image).tolist() == list(RAGGED)
    assert corpus.captions[6] == "Caption 1 of picture 1."
    first = {"flickr30k": ["1000.jpg", "1001.jpg"], "mscoco": ["900", "899"]}[name]
    assert corpus.image_ids[:2] == first
    test = corpus.subset("test")
    assert [c.split()[4] for c in test.captions] == [f"{i}." for i in [3] * 7 + [4] * 5 + [7] * 6]
    assert test.images.shape == (3, 224, 224, 3)
    assert test.images[1].mean((0, 1)).round().tolist() == pytest.approx([40, 0, 0], abs=3)  # picture 4 itself
    assert test.images[np.array([2, 0])].shape == (2, 224, 224, 3)


def test_known_scores_come_back_through_the_caption_index(files):
    corpus = read_published("mscoco", files / "mscoco.json", complete=False).subset("test")
    wrong = np.zeros(corpus.n_txt, bool)
    wrong[[0, 7, 12, 13]] = True  # one caption each of pictures 3 and 4, two of picture 7, go to the next picture
    texts = np.eye(3)[(corpus.caption_image + wrong) % 3] + 0.01 * np.eye(3)[corpus.caption_image]
    scores = evaluate(np.eye(3), texts, caption_image=corpus.caption_image, recall_at=(1, 2))
    found = scores[scores.metric == "recall"].set_index(["direction", "k"])["value"]
    assert found["t2i", "1"] == 14 / 18
    assert found["t2i", "2"] == 1.0
    assert found["i2t", "1"] == 1.0


def test_a_whole_flickr30k_has_the_published_counts(tmp_path):
    splits = ["train"] * 29000 + ["val"] * 1014 + ["test"] * 1000
    content = karpathy("flickr30k", [5] * 31014, splits)
    path = tmp_path / "dataset_flickr30k.json"
    path.write_text(json.dumps(content), encoding="utf-8")
    corpus = read_published("flickr30k", path)
    assert (corpus.n_img, corpus.n_txt) == (31014, 155070)
    assert corpus.subset("test").n_txt == COUNTS["flickr30k"]["test"][1]
    content["images"][0]["split"] = "test"
    path.write_text(json.dumps(content), encoding="utf-8")
    with pytest.raises(
        InputError, match=r"has 28999 images and 144995 captions in train, expected the published 29000"
    ):
        read_published("flickr30k", path)


def test_published_counts_add_up():
    assert sum(images for images, _ in COUNTS["mscoco"].values()) == 123287
    assert sum(captions for _, captions in COUNTS["mscoco"].values()) == 616767
    assert len(set(COCO_NAMES)) == 80


def test_instances_become_labels_in_the_order_of_category_ids(files):
    corpus = read_published("mscoco", files / "mscoco.json", instances=both_instances(files), complete=False)
    assert corpus.label_names == ("person", "bottle", "brush")
    expected = np.zeros((8, 3), int)
    expected[[0, 6, 1, 1, 3], [2, 0, 1, 0, 2]] = 1
    assert corpus.labels.tolist() == expected.tolist()


def test_half_of_the_instances_is_refused(files):
    with pytest.raises(InputError, match=r"image 899 is in none of the instances files \(5 such images\); give both"):
        read_published("mscoco", files / "mscoco.json", instances=both_instances(files)[:1], complete=False)


LABELS = np.random.default_rng(0).integers(0, 2, (8, 80))


def write_labels(folder, kind):
    """One label file of a kind; a Query2Label run lists images as its folder did, not as the JSON does."""
    if kind == "mat":
        savemat(folder / "labels.mat", {"LAll": LABELS.astype(float)})
        return {"labels": folder / "labels.mat"}
    if kind == "npy":
        np.save(folder / "labels.npy", LABELS.astype(np.int32))
        return {"labels": folder / "labels.npy"}
    ids = [f"{1000 + i}.jpg" for i in range(8)]
    order = np.random.default_rng(1).permutation(8)
    if kind == "csv":
        rows = [",".join(["image", *(f'"{n}"' for n in COCO_NAMES)])]
        rows += [",".join([ids[i], *LABELS[i].astype(str)]) for i in order]
        (folder / "labels.csv").write_text("\n".join(rows), encoding="utf-8")
        return {"labels": folder / "labels.csv"}
    np.save(folder / "q2l.npy", LABELS[order].astype(np.int32))
    (folder / "q2l.txt").write_text("".join(f"{ids[i]}\n" for i in order), encoding="utf-8")
    return {"labels": folder / "q2l.npy", "label_ids": folder / "q2l.txt"}


@pytest.mark.parametrize("kind", ["mat", "npy", "csv", "query2label"])
def test_flickr30k_labels_of_every_kind(files, kind):
    corpus = read_published("flickr30k", files / "flickr30k.json", complete=False, **write_labels(files, kind))
    assert corpus.labels.tolist() == LABELS.tolist()
    assert corpus.label_names == COCO_NAMES
    assert corpus.labels.dtype == np.uint8


def test_everything_wrong_with_the_pictures_is_listed_and_can_be_left_out(files):
    folder = files / "flickr30k"
    (folder / "1003.jpg").unlink()
    whole = (folder / "1004.jpg").read_bytes()
    (folder / "1004.jpg").write_bytes(whole[: len(whole) // 2])
    Image.new("L", (30, 40), 77).save(folder / "1005.jpg")
    (folder / "1006.jpg").write_bytes(bomb(30000, 30000))
    with pytest.raises(InputError, match=r"1 of 8 pictures are not in .*first: 1003.jpg.*problems.csv"):
        read_published("flickr30k", files / "flickr30k.json", folder, complete=False)
    corpus = read_published("flickr30k", files / "flickr30k.json", folder, complete=False, leave_out=["1003.jpg"])
    assert (corpus.n_img, corpus.n_txt) == (7, sum(RAGGED) - 7)
    found = check_images(corpus)
    assert found == dict(zip(PROBLEMS, ([], ["1004.jpg"], ["1006.jpg"], ["1005.jpg"]), strict=True))
    (folder / "1007.jpg").unlink()
    assert check_images(corpus.subset("test"))["missing"] == ["1007.jpg"]
    gone = ["1003.jpg", *found["unreadable"], *found["too_large"], "1007.jpg"]
    sound = read_published("flickr30k", files / "flickr30k.json", folder, complete=False, leave_out=gone)
    assert sound.image_ids == ["1000.jpg", "1001.jpg", "1002.jpg", "1005.jpg"]
    assert sound.images[3].shape == (224, 224, 3)
    assert sound.images[3][112, 112].tolist() == [77, 77, 77]  # a grey picture is read as grey RGB
    with pytest.raises(InputError, match=r"1004.jpg cannot be read as a picture"):
        corpus.images[3]


def bomb(width, height):
    """A PNG of some bytes that says it has so many pixels."""

    def chunk(kind, data):
        return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))

    head = struct.pack(">IIBBBBB", width, height, 8, 0, 0, 0, 0)
    return (
        b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", head) + chunk(b"IDAT", zlib.compress(bytes(1000))) + chunk(b"IEND", b"")
    )


@pytest.mark.parametrize("side", [10100, 30000], ids=["over our limit", "over Pillow's own"])
def test_an_image_bomb_is_refused_before_it_is_opened(files, side):
    (files / "flickr30k" / "1000.jpg").write_bytes(bomb(side, side))
    corpus = read_published("flickr30k", files / "flickr30k.json", files / "flickr30k", complete=False)
    limit = "(100000000|4000000 of so small a file)"
    with pytest.raises(InputError, match=rf"1000.jpg has .* pixels, expected at most {limit}: shrink"):
        corpus.images[:2]


def change(content, **fields):
    content["images"][2] |= fields


def sentence(content, raw):
    content["images"][2]["sentences"][1]["raw"] = raw


BAD_JSON = {
    "other corpus": (lambda c: c.update(dataset="coco"), "says it is of 'coco', expected 'flickr30k'"),
    "unknown split": (lambda c: change(c, split="dev"), "image 2 has split 'dev' and cocoid None, expected"),
    "no split": (lambda c: c["images"][2].pop("split"), "image 2 has split None and"),
    "no captions": (lambda c: change(c, sentences=[]), r"image row 2 \('1002.jpg'\) has no caption"),
    "duplicate ids": (lambda c: change(c, filename="1000.jpg"), "image 2: image '1000.jpg' is there before"),
    "empty caption": (lambda c: sentence(c, " \n"), r"image 2 \('1002.jpg'\) sentence 1: the caption is empty"),
    "5000 words": (
        lambda c: sentence(c, "word " * 5000),
        "sentence 1: the caption has 5000 words, expected at most 1000",
    ),
    "caption no text": (lambda c: sentence(c, 5), "sentence 1: the caption is 5, expected a text"),
    "path escape": (
        lambda c: change(c, filename="../../etc/passwd"),
        "file name '../../etc/passwd' does not lie inside",
    ),
    "absolute path": (lambda c: change(c, filename="/etc/passwd"), "file name '/etc/passwd' does not lie inside"),
    "no picture": (lambda c: change(c, filename="none.jpg"), r"1 of 8 pictures are not in .*\(first: none.jpg\)"),
    "no images": (lambda c: c.update(images=[]), "json has no rows or entries with a caption, expected one"),
}


@pytest.mark.parametrize("case", BAD_JSON)
def test_bad_split_files_are_refused_in_one_sentence(files, case):
    spoil, said = BAD_JSON[case]
    content = karpathy("flickr30k")
    spoil(content)
    path = files / "flickr30k.json"
    path.write_text(json.dumps(content), encoding="utf-8")
    with pytest.raises(InputError, match=said) as error:
        read_published("flickr30k", path, files / "flickr30k", complete=False)
    assert "\n" not in str(error.value)


@pytest.mark.parametrize(
    ("spoil", "said"),
    [
        (lambda data: data[: len(data) // 2], r"json is truncated or no JSON \(.* line 1 column \d+"),
        (lambda data: data.replace(b"Caption 1", b"Caf\xe9 1"), "is not UTF-8"),
        (lambda data: b"[1, 2]", r"json holds \[1, 2\], expected a JSON object"),
        (lambda data: b"", r"is truncated or no JSON \("),
        (lambda data: data.replace(b'"raw":', b'"raw"'), r"is truncated or no JSON \(.*':'"),
    ],
    ids=["truncated", "not UTF-8", "an array", "empty", "no colon"],
)
def test_a_broken_json_is_one_sentence(files, spoil, said):
    path = files / "flickr30k.json"
    path.write_bytes(spoil(path.read_bytes()))
    with pytest.raises(InputError, match=said):
        read_karpathy(path, "flickr30k")
    with pytest.raises(InputError, match="there is no file"):
        read_karpathy(files / "none.json", "flickr30k")


def test_of_a_json_only_the_wanted_keys_are_kept(tmp_path):
    content = {
        "images": [{"id": 1, "big": [[1.5]], "deep": {"id": 2}}, {"id": "ü", "name": None}],
        "big": [3],
        "id": {},
    }
    (tmp_path / "a.json").write_text(json.dumps(content), encoding="utf-8-sig")
    assert read_json_object(tmp_path / "a.json", ("images", "id", "name")) == {
        "images": [{"id": 1}, {"id": "ü", "name": None}], "id": {},
    }  # fmt: skip
    (tmp_path / "a.json").write_text("[" * 100_000, encoding="utf-8")
    with pytest.raises(InputError, match=r"is truncated or no JSON \("):
        read_json_object(tmp_path / "a.json", ())


def mat73(path):
    path.write_bytes(b"MATLAB 7.3 MAT-file, Platform: GLNXA64".ljust(128, b" ") + bytes(64))


def pickled(path):
    np.save(path, np.array([{"a": 1}], object), allow_pickle=True)


def cut(path):
    np.save(path, LABELS)
    path.write_bytes(path.read_bytes()[:-100])


BAD_LABELS = {
    "other length": ("a.npy", lambda p: np.save(p, LABELS[:5]), "has 5 rows for 8 images, expected one for each"),
    "truncated": ("a.npy", cut, "is truncated or damaged"),
    "pickle": ("a.npy", pickled, "holds Python objects, which are never unpickled"),
    "no HDF5": ("a.mat", mat73, "cannot be read .*: it is truncated or no .mat file"),
    "no LAll": ("a.mat", lambda p: savemat(p, {"other": LABELS}), "has no array 'LAll', only other"),
    "soft scores": ("a.npy", lambda p: np.save(p, LABELS * 0.3), "holds 0.3 in row .*: threshold soft scores first"),
    "one row twice": (
        "a.csv",
        lambda p: p.write_text("image,cat\n1000.jpg,1\n1000.jpg,0\n"),
        r"a.csv row 1: image '1000.jpg' stands in .*a.csv row 0 already",
    ),
    "image without row": (
        "a.csv",
        lambda p: p.write_text("image,cat\n1000.jpg,1\n"),
        r"no row for image '1001.jpg' \(7 ",
    ),
    "no number": (
        "a.csv",
        lambda p: p.write_text("image,cat\n1000.jpg,yes\n"),
        "line 2: cat is 'yes', expected 0 or 1",
    ),
}


@pytest.mark.parametrize("case", BAD_LABELS)
def test_bad_label_files_are_refused_in_one_sentence(files, case):
    name, write, said = BAD_LABELS[case]
    write(files / name)
    with pytest.raises(InputError, match=said) as error:
        read_published("flickr30k", files / "flickr30k.json", labels=files / name, complete=False)
    assert "\n" not in str(error.value)


def test_labels_of_another_order_need_their_ids(files):
    given = write_labels(files, "query2label")
    (files / "q2l.txt").write_text("1000.jpg\n", encoding="utf-8")
    with pytest.raises(InputError, match=r"q2l.txt names 1 images for 8 rows"):
        read_published("flickr30k", files / "flickr30k.json", complete=False, **given)
    with pytest.raises(InputError, match="unknown published corpus 'flickr8k'"):
        read_published("flickr8k", files / "flickr30k.json")
