"""`fetch` against a small server of its own: what it downloads, unpacks, records, compares, lists and refuses."""

from __future__ import annotations

import functools
import http.server
import json
import re
import threading
import zipfile
from typing import ClassVar

import numpy as np
import pytest
from PIL import Image

from fico_utils.errors import InputError
from fico_utils.extras.corpora import fetching, published
from fico_utils.extras.corpora.fetching import Part, fetch
from fico_utils.extras.corpora.folder import write_folder
from fico_utils.provenance import PROJECT

N = 150


class Quiet(http.server.SimpleHTTPRequestHandler):
    """Serves files without a word, and counts what was asked for."""

    asked: ClassVar[list[str]] = []

    def log_message(self, *_):
        """Nothing."""

    def do_GET(self):
        self.asked.append(self.path)
        super().do_GET()


@pytest.fixture(autouse=True)
def known_corpora(monkeypatch):
    monkeypatch.setitem(
        published.COUNTS, "mscoco", {"train": (N - 20, 5 * (N - 20)), "val": (10, 50), "test": (10, 50)}
    )
    monkeypatch.setattr(Quiet, "asked", [])


@pytest.fixture
def server(tmp_path):
    """Folder and address of a server with small archives of the published structure."""
    folder = tmp_path / "server"
    folder.mkdir()
    splits = ["train"] * (N - 20) + ["val"] * 10 + ["test"] * 10
    images = [
        {
            "cocoid": i, "filepath": "train2014", "filename": f"{i}.jpg", "split": split,
            "sentences": [{"raw": f"caption {n} of {i}"} for n in range(5)],
        }
        for i, split in enumerate(splits)
    ]  # fmt: skip
    with zipfile.ZipFile(folder / "caption_datasets.zip", "w") as archive:
        archive.writestr("dataset_coco.json", json.dumps({"images": images, "dataset": "coco"}))
        archive.writestr("dataset_flickr8k.json", "{}")
    with zipfile.ZipFile(folder / "annotations.zip", "w") as archive:
        for half in ("train", "val"):
            body = {"images": [{"id": i} for i in range(N)], "annotations": [], "categories": [{"id": 1, "name": "p"}]}
            archive.writestr(f"annotations/instances_{half}2014.json", json.dumps(body))
        archive.writestr("annotations/captions_val2014.json", "{}")
    pictures(folder / "train2014.zip")
    handler = functools.partial(Quiet, directory=str(folder))
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), handler) as running:
        threading.Thread(target=running.serve_forever, daemon=True).start()
        yield folder, f"http://127.0.0.1:{running.server_address[1]}"
        running.shutdown()


def pictures(path, spoiled=(), absent=()):
    from io import BytesIO

    with zipfile.ZipFile(path, "w") as archive:
        for i in range(N):
            file = BytesIO()
            Image.new("RGB", (8, 8), (i, 0, 0)).save(file, "PNG")
            content = b"no picture" if i in spoiled else file.getvalue()
            if i not in absent:
                archive.writestr(f"train2014/{i}.jpg", content)


def parts(address):
    return {
        "mscoco": (
            Part("dataset_coco.json", "the splits", f"{address}/caption_datasets.zip", "dataset_coco.json"),
            Part("annotations", "80 categories", f"{address}/annotations.zip", "annotations/instances_"),
            Part("images/train2014", "the pictures", f"{address}/train2014.zip", "train2014/"),
        )
    }


def get(data_dir, address, names=("mscoco",)):
    said = []
    fetch(names, data_dir, said.append, progress=False, parts=parts(address))
    return "\n".join(said)


def test_everything_is_downloaded_once_checked_and_recorded(server, tmp_path):
    data_dir = tmp_path / "data"
    said = get(data_dir, server[1])
    assert "annotations CC BY 4.0" in said
    assert f"images / captions: train {N - 20} / {5 * (N - 20)}, val 10 / 50, test 10 / 50" in said
    folder = data_dir / "mscoco"
    assert len(list((folder / "images" / "train2014").iterdir())) == N
    assert not (folder / "dataset_flickr8k.json").exists()
    assert sorted(p.name for p in (folder / "annotations").iterdir()) == [
        "instances_train2014.json", "instances_val2014.json",
    ]  # fmt: skip
    sums = json.loads((folder / "checksums.json").read_text())
    assert {"caption_datasets.zip", "annotations.zip", "train2014.zip", "dataset_coco.json", "pictures"} <= sums.keys()
    first = list(Quiet.asked)
    for archive in folder.glob("*.zip"):  # not needed any more
        archive.unlink()
    assert "(there)" in get(data_dir, server[1])
    assert Quiet.asked == first
    assert len(first) == 3


def test_a_changed_file_is_refused_afterwards(server, tmp_path):
    get(tmp_path, server[1])
    path = tmp_path / "mscoco" / "dataset_coco.json"
    path.write_text(path.read_text() + " ")
    with pytest.raises(InputError, match=r"dataset_coco.json is not the file that was used first"):
        get(tmp_path, server[1])


def test_a_few_bad_pictures_are_listed_and_left_out(server, tmp_path):
    pictures(server[0] / "train2014.zip", spoiled=[3])
    said = get(tmp_path, server[1])
    assert "problems.csv lists 1 unreadable" in said
    assert f"train {N - 21} / {5 * (N - 21)}" in said
    good = tmp_path / "mscoco" / "images" / "train2014" / "4.jpg"
    (good.parent / "3.jpg").write_bytes(good.read_bytes())  # mended: read again
    assert f"train {N - 20} / {5 * (N - 20)}" in get(tmp_path, server[1])


def test_many_missing_pictures_are_an_error(server, tmp_path):
    pictures(server[0] / "train2014.zip", absent=range(40, 60))
    with pytest.raises(InputError, match=r"20 of 150 pictures in .*images are missing or cannot be read \(first: 40\)"):
        get(tmp_path, server[1])
    assert not (tmp_path / "mscoco" / "problems.csv").exists()


def test_an_interrupted_unpacking_goes_on(server, tmp_path, monkeypatch):
    extract, written = zipfile.ZipFile.extract, []

    def interrupted(self, member, base):
        written.append(member.filename)
        if len(written) == 50:
            raise KeyboardInterrupt
        return extract(self, member, base)

    monkeypatch.setattr(zipfile.ZipFile, "extract", interrupted)
    with pytest.raises(KeyboardInterrupt):
        get(tmp_path, server[1])
    unpacked = tmp_path / "mscoco" / "images" / "train2014"
    assert 0 < len(list(unpacked.iterdir())) < N
    torn = sorted(unpacked.iterdir())[0]
    torn.write_bytes(torn.read_bytes()[:20])  # as a kill in the middle of a file leaves it
    get(tmp_path, server[1])
    pictures = [name for name in written if name.endswith(".jpg")]
    assert (len(set(pictures)), len(pictures)) == (N, N + 2)  # the two that were interrupted, twice
    assert list((tmp_path / "mscoco").rglob(".*")) == []


def test_what_cannot_be_downloaded_is_one_sentence(server, tmp_path):
    with pytest.raises(InputError, match=r"caption_datasets.zip cannot be downloaded \(.*put the file at") as error:
        get(tmp_path, "http://127.0.0.1:9")
    assert "\n" not in str(error.value)
    (server[0] / "caption_datasets.zip").write_bytes(b"<html>not found</html>")
    with pytest.raises(InputError, match="is no whole zip file"):
        get(tmp_path, server[1])


def test_an_archive_that_escapes_is_refused(server, tmp_path):
    with zipfile.ZipFile(server[0] / "train2014.zip", "w") as archive:
        archive.writestr("train2014/../../../evil.jpg", b"x")
    with pytest.raises(InputError, match="does not lie inside"):
        get(tmp_path, server[1])
    assert list(tmp_path.rglob("evil*")) == []


def test_too_little_disk_and_what_only_you_may_get(tmp_path, monkeypatch, server):
    with pytest.raises(InputError, match=r"images does not exist and cannot be downloaded: it is the folder flickr30k"):
        fetch(["flickr30k"], tmp_path, print, progress=False)
    usage = type("Usage", (), {"free": 2**20})
    monkeypatch.setattr(fetching.shutil, "disk_usage", lambda folder: usage)
    with pytest.raises(InputError, match="38 GiB are needed"):
        fetch(["mscoco"], tmp_path, print, progress=False)
    assert Quiet.asked == []


def test_an_own_folder_and_the_release_are_checked(tmp_path):
    rows = [(f"{i}.png", f"picture number {i}") for i in range(3)]
    (tmp_path / "mine" / "images").mkdir(parents=True)
    for image, _ in rows:
        Image.new("RGB", (5, 5)).save(tmp_path / "mine" / "images" / image)
    write_folder(tmp_path / "mine", rows, None, [(image, "test") for image, _ in rows])
    said = []
    fetch(["mine", str(tmp_path / "mine")], tmp_path, said.append, progress=False)
    assert sum("images / captions: test 3 / 3" in line for line in said) == 2
    with pytest.raises(InputError, match="unknown corpus 'yours'"):
        fetch(["yours"], tmp_path, said.append, progress=False)
    with pytest.raises(InputError, match=r"has no file of the authors' release"):
        fetch(["released"], tmp_path, said.append)
    (tmp_path / "released").mkdir()
    np.save(tmp_path / "released" / "scan_f30k_sim.npy", np.zeros((2, 2)))
    fetch(["released"], tmp_path, said.append)
    assert "1 systems on flickr30k, 0 systems on mscoco" in said[-1]


def test_no_notebook_can_reach_a_download():
    package = PROJECT / "fico_utils"
    modules = {path.relative_to(package).as_posix(): path.read_text(encoding="utf-8") for path in package.rglob("*.py")}
    importing = {name for name, text in modules.items() if re.search("(import |corpora[.])fetching", text)}
    assert {name for name in importing if "verbs/" not in name} == set()
    for path in (PROJECT / "notebooks").glob("*.ipynb"):
        assert not re.search("fetching|fetch_openclipart", path.read_text(encoding="utf-8"))
