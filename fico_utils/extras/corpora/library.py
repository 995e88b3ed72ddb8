"""A corpus by its id: which files below the data folder it is made of, and how they are read.

=========== =====================================================================================================
corpus      below ``<data_dir>/``
=========== =====================================================================================================
flickr30k   ``flickr30k/dataset_flickr30k.json``, ``flickr30k/images/``; labels are a file of their own
mscoco      ``mscoco/dataset_coco.json``, ``mscoco/images/{train2014,val2014}/``, ``mscoco/annotations/``
any other   ``NAME/images/``, ``NAME/captions.csv`` and so on, see `folder`; openclipart is one of them
=========== =====================================================================================================

A file ``problems.csv`` (image, problem), which `fetching` writes, names pictures that cannot be read: those images are
left out. Precomputed regions in SCAN's layout lie in ``NAME/scan_arrays/``.
"""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np

from fico_utils.data.corpus import Corpus
from fico_utils.errors import InputError
from fico_utils.extras.corpora.folder import read_folder, read_table
from fico_utils.extras.corpora.published import DATASETS, read_instances, read_labels, read_published
from fico_utils.extras.corpora.scan_arrays import ScanArrays, read_scan_arrays
from fico_utils.registry import CorpusInfo

#: Problems of a picture that leave no picture; a greyscale one is read.
FATAL = ("missing", "unreadable", "too_large")


def place(info: CorpusInfo, data_dir: str | Path) -> Path:
    """The folder of a corpus."""
    return Path(info.folder or Path(data_dir) / info.id)


def split_json(info: CorpusInfo, data_dir: str | Path) -> Path:
    """Karpathy's file of a published corpus."""
    return place(info, data_dir) / f"dataset_{DATASETS[info.id]}.json"


def files_of(info: CorpusInfo, data_dir: str | Path) -> list[Path]:
    """The files of a corpus that say what it is, those that are there; pictures are not among them."""
    folder = place(info, data_dir)
    if info.kind == "published":
        return [p for p in (split_json(info, data_dir), folder / "problems.csv", *_instances(folder)) if p.is_file()]
    names = ("captions.csv", "labels.csv", "splits.csv", "problems.csv")
    return [folder / name for name in names if (folder / name).is_file()]


def problems(folder: Path) -> list[tuple[str, str]]:
    """Image and problem of each row of ``problems.csv``; none where there is no such file."""
    path = folder / "problems.csv"
    if not path.is_file():
        return []
    frame = read_table(path, ("image", "problem")).frame
    return list(zip(frame["image"], frame["problem"], strict=True))


def read_corpus(
    info: CorpusInfo,
    data_dir: str | Path,
    *,
    size: int,
    labels: str = "",
    label_ids: str = "",
    whole: bool = False,
    in_full: bool = True,
) -> Corpus:
    """A published corpus or a folder corpus; pictures are read when asked for.

    Parameters
    ----------
    info : CorpusInfo
    data_dir : path, the folder that holds all corpora.
    size : int, height and width that pictures are brought to.
    labels, label_ids : paths below `data_dir`, the labels of a corpus that has none of its own, see `read_labels`.
    whole : bool, keep the images whose file is missing or listed as a problem, to look at their files one by one.
    in_full : bool, refuse a published corpus with other counts than the published ones; False reads a part of it.

    Raises
    ------
    InputError
        The files are not there (it says how to get them), or something is wrong in them.
    """
    folder, data_dir = place(info, data_dir), Path(data_dir)
    gone = None if whole else [image for image, problem in problems(folder) if problem in FATAL]
    if info.kind == "published":
        path = split_json(info, data_dir)
        if not path.is_file():
            raise _absent(info, path)
        given = {"instances": _instances(folder)} if info.id == "mscoco" and not labels else _paths(data_dir, labels)
        given |= {"label_ids": data_dir / label_ids} if labels and label_ids else {}
        return read_published(info.id, path, folder / "images", size=size, leave_out=gone, complete=in_full, **given)
    if not (folder / "captions.csv").is_file():
        raise _absent(info, folder / "captions.csv")
    return read_folder(folder, info.id, size=size, leave_out=gone)


def read_regions(info: CorpusInfo, data_dir: str | Path, labels: str = "", label_ids: str = "") -> ScanArrays:
    """A corpus from precomputed regions: captions and ids from beside the arrays, labels as in `read_corpus`."""
    folder, data_dir = place(info, data_dir), Path(data_dir)
    found = read_scan_arrays(info.id, folder / "scan_arrays")
    ids, instances = found.corpus.image_ids, _instances(folder)
    if labels:
        marks = read_labels(data_dir / labels, ids, data_dir / label_ids if label_ids else None)
    elif info.id == "mscoco" and instances:
        marks = read_instances(instances, ids)
    else:
        return found
    return replace(found, corpus=replace(found.corpus, labels=marks[0], label_names=marks[1]))


def global_of(regions: np.ndarray, block: int = 256) -> np.ndarray:
    """Mean and maximum over the regions of each image, (n, 2 D) float16; a block of images is read at a time."""
    out = np.empty((len(regions), 2 * regions.shape[-1]), np.float16)
    for start in range(0, len(regions), block):
        part = np.asarray(regions[start : start + block], np.float32).reshape(-1, *regions.shape[1:])
        out[start : start + block] = np.concatenate([part.mean(1), part.max(1)], 1)
    return out


def _paths(data_dir: Path, labels: str) -> dict[str, Path]:
    return {"labels": data_dir / labels} if labels else {}


def _instances(folder: Path) -> list[Path]:
    paths = [folder / "annotations" / f"instances_{part}2014.json" for part in ("train", "val")]
    return [path for path in paths if path.is_file()]


def _absent(info: CorpusInfo, path: Path) -> InputError:
    return InputError(
        f"{info.name} is not here: there is no file {path}; get it with `python -m fico_utils fetch {info.id}`, or say "
        "where it is with data_dir"
    )
