"""Flickr30K and MS-COCO as published: Karpathy's split JSON, the image folder, and labels.

``dataset_flickr30k.json`` and ``dataset_coco.json`` (Karpathy and Fei-Fei, CVPR 2015) say which image has which
captions and stands in which split; ``restval`` joins train, as in every paper since. Labels of MS-COCO are the 80
categories of ``instances_train2014.json`` and ``instances_val2014.json``; Flickr30K has none of its own, the paper made
them with Query2Label. Ids (a file name, a COCO id) travel with everything, so systems are compared on the same items.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from fico_utils.data.corpus import Corpus
from fico_utils.errors import InputError
from fico_utils.extras.corpora.arrays import read_array
from fico_utils.extras.corpora.pictures import FileImages, image_files
from fico_utils.extras.corpora.reading import captions, inside, json_items, read_lines

#: Name in the JSON of each corpus.
DATASETS = {"flickr30k": "flickr30k", "mscoco": "coco"}
#: Images and captions of each split as published.
COUNTS = {
    "flickr30k": {"train": (29000, 145000), "val": (1014, 5070), "test": (1000, 5000)},
    "mscoco": {"train": (113287, 566747), "val": (5000, 25010), "test": (5000, 25010)},
}
JOINS = {"train": "train", "restval": "train", "val": "val", "test": "test"}
#: The 80 categories of MS-COCO in its own order, by category id.
COCO_NAMES = (
    "person", "bicycle", "car", "motorcycle", "airplane", "bus", "train", "truck", "boat", "traffic light",
    "fire hydrant", "stop sign", "parking meter", "bench", "bird", "cat", "dog", "horse", "sheep", "cow", "elephant",
    "bear", "zebra", "giraffe", "backpack", "umbrella", "handbag", "tie", "suitcase", "frisbee", "skis", "snowboard",
    "sports ball", "kite", "baseball bat", "baseball glove", "skateboard", "surfboard", "tennis racket", "bottle",
    "wine glass", "cup", "fork", "knife", "spoon", "bowl", "banana", "apple", "sandwich", "orange", "broccoli",
    "carrot", "hot dog", "pizza", "donut", "cake", "chair", "couch", "potted plant", "bed", "dining table", "toilet",
    "tv", "laptop", "mouse", "remote", "keyboard", "cell phone", "microwave", "oven", "toaster", "sink",
    "refrigerator", "book", "clock", "vase", "scissors", "teddy bear", "hair drier", "toothbrush",
)  # fmt: skip


def read_published(
    name: str,
    split_json: str | Path,
    images: str | Path | None = None,
    *,
    instances: Sequence[str | Path] = (),
    labels: str | Path | None = None,
    label_ids: str | Path | None = None,
    size: int = 224,
    fit: str = "crop",
    complete: bool = True,
    leave_out: bool | Collection[str] | None = False,
) -> Corpus:
    """Flickr30K or MS-COCO as a `Corpus`; pictures are read when asked for.

    Parameters
    ----------
    name : str, ``flickr30k`` or ``mscoco``.
    split_json : path of Karpathy's JSON.
    images : folder of the pictures; for MS-COCO the one that holds ``train2014`` and ``val2014``. None: no pictures.
    instances : paths of COCO's ``instances_*.json``, of MS-COCO alone.
    labels, label_ids : paths, see `read_labels`.
    size, fit : see `FileImages`.
    complete : bool, check the number of images and captions of each split against the published ones.
    leave_out : bool, leave out images whose file is missing, with their captions, instead of refusing the corpus; or
        the ids of the images to leave out; or None, to keep even those without a file.

    Raises
    ------
    InputError
        One sentence: which file, which entry, what was expected.
    """
    if name not in DATASETS:
        raise InputError(f"unknown published corpus {name!r}; expected one of {', '.join(DATASETS)}")
    if labels is not None and instances:
        raise InputError("both a label file and COCO instances are given, expected one of the two")
    ids, texts, index, split, files = read_karpathy(split_json, name)
    if complete:
        _check_counts(name, split_json, split, index)
    marks, names = None, ()
    if instances:
        marks, names = read_instances(instances, ids)
    elif labels is not None:
        marks, names = read_labels(labels, ids, label_ids)
    pictures, rows = None, None
    if images is not None:
        paths = [inside(images, file, f"{split_json} image {i}") for i, file in zip(ids, files, strict=True)]
        rows = image_files(name, images, ids, paths, leave_out)
        pictures = FileImages(paths, size, fit)
    corpus = Corpus(name, ids, texts, index, split, marks, names, pictures)
    return corpus if rows is None or len(rows) == corpus.n_img else corpus.select(rows)


def read_karpathy(path: str | Path, name: str) -> tuple[list[str], list[str], np.ndarray, np.ndarray, list[str]]:
    """Image ids, captions, each caption's image, splits and file names, all but the captions in the order of the file.

    The file is read an image at a time: 123 287 images take no more memory than what is kept of them.

    Parameters
    ----------
    path : path of the JSON.
    name : str, ``flickr30k`` (ids are file names) or ``mscoco`` (ids are COCO ids).
    """
    ids, texts, index, split, files = [], [], [], [], []
    for key, entry in json_items(path):
        if key == "dataset" and entry != DATASETS[name]:
            raise InputError(f"{path} says it is of {entry!r}, expected {DATASETS[name]!r}: give the file of {name}")
        if key != "images":
            continue
        where = f"{path} image {len(ids)}"
        try:
            image_id = str(entry["cocoid"]) if name == "mscoco" else entry["filename"]
            sentences, part = entry["sentences"], JOINS[entry["split"]]
            files.append(f"{entry['filepath']}/{entry['filename']}" if name == "mscoco" else entry["filename"])
            texts += captions([sentence["raw"] for sentence in sentences], f"{where} ({image_id})")
        except (KeyError, TypeError) as error:
            raise InputError(
                f"{where} has {type(error).__name__} {error}; expected filename, split "
                f"({', '.join(JOINS)}) and sentences with raw{', cocoid and filepath' if name == 'mscoco' else ''}"
            ) from None
        index += [len(ids)] * len(sentences)
        ids.append(image_id)
        split.append(part)
    if not ids:
        raise InputError(f"{path} holds no images, expected Karpathy's JSON with a list 'images'")
    return ids, texts, np.array(index, np.int64), np.array(split), files


def _check_counts(name: str, path: str | Path, split: np.ndarray, index: np.ndarray) -> None:
    for part, expected in COUNTS[name].items():
        found = int((split == part).sum()), int((split[index] == part).sum())
        if found != expected:
            raise InputError(
                f"{path} has {found[0]} images and {found[1]} captions in {part}, expected the published {expected[0]} "
                f"and {expected[1]}: get it again, or say that it is a part of {name} (published_in_full=false in a "
                "run, complete=False in Python)"
            )


def read_instances(paths: Sequence[str | Path], image_ids: Sequence[str]) -> tuple[np.ndarray, tuple[str, ...]]:
    """Labels (n_img, 80) uint8 and category names, in the order of COCO's category ids.

    An image with no annotated thing has no label; crowds count like single things.

    Parameters
    ----------
    paths : the files ``instances_train2014.json`` and ``instances_val2014.json``; all must list the same categories.
    image_ids : COCO ids as text.
    """
    row_of = {image_id: row for row, image_id in enumerate(image_ids)}
    known, marks, names = np.zeros(len(image_ids), bool), [], None
    for path in paths:
        categories: dict[int, str] = {}
        try:
            for key, item in json_items(path):
                if key == "categories":
                    categories[item["id"]] = item["name"]
                elif key == "images" and str(item["id"]) in row_of:
                    known[row_of[str(item["id"])]] = True
                elif key == "annotations" and str(item["image_id"]) in row_of:
                    marks.append((row_of[str(item["image_id"])], item["category_id"]))
        except (KeyError, TypeError) as error:
            raise InputError(f"{path} is no COCO instances file ({type(error).__name__} {error})") from None
        if not categories or (names is not None and names != categories):
            raise InputError(f"{path} lists {len(categories)} categories, expected the same in all files, at least one")
        names = categories
    for row in np.flatnonzero(~known)[:1]:
        raise InputError(
            f"image {image_ids[row]} is in none of the instances files ({int((~known).sum())} such images); "
            "give both instances_train2014.json and instances_val2014.json"
        )
    column = {category: place for place, category in enumerate(sorted(names))}
    labels = np.zeros((len(image_ids), len(column)), np.uint8)
    for row, category in marks:
        if category not in column:
            raise InputError(f"image {image_ids[row]} has category {category!r}, which no instances file names")
        labels[row, column[category]] = 1
    return labels, tuple(names[category] for category in sorted(names))


def read_labels(
    path: str | Path, image_ids: Sequence[str], label_ids: str | Path | None = None
) -> tuple[np.ndarray, tuple[str, ...]]:
    """Labels (n_img, n_labels) uint8 of a file, in the order of ``image_ids``, and their names.

    Parameters
    ----------
    path : a .csv whose first column is the image id and whose others are labels, 0 or 1; or a .npy, .npz, .safetensors
        or .mat file with one row an image (``FILE:NAME`` picks an array; of a .mat, ``LAll`` is taken by itself).
    image_ids : ids of the corpus.
    label_ids : text file with the image of each row, one a line, as a Query2Label run writes it beside its .npy.
        Without it a table must have exactly the rows of the corpus, which are then taken in its order.

    Notes
    -----
    Columns of an array have no names: 80 of them are taken for MS-COCO's categories, which Query2Label predicts.
    """
    if str(path).endswith(".csv"):
        ids, names, values = _label_csv(path)
    else:
        values = read_array(f"{path}:LAll" if str(path).endswith(".mat") else path)
        if values.ndim != 2:
            raise InputError(f"{path} has shape {values.shape}, expected a table (n_img, n_labels)")
        ids = None if label_ids is None else [line.strip() for line in read_lines(label_ids)]
        n = values.shape[1]
        names = COCO_NAMES if n == len(COCO_NAMES) else tuple(f"label {i}" for i in range(n))
    if ids is not None and len(ids) != len(values):
        raise InputError(f"{label_ids} names {len(ids)} images for {len(values)} rows of {path}, expected one for each")
    if ids is None and len(values) != len(image_ids):
        raise InputError(
            f"{path} has {len(values)} rows for {len(image_ids)} images, expected one for each: "
            "give the file with the image of each row (label_ids)"
        )
    odd = np.argwhere((values != 0) & (values != 1))
    if len(odd):
        row, column = odd[0]
        raise InputError(
            f"{path} holds {values[row, column]} in row {row}, expected 0 or 1: threshold soft scores first"
        )
    return np.asarray(values if ids is None else values[_rows(path, ids, image_ids)], np.uint8), names


def _rows(path: str | Path, ids: list[str], image_ids: Iterable[str]) -> list[int]:
    """The row of each image in a table whose rows have ids."""
    row_of: dict[str, int] = {}
    for row, image_id in enumerate(ids):
        if image_id in row_of:
            raise InputError(f"{path} has two rows for image {image_id!r} ({row_of[image_id]} and {row}), expected one")
        row_of[image_id] = row
    absent = [image_id for image_id in image_ids if image_id not in row_of]
    if absent:
        raise InputError(
            f"{path} has no row for image {absent[0]!r} ({len(absent)} such images); is it of another corpus?"
        )
    return [row_of[image_id] for image_id in image_ids]


def _label_csv(path: str | Path) -> tuple[list[str], tuple[str, ...], np.ndarray]:
    from fico_utils.extras.corpora.folder import read_table

    table = read_table(path)
    names, values = tuple(table.columns[1:]), table.frame[list(table.columns[1:])]
    odd = np.argwhere(~np.isin(values.to_numpy(Any), ["0", "1"]))
    for row, column in odd[:1]:
        raise InputError(f"{table.where(row)}: {names[column]} is {values.iat[row, column]!r}, expected 0 or 1")
    return table.frame[table.columns[0]].tolist(), names, (values.to_numpy(str) == "1").astype(np.uint8)
