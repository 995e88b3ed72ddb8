"""Notebooks 01 to 04 on a published corpus, by parameters alone."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from fico_utils.data.pictoscenes import make_corpus
from fico_utils.provenance import PROJECT

pytestmark = pytest.mark.notebooks
#: The profile `full`, at a size of minutes; nothing but parameters, as a user would pass them.
TRIAL = {
    "threads": "1",
    "corpora": "flickr30k",
    "published_in_full": "false",
    "flickr30k_labels": "flickr30k/labels.npy",
    "flickr30k_label_ids": "flickr30k/label_ids.txt",
    "systems": "[beit3, xvlm, xvlm_nf, scan, dadh, ucch, adv_64]",
    "epochs": "{query2label: 1, beit3: 1, xvlm: 1, scan: 1, dadh: 1, ucch: 1, adv_64: 1}",
    "backbones": "{regions: {scenes: 200, epochs: 1}, patches: {scenes: 200, epochs: 1}}",
    "n_train": "{picto_diverse: 200, picto_people: 100}",
    "n_val": "{picto_diverse: 50, picto_people: 50}",
    "n_test": "{picto_diverse: 100, picto_people: 100}",
    "doc2vec_epochs": "1",
    "rerank_depth": "4",
}


def write_flickr30k(folder: Path) -> None:
    """Drawn scenes as Flickr30K comes: Karpathy's JSON, JPEGs of another shape, an array of labels with its ids."""
    corpus = make_corpus("picto_people", {"train": 120, "val": 30, "test": 60})
    (folder / "images").mkdir(parents=True)
    images = []
    for i, split in enumerate(corpus.split.tolist()):
        name = f"{100_000 + i}.jpg"
        Image.fromarray(corpus.images[i : i + 1][0]).resize((128, 100)).save(folder / "images" / name, quality=92)
        said = enumerate(corpus.captions[c] for c in np.flatnonzero(corpus.caption_image == i))
        sentences = [{"tokens": t.lower().split(), "raw": t, "imgid": i, "sentid": 9 * i + n} for n, t in said]
        ids = [s["sentid"] for s in sentences]
        images.append({"sentids": ids, "imgid": i, "sentences": sentences, "split": split, "filename": name})
    (folder / "dataset_flickr30k.json").write_text(json.dumps({"images": images, "dataset": "flickr30k"}))
    np.save(folder / "labels.npy", corpus.labels)
    (folder / "label_ids.txt").write_text("\n".join(entry["filename"] for entry in images))


def test_flickr30k_needs_parameters_alone(tmp_path: Path) -> None:
    from fico_utils.results import store

    write_flickr30k(tmp_path / "data" / "flickr30k")
    given = [f"--set={name}={value}" for name, value in {**TRIAL, "data_dir": tmp_path / "data"}.items()]
    command = [sys.executable, "-m", "fico_utils", "run", "--profile", "full", "--out", tmp_path / "results", *given]
    done = subprocess.run([*command, "--only", "01,02,03,04"], cwd=PROJECT, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    metrics = store.load(tmp_path / "results" / "full", "metrics")
    ours = metrics[(metrics["source"] == "ours") & (metrics["status"] == "ok")]
    assert set(ours["corpus"]) == {"flickr30k"}
    assert set(ours["system"]) == {"beit3", "xvlm", "xvlm_nf", "scan", "dadh", "ucch", "adv_64"}
    assert set(ours.loc[ours["metric"] == "recall", "n_query"]) == {60, 300}
    assert ours.loc[ours["metric"] == "map", "value"].between(0, 1).all()
    assert (tmp_path / "results" / "full" / "report" / "index.html").is_file()
