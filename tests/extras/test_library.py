"""A corpus by its id: published ones, Openclipart and folders of one's own, from one data folder."""

from __future__ import annotations

import json

import numpy as np
import pytest
from PIL import Image

from fico_utils import registry
from fico_utils.data.features import global_features
from fico_utils.data.pictoscenes import make_corpus
from fico_utils.errors import InputError
from fico_utils.extras.corpora import published
from fico_utils.extras.corpora.folder import export_folder, read_folder, write_folder
from fico_utils.extras.corpora.library import find_corpora, folder_corpus

TINY = {"train": (3, 15), "val": (1, 5), "test": (2, 10)}


@pytest.fixture(autouse=True)
def no_fetched_corpora(monkeypatch):
    """What another test found in the project's own data folder, where somebody has fetched it, is not known here."""
    monkeypatch.setattr(registry, "_added_corpora", {})


@pytest.fixture
def data_dir(tmp_path, monkeypatch):
    """A data folder with a tiny Flickr30K and MS-COCO, in the layout of the real ones."""
    for name in ("flickr30k", "mscoco"):
        monkeypatch.setitem(published.COUNTS, name, TINY)
        images = []
        for i, split in enumerate(("train", "restval", "train", "val", "test", "test")):
            entry = {"split": split, "sentences": [{"raw": f"Caption {n} of picture {i}."} for n in range(5)]}
            entry |= {"filename": f"{i}.jpg"}
            if name == "mscoco":
                entry |= {"filepath": "val2014", "cocoid": 70 + i}
            images.append(entry)
            path = tmp_path / name / "images" / entry.get("filepath", "") / entry["filename"]
            path.parent.mkdir(parents=True, exist_ok=True)
            Image.new("RGB", (40, 30), (40 * i, 0, 0)).save(path)
        short = {"flickr30k": "flickr30k", "mscoco": "coco"}[name]
        text = json.dumps({"images": images, "dataset": short})
        (tmp_path / name / f"dataset_{short}.json").write_text(text, encoding="utf-8")
    (tmp_path / "mscoco" / "annotations").mkdir()
    for half in ("train", "val"):
        instances = {
            "images": [{"id": 70 + i} for i in range(6)] if half == "val" else [],
            "annotations": [{"image_id": 72, "category_id": 3}] if half == "val" else [],
            "categories": [{"id": 3, "name": "car"}, {"id": 1, "name": "person"}],
        }
        path = tmp_path / "mscoco" / "annotations" / f"instances_{half}2014.json"
        path.write_text(json.dumps(instances), encoding="utf-8")
    return tmp_path


def read(name, data_dir, **given):
    return registry.corpus(name).open_reader().read_pictures(data_dir, **{"size": 8, **given})


def test_published_corpora_are_read_from_their_layout(data_dir):
    coco = read("mscoco", data_dir)
    assert (coco.n_img, coco.n_txt, coco.label_names) == (6, 30, ("person", "car"))
    assert coco.labels.sum(0).tolist() == [0, 1]
    assert coco.images[3].mean((0, 1)).round() == pytest.approx([120, 0, 0], abs=4)
    flickr = read("flickr30k", data_dir)
    assert flickr.labels is None
    np.save(data_dir / "made.npy", np.eye(6, dtype=np.uint8)[::-1])
    (data_dir / "ids.txt").write_text("".join(f"{i}.jpg\n" for i in range(6)[::-1]), encoding="utf-8")
    labelled = read("flickr30k", data_dir, labels=("made.npy", "ids.txt"))
    assert labelled.labels.tolist() == np.eye(6).tolist()
    assert [p.name for p in registry.corpus("mscoco").open_reader().files(data_dir)] == [
        "dataset_coco.json", "instances_train2014.json", "instances_val2014.json",
    ]  # fmt: skip


def test_what_is_not_there_says_how_to_get_it(tmp_path):
    for name, file in (("mscoco", "dataset_coco.json"), ("openclipart", "captions.csv")):
        with pytest.raises(InputError, match=rf"no file .*{file}; get it with `python -m fico_utils fetch {name}`"):
            read(name, tmp_path)


def test_listed_pictures_are_left_out_and_unlisted_ones_are_not(data_dir):
    (data_dir / "flickr30k" / "images" / "4.jpg").unlink()
    with pytest.raises(InputError, match=r"1 of 6 pictures are not in .*first: 4.jpg"):
        read("flickr30k", data_dir)
    problems = data_dir / "flickr30k" / "problems.csv"
    problems.write_text("image,problem\n4.jpg,missing\n0.jpg,greyscale\n1.jpg,unreadable\n", encoding="utf-8")
    assert read("flickr30k", data_dir).image_ids == ["0.jpg", "2.jpg", "3.jpg", "5.jpg"]
    assert read("flickr30k", data_dir, whole=True).n_img == 6
    (data_dir / "flickr30k" / "images" / "5.jpg").unlink()
    with pytest.raises(InputError, match=r"first: 5.jpg"):
        read("flickr30k", data_dir)


def test_regions_in_scans_layout_bring_the_corpus(data_dir):
    folder, rng = data_dir / "mscoco" / "scan_arrays", np.random.default_rng(0)
    folder.mkdir()
    arrays = {split: rng.standard_normal((2, 4, 6)).astype(np.float32) for split in ("train", "dev", "test")}
    for n, (split, array) in enumerate(arrays.items()):
        np.save(folder / f"{split}_ims.npy", array)
        (folder / f"{split}_caps.txt").write_text("a caption\n" * 10, encoding="utf-8")
        (folder / f"{split}_ids.txt").write_text(f"{70 + 2 * n}\n{71 + 2 * n}\n", encoding="utf-8")
    corpus, regions = registry.corpus("mscoco").open_reader().read_regions(data_dir)
    assert corpus.split.tolist() == ["train"] * 2 + ["val"] * 2 + ["test"] * 2
    assert corpus.labels[:, 1].tolist() == [0, 0, 1, 0, 0, 0]
    assert np.array_equal(regions["val"], arrays["dev"])
    wide = global_features(regions["test"], block=1)
    assert np.allclose(wide[:, :6], arrays["test"].mean(1), atol=1e-3)
    assert np.allclose(wide[:, 6:], arrays["test"].max(1), atol=2e-3)


def own(folder, text="", n=3):
    for i in range(n):
        path = folder / "images" / f"{i}.png"
        path.parent.mkdir(parents=True, exist_ok=True)
        Image.new("RGB", (5, 5), (i, 0, 0)).save(path)
    rows = [(f"{i}.png", f"picture number {i}") for i in range(n)]
    write_folder(folder, rows, None, [(image, "test") for image, _ in rows])
    if text:
        (folder / "corpus.yaml").write_text(text, encoding="utf-8")
    return folder


def test_a_folder_becomes_a_corpus_without_code(tmp_path):
    own(tmp_path / "My Pictures", "name: Holidays\nphotographs: false\nbeside: flickr30k\nprovenance: mine\n")
    own(tmp_path / "plain")
    (tmp_path / "flickr30k" / "images").mkdir(parents=True)
    (tmp_path / "flickr30k" / "captions.csv").write_text("", encoding="utf-8")  # a published corpus stays what it is
    known = find_corpora(tmp_path)
    info = known["my_pictures"]
    assert (info.name, info.photographs, info.beside, info.provenance) == ("Holidays", False, "flickr30k", "mine")
    assert (known["plain"].name, known["plain"].beside) == ("plain", None)
    assert list(known) == ["my_pictures", "plain"]
    assert info.open_reader().read_pictures(tmp_path / "elsewhere", size=8).captions[2] == "picture number 2"


def test_openclipart_keeps_its_provenance(tmp_path):
    own(tmp_path / "openclipart")
    info = find_corpora(tmp_path)["openclipart"]
    assert (info.name, info.photographs) == ("Openclipart", False)
    assert "public domain" in info.provenance


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("name: [1, 2]", "expected any of name"),
        ("colour: red", "expected any of name"),
        ("photographs: maybe", "photographs"),
        ("- name", "expected any of name"),
        ("name: 'x", "is no YAML"),
        ("beside: imagenet", "says beside: imagenet; expected mscoco or flickr30k"),
    ],
)
def test_a_wrong_corpus_yaml_is_one_sentence(tmp_path, text, said):
    with pytest.raises(InputError, match=said) as error:
        folder_corpus(own(tmp_path / "mine", text))
    assert "\n" not in str(error.value)


def test_a_folder_may_not_take_the_name_of_another_corpus(tmp_path):
    for name in ("mscoco", "Picto-People", "---"):
        with pytest.raises(InputError, match="cannot give a corpus its name"):
            folder_corpus(own(tmp_path / name))


def test_a_corpus_goes_to_a_folder_and_back(tmp_path):
    made = make_corpus("picto_people", {"train": 3, "val": 1, "test": 2})
    back = read_folder(export_folder(made, tmp_path / "out"), size=96)
    assert back.image_ids == [f"{i}.png" for i in made.image_ids]
    assert back.split.tolist() == made.split.tolist()
    assert set(zip(back.caption_image.tolist(), back.captions, strict=True)) == set(
        zip(made.caption_image.tolist(), made.captions, strict=True)
    )
    kept = [made.label_names.index(name) for name in back.label_names]
    assert np.array_equal(back.labels, made.labels[:, kept])
    assert np.array_equal(back.images[:], made.images[:])


def test_the_key_of_pictures_is_their_content(tmp_path, monkeypatch):
    from fico_utils.extras.corpora import pictures

    keys = [read_folder(own(tmp_path / name), size=size).images.key for name, size in (("a", 8), ("b", 8), ("c", 16))]
    assert keys[0] == keys[1] != keys[2]
    Image.new("RGB", (5, 5), (9, 0, 0)).save(tmp_path / "b" / "images" / "1.png")
    assert read_folder(tmp_path / "b", size=8).images.key != keys[0]
    monkeypatch.setattr(pictures, "HASHED", 10)  # many files: their sizes stand for them
    large = read_folder(tmp_path / "a", size=8).images.key
    (tmp_path / "a" / "images" / "2.png").write_bytes(b"longer" * 100)
    assert read_folder(tmp_path / "a", size=8).images.key != large
