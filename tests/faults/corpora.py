"""Mutated files of every corpus format: `read_corpus` gives a corpus that holds together, or refuses in a sentence."""

from __future__ import annotations

import json
import random
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path

import numpy as np
from PIL import Image

import fico_utils
from fico_utils.extras.corpora.folder import read_folder
from tests.faults.mutations import Hunt, conclude, mutate_bytes, mutate_json, mutate_text

NAMES = ("a.jpg", "sub/b.jpg", "007.jpg")
TEXTS = ('a "red" car, parked', "Kühe, 猫 🐈", "one | two")
PAIRS = [(name, f"{text} {n}") for name, text in zip(NAMES, TEXTS, strict=True) for n in range(2)]
KARPATHY = [
    {"filename": name, "filepath": "val2014", "split": split, "cocoid": n, "sentences": [{"raw": text}, {"raw": "x"}]}
    for n, (name, text, split) in enumerate(zip(NAMES, TEXTS, ("restval", "val", "test"), strict=True))
]
COCO = {
    "images": [{"id": n, "file_name": name} for n, name in enumerate(NAMES)],
    "annotations": [{"image_id": n // 2, "id": n, "caption": text} for n, (_, text) in enumerate(PAIRS)],
}
#: File -> content; JSON values are mutated as values too.
FILES = {
    "karpathy.json": {"images": KARPATHY, "dataset": "mine"},
    "coco.json": COCO,
    "albef.json": [{"image": name, "caption": text, "image_id": name} for name, text in PAIRS],
    "blip.json": [{"image": name, "caption": [text, text]} for name, text in PAIRS[::2]],
    "lines.jsonl": "".join(json.dumps({"file_name": name, "text": text}) + "\r\n" for name, text in PAIRS),
    "commas.csv": "\ufeffimage,caption\r\n" + "".join(f'{n},"{t.replace(chr(34), chr(34) * 2)}"\r\n' for n, t in PAIRS),
    "tabs.tsv": "filepath\ttitle\tsplit\n" + "".join(f"{n}\t{t}\ttest\n" for n, t in PAIRS),
    "bars.csv": "image_name| comment_number| comment\na.jpg| 1   y\n" + "".join(f"{n}| 0| x\n" for n in NAMES),
}
#: Files of a folder; one of them is mutated at a time.
FOLDER = {
    "captions.csv": "image,caption\n" + "".join(f"{name},{n} words\n" for n, name in enumerate(NAMES * 2)),
    "labels.csv": "image,label\na.jpg,x\na.jpg,y\n007.jpg,x\n",
    "splits.csv": "image,split\na.jpg,train\nsub\\b.jpg,val\n007.jpg,test\n",
    "problems.csv": "image,problem\na.jpg,greyscale\n007.jpg,unreadable\n",
}
#: Text files of SCAN's layout, for two images.
SCAN = {
    "test_caps.txt": "".join(f"caption {n}\n" for n in range(10)),
    "test_ids.txt": "7\n9\n",
}
#: Files that are mutated.
READERS = (*FILES, *FOLDER, *SCAN)


def campaign(seconds: float, seed: int, readers: Sequence[str] = READERS, least: int = 5) -> str:
    """Mutations of each format for its share of the time, or until at least so many are tried; what was tried."""
    rng, end = random.Random(seed), time.monotonic() + seconds
    with tempfile.TemporaryDirectory() as root:
        prepared = {hunt[0].reader: hunt for hunt in _prepare(Path(root))}
        hunts = [prepared[reader] for reader in readers]
        for place, (hunt, path, good, call) in enumerate(hunts):
            while hunt.tried < least or time.monotonic() < end - seconds * (1 - (place + 1) / len(hunts)):
                hunt.judge({path: _mutated(rng, good)}, call)
            path.write_bytes(_text(good).encode())
    return conclude([hunt for hunt, *_ in hunts])


def _prepare(root: Path) -> list[tuple]:
    """Good files, each with its hunt and what reads it; all of them are read once."""
    hunts = [(Hunt(name), root / name, good, lambda p=root / name: look(p)) for name, good in FILES.items()]
    for place, files in (("own", FOLDER), ("scan", SCAN)):
        (root / place).mkdir()
        hunts += [(Hunt(n), root / place / n, good, lambda p=root / place: look(p)) for n, good in files.items()]
    for name in NAMES:
        (root / "own" / "images" / name).parent.mkdir(parents=True, exist_ok=True)
        Image.new("RGB", (2, 2)).save(root / "own" / "images" / name)
    np.save(root / "scan" / "test_ims.npy", np.zeros((2, 2, 3), np.float32))
    for _, path, good, _ in hunts:
        path.write_bytes(_text(good).encode())
    for _, _, _, call in hunts:
        call()
    return hunts


def look(place: Path) -> None:
    """Read a corpus, see that it holds together, and read it as a run does."""
    corpus = fico_utils.read_corpus(place)
    assert len(corpus.captions) == len(corpus.caption_image) > 0
    assert len(corpus.images) == len(corpus.splits) == len(set(corpus.images)) or place.name == "scan"
    assert 0 <= corpus.caption_image.min() <= corpus.caption_image.max() < len(corpus.images)
    assert corpus.labels is None or corpus.labels.shape == (len(corpus.images), len(corpus.label_names))
    assert all(text == " ".join(text.split()) != "" for text in corpus.captions)
    for text in (*corpus.images, *corpus.captions, *filter(None, corpus.splits)):
        assert isinstance(text.encode(), bytes)
    assert not any("\\" in image or ".." in image.split("/") for image in corpus.images) or place.name == "scan"
    if place.name == "own":
        read_folder(place, leave_out=None)


def _text(good) -> str:
    return good if isinstance(good, str) else json.dumps(good)


def _mutated(rng: random.Random, good) -> bytes:
    kind = rng.randrange(4)
    if kind > 1 and not isinstance(good, str):
        return mutate_json(rng, good).encode("utf-8", "surrogatepass")
    if kind > 0:
        return mutate_text(rng, _text(good), (",", "\t", "|", '"', "\r", *NAMES)).encode("utf-8", "surrogatepass")
    return mutate_bytes(rng, _text(good).encode())
