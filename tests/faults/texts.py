"""Damaged and hostile texts of corpora: CSV, JSON, YAML and split files, through the readers of corpora."""

from __future__ import annotations

import random
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from fico_utils.extras.corpora.folder import read_folder
from fico_utils.extras.corpora.library import folder_corpus
from fico_utils.extras.corpora.published import read_instances, read_labels, read_published
from fico_utils.extras.corpora.scan_arrays import read_scan_arrays
from tests.faults.mutations import Files, hunt_readers, mutate_bytes, mutate_json, mutate_text

IDS = [f"{i}.png" for i in range(10)]
CAPTIONS = "image,caption\n" + "".join(f'{image},"A dog, {n}"\n{image},A cat {n}.\n' for n, image in enumerate(IDS))
TABLES = {
    "captions.csv": CAPTIONS,
    "labels.csv": "image,dog,cat\n" + "".join(f"{image},{n % 2},1\n" for n, image in enumerate(IDS)),
    "splits.csv": "image,split\n" + "".join(f"{image},{'train' if n else 'test'}\n" for n, image in enumerate(IDS)),
}
YAML = "name: Mine\nprovenance: 'a disk'\nphotographs: true\nbeside: mscoco\n"
#: Words of YAML that mean more than text.
TAGS = (
    "&a ",
    "*a",
    "<<: *a\n",
    "!!python/object/apply:os.system [ls]",
    "!!binary x",
    "? ",
    "- ",
    "2001-99-99",
    "0o9",
    ".inf",
)
TAGS += (
    "x: &a [*a, *a]\n",
    "%YAML 9.9\n---\n",
    "--- \n...\n",
    "|\n",
    "\t",
    "!<tag:x> ",
    "{" * 900,
    "1:60:60",
    "12:99e9",
    "!!set {a}",
)
QUOTES = ('"', '""', ",", ",,,,", "\r", "\r\n", "\t", ";", "'", '"\n"', "#", "\\", "\0", "0", "2")
KARPATHY = {
    "dataset": "coco",
    "images": [
        {
            "cocoid": i, "filepath": "val2014", "filename": f"{i}.png", "split": ("train", "restval", "val")[i % 3],
            "sentences": [{"raw": f"A dog {i}.", "tokens": ["a"]}, {"raw": f"A cat {i}.", "tokens": []}],
        }
        for i in range(6)
    ],
}  # fmt: skip
INSTANCES = {
    "categories": [{"id": 1, "name": "person"}, {"id": 3, "name": "car"}],
    "images": [{"id": i} for i in range(6)],
    "annotations": [{"image_id": i % 6, "category_id": (1, 3)[i % 2], "segmentation": [[1.5]]} for i in range(9)],
}


def _encoded(rng: random.Random, text: str) -> bytes:
    """Text as bytes of some encoding, sometimes changed as such."""
    data = text.encode(rng.choice(("utf-8", "utf-8", "utf-8", "utf-8-sig", "utf-16", "latin-1")), "replace")
    return mutate_bytes(rng, data) if rng.random() < 0.2 else data


def mutate_folder(rng: random.Random, folder: Path) -> tuple[Files, Callable[[], Any]]:
    """One of the tables of a folder corpus."""
    changed = rng.choice([*TABLES])
    files = {folder / name: text.encode() for name, text in TABLES.items()}
    files[folder / changed] = _encoded(rng, mutate_text(rng, TABLES[changed], QUOTES))
    return files, lambda: read_folder(folder, "mine")


def mutate_yaml(rng: random.Random, folder: Path) -> tuple[Files, Callable[[], Any]]:
    """The description of a folder corpus."""
    return {folder / "corpus.yaml": _encoded(rng, mutate_text(rng, YAML, TAGS))}, lambda: folder_corpus(folder)


def mutate_karpathy(rng: random.Random, folder: Path) -> tuple[Files, Callable[[], Any]]:
    """Karpathy's JSON."""
    path, name = folder / "dataset.json", rng.choice(("mscoco", "mscoco", "flickr30k"))
    text = mutate_json(rng, KARPATHY | {"dataset": "coco" if name == "mscoco" else name})
    images = rng.choice((None, folder))
    call = lambda: read_published(name, path, images, complete=False, leave_out=None)  # noqa: E731
    return {path: _encoded(rng, text)}, call


def mutate_instances(rng: random.Random, folder: Path) -> tuple[Files, Callable[[], Any]]:
    """COCO's instances."""
    path = folder / "instances.json"
    text = mutate_json(rng, INSTANCES)
    return {path: _encoded(rng, text)}, lambda: read_instances([path], [str(i) for i in range(6)])


def mutate_labels(rng: random.Random, folder: Path) -> tuple[Files, Callable[[], Any]]:
    """A table of labels, or one as an array and the ids of its rows."""
    table, array, ids = folder / "l.csv", folder / "l.npy", folder / "ids.txt"
    np.save(array, np.eye(len(IDS), 2, dtype="u1"))
    if rng.random() < 0.5:
        text = mutate_text(rng, TABLES["labels.csv"], QUOTES)
        return {table: _encoded(rng, text)}, lambda: read_labels(table, IDS)
    return {ids: _encoded(rng, mutate_text(rng, "\n".join(IDS), QUOTES))}, lambda: read_labels(array, IDS, ids)


def mutate_scan(rng: random.Random, folder: Path) -> tuple[Files, Callable[[], Any]]:
    """Captions and ids beside SCAN's arrays."""
    np.save(folder / "test_ims.npy", np.ones((4, 3, 2), "f4"))
    texts = {"caps": "".join(f"a dog {i}\n" for i in range(20)), "ids": "".join(f"{i}\n" for i in range(4))}
    changed = rng.choice([*texts])
    files = {folder / f"test_{name}.txt": text.encode() for name, text in texts.items()}
    files[folder / f"test_{changed}.txt"] = _encoded(rng, mutate_text(rng, texts[changed], QUOTES))
    return files, lambda: read_scan_arrays("mine", folder)


READERS = {
    "folder": mutate_folder, "yaml": mutate_yaml, "karpathy": mutate_karpathy, "instances": mutate_instances,
    "labels": mutate_labels, "scan": mutate_scan,
}  # fmt: skip


def campaign(seconds: float, seed: int, readers: tuple[str, ...] = tuple(READERS), least: int = 0) -> str:
    """Mutations of each kind of text for its share of the time, or until at least so many are tried."""
    return hunt_readers({name: READERS[name] for name in readers}, save_pictures, seconds, seed, least)


def save_pictures(place: Path) -> Path:
    """The folder of a corpus below a place, with the pictures that its texts name."""
    folder = place / "mine"
    for below in ("images", "val2014"):
        (folder / below).mkdir(parents=True)
        for image in IDS:
            Image.new("RGB", (2, 2)).save(folder / below / image)
    return folder
