"""Flickr30K and MS-COCO as published: Karpathy's split JSON, the image folder, and labels.

Ids (a file name, a COCO id) travel with everything, so that systems are compared on the same items.
"""

from __future__ import annotations

from collections.abc import Collection, Sequence
from pathlib import Path

import numpy as np

from fico_utils.data.corpus import SPLITS, Corpus
from fico_utils.errors import InputError
from fico_utils.extras.corpora.arrays import read_array
from fico_utils.extras.corpora.listing import KEYS, Listing, collect, karpathy_entries
from fico_utils.extras.corpora.pictures import FileImages, keep_images
from fico_utils.extras.corpora.reading import (
    path_inside,
    read_json_object,
    read_lines,
    read_table,
    rows_by_id,
    show_value,
)

#: Name in the JSON of each corpus.
DATASETS = {"flickr30k": "flickr30k", "mscoco": "coco"}
#: Images and captions of each split as published.
COUNTS = {
    "flickr30k": {"train": (29000, 145000), "val": (1014, 5070), "test": (1000, 5000)},
    "mscoco": {"train": (113287, 566747), "val": (5000, 25010), "test": (5000, 25010)},
}
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
    complete: bool = True,
    leave_out: Collection[str] | None = (),
) -> Corpus:
    """``flickr30k`` or ``mscoco`` from Karpathy's JSON; the middle squares of its pictures are read when asked for.

    The JSON (Karpathy and Fei-Fei, CVPR 2015) says which image has which captions and stands in which split;
    ``restval`` joins train, as in every paper since.

    Parameters
    ----------
    images : folder of the pictures; for MS-COCO the one that holds ``train2014`` and ``val2014``. None: no pictures.
    instances : paths of COCO's ``instances_*.json``, the labels of MS-COCO. Flickr30K has none of its own; the paper
        made them with Query2Label.
    labels, label_ids : paths, see `read_labels`.
    complete : check the number of images and captions of each split against the published ones.
    leave_out : see `keep_images`.

    InputError says which file is wrong, which entry in it, and what was expected.
    """
    if name not in DATASETS:
        raise InputError(f"unknown published corpus {name!r}; expected one of {', '.join(DATASETS)}")
    ids, listing = read_karpathy(split_json, name)
    texts, index, split = listing.captions, listing.caption_image, np.array(listing.splits, str)
    for part, expected in COUNTS[name].items() if complete else ():
        counts = int((split == part).sum()), int((split[index] == part).sum())
        if counts != expected:
            raise InputError(
                f"{split_json} has {counts[0]} images and {counts[1]} captions in {part}, expected the published "
                f"{expected[0]} and {expected[1]}: get it again, or say that it is a part of {name} "
                "(published_in_full=false in a run, complete=False in Python)"
            )
    marks, names = None, ()
    if instances:
        marks, names = read_instances(instances, ids)
    elif labels is not None:
        marks, names = read_labels(labels, ids, label_ids)
    if images is None:
        return Corpus(name, ids, texts, index, split, marks, names)
    paths = [path_inside(images, file, f"{split_json} image {n}") for n, file in enumerate(listing.images)]
    corpus = Corpus(name, ids, texts, index, split, marks, names, FileImages(paths, size, "crop"))
    return keep_images(corpus, images, leave_out)


def read_karpathy(path: str | Path, name: str) -> tuple[list[str], Listing]:
    """Image ids and the `Listing` of a published corpus; the ids of Flickr30K are file names, of MS-COCO its own."""
    content = read_json_object(path, KEYS)
    if content.get("dataset") not in (None, DATASETS[name]):
        raise InputError(
            f"{path} says it is of {show_value(content['dataset'])}, expected {DATASETS[name]!r}: give that of {name}"
        )
    listing = collect(path, karpathy_entries(path, content))
    for place, (entry, split) in enumerate(zip(content["images"], listing.splits, strict=True)):
        if split not in SPLITS or (name == "mscoco" and type(entry.get("cocoid")) is not int):
            raise InputError(
                f"{path} image {place} has split {show_value(split)} and cocoid {show_value(entry.get('cocoid'))}, "
                f"expected one of {', '.join(SPLITS)} or restval, and a number in MS-COCO: get the file again"
            )
    return [str(e["cocoid"]) for e in content["images"]] if name == "mscoco" else listing.images, listing


def read_instances(paths: Sequence[str | Path], image_ids: Sequence[str]) -> tuple[np.ndarray, tuple[str, ...]]:
    """Labels (n_img, 80) uint8 of COCO ids, and category names, in the order of COCO's category ids.

    An image with no annotated thing has no label; crowds count like single things. The files
    ``instances_train2014.json`` and ``instances_val2014.json`` must list the same categories.
    """
    row_of = {image_id: row for row, image_id in enumerate(image_ids)}
    fields = ("id", "name", "image_id", "category_id")
    known, pairs, names = set(), [], {}
    for path in paths:
        content = read_json_object(path, ("categories", "images", "annotations", *fields))
        try:
            categories = {int(item["id"]): str(item["name"]) for item in content["categories"]}
            known |= {str(item["id"]) for item in content["images"]}
            pairs += [(str(item["image_id"]), int(item["category_id"])) for item in content["annotations"]]
        except (KeyError, TypeError, ValueError, OverflowError) as error:
            raise InputError(f"{path} is no COCO instances file ({type(error).__name__} {error})") from None
        if not categories or (names or categories) != categories:
            raise InputError(f"{path} lists {len(categories)} categories, expected the same in all files, at least one")
        names = categories
    absent = [image_id for image_id in image_ids if image_id not in known]
    if absent:
        raise InputError(
            f"image {absent[0]} is in none of the instances files ({len(absent)} such images); "
            "give both instances_train2014.json and instances_val2014.json"
        )
    column_of = {category: column for column, category in enumerate(sorted(names))}
    labels = np.zeros((len(image_ids), len(names)), np.uint8)
    for image_id, category in pairs:
        if image_id in row_of and category not in column_of:
            raise InputError(f"image {image_id} has category {category!r}, which no instances file names")
        if image_id in row_of:
            labels[row_of[image_id], column_of[category]] = 1
    return labels, tuple(names[category] for category in column_of)


def read_labels(
    path: str | Path, image_ids: Sequence[str], label_ids: str | Path | None = None
) -> tuple[np.ndarray, tuple[str, ...]]:
    """Labels (n_img, n_labels) uint8 of a file, in the order of `image_ids`, and their names.

    Parameters
    ----------
    path : a .csv whose first column is the image id and whose others are labels, 0 or 1; or a .npy, .npz, .safetensors
        or .mat file with one row an image (``FILE:NAME`` picks an array; of a .mat, ``LAll`` is taken by itself). Its
        columns have no names: 80 of them are taken for MS-COCO's categories, which Query2Label predicts.
    label_ids : text file with the image of each row, one a line, as a Query2Label run writes it beside its .npy.
        Without it a table must have exactly the rows of the corpus, which are then taken in its order.
    """
    ids = None if label_ids is None else [line.strip() for line in read_lines(label_ids)]
    if str(path).endswith(".csv"):
        table = read_table(path)
        key, *names = table.frame.columns
        ids, values = table.frame[key].tolist(), table.marks(names)
    else:
        values = read_array(f"{path}:LAll" if str(path).endswith(".mat") else path)
        if values.ndim != 2:
            raise InputError(f"{path} has shape {values.shape}, expected a table (n_img, n_labels)")
        n_labels = values.shape[1]
        names = COCO_NAMES if n_labels == len(COCO_NAMES) else [f"label {i}" for i in range(n_labels)]
    if ids is not None and len(ids) != len(values):
        raise InputError(f"{label_ids} names {len(ids)} images for {len(values)} rows of {path}, expected one for each")
    if ids is None and len(values) != len(image_ids):
        raise InputError(
            f"{path} has {len(values)} rows for {len(image_ids)} images, expected one for each: "
            "give the file with the image of each row (label_ids)"
        )
    for row, column in np.argwhere((values != 0) & (values != 1))[:1]:
        raise InputError(
            f"{path} holds {values[row, column]} in row {row}, expected 0 or 1: threshold soft scores first"
        )
    rows = slice(None) if ids is None else rows_by_id(ids, image_ids, path, f"{path} row {{}}".format)
    return np.asarray(values[rows], np.uint8), tuple(names)
