"""The forms in which others hold what is scored: names, images stored several times, ensembles, known relevance."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

import numpy as np

from fico_utils.errors import InputError
from fico_utils.evaluation.embeddings import read_table
from fico_utils.evaluation.given import Given
from fico_utils.extras.scoring.query_sets import read_sets

#: Names of relevances that the package eccv-caption holds: -> the attribute that has them.
KNOWN_RELEVANCE = {"coco": "coco_gts", "cxc": "cxc_gts", "eccv": "eccv_gts"}
#: Numbers of stored copies that are compared at a time.
COMPARED = 2**24


def read_forms(given: Given) -> Given:
    """The same with matrices combined, images stored once, and positions in place of names; InputError on what is none.

    Of a query set there are matrices to combine, and a gallery to be found.
    """
    for name in ("similarity", "similarity_t2i"):
        if isinstance(matrices := getattr(given, name), (list, tuple)) and np.ndim(matrices[0]) == 2:
            given = replace(given, **{name: mean_of_matrices(matrices, name)})
    return read_sets(given) if given.is_pair else _with_positions(_with_each_image_once(given))


def mean_of_matrices(matrices: Sequence[Any], name: str) -> np.ndarray:
    """The mean of some similarity matrices, an ensemble; InputError where their shapes differ."""
    arrays = [read_table(matrix, name) for matrix in matrices]
    shapes = {array.shape for array in arrays}
    if len(shapes) > 1:
        raise InputError(f"{name} holds matrices of shapes {', '.join(map(str, sorted(shapes)))}, expected one shape")
    return np.mean([array.astype(np.float64) for array in arrays], axis=0)


def _with_each_image_once(given: Given) -> Given:
    name = "images" if given.similarity is None else "similarity"
    array, texts = getattr(given, name), given.texts
    if array is None or (name == "images" and texts is None):
        return given
    copies = given.images_repeated
    if copies is None:
        n_txt = np.shape(texts)[0] if name == "images" else np.shape(array)[1]
        blind = given.caption_image is None and given.image_ids is None and given.relevance is None
        seen = count_copies(read_table(array, name)) if blind and len(array) == n_txt and np.ndim(array) == 2 else 1
        if seen > 1:
            raise InputError(
                f"{name} hold each row {seen} times in a row, as arrays of the VSE++ family do: say "
                f"images_repeated={seen} (--images-repeated {seen}), or caption_image if these are different images"
            )
        return given
    if isinstance(copies, bool) or not isinstance(copies, (int, np.integer)) or copies < 1:
        raise InputError(f"images_repeated is {copies!r}, expected a whole number from 1")
    return replace(given, **{name: each_image_once(read_table(array, name), int(copies), name)})


def each_image_once(array: np.ndarray, copies: int, name: Any) -> np.ndarray:
    """Each image once, of an array (n, ...) that stores it `copies` times in a row; InputError where they differ."""
    if copies < 1 or len(array) % copies:
        raise InputError(f"{name}: {len(array)} rows are no images stored {copies} times each")
    width = math.prod(array.shape[1:])
    step = max(1, COMPARED // (copies * width)) * copies
    for start in range(0, len(array), step) if copies > 1 else ():
        part = np.asarray(array[start : start + step]).reshape(-1, copies, width)
        for image in np.flatnonzero((part != part[:, :1]).any((1, 2)))[:1]:
            first = start + int(image) * copies
            raise InputError(
                f"{name}: rows {first} to {first + copies - 1} differ, expected one image stored {copies} times"
            )
    return array[::copies]


def count_copies(array: Sequence[np.ndarray] | np.ndarray) -> int:
    """How many times each row stands in a row, as arrays of the VSE++ family do; 1 where rows do not repeat so."""
    first = np.asarray(array[0])
    copies = 1
    while copies < len(array) and np.array_equal(array[copies], first):
        copies += 1
    if copies == 1 or copies == len(array) or len(array) % copies:
        return 1
    try:
        each_image_once(array, copies, "")
    except InputError:
        return 1
    return copies


def _with_positions(given: Given) -> Given:
    images, owners, relevance = given.image_ids, given.caption_image_ids, given.relevance
    if (images is None) != (owners is None) and given.caption_image is None and relevance is None:
        missing = "image_ids" if images is None else "caption_image_ids"
        raise InputError(f"{missing} is not given: names of images and, for each caption, of its image go together")
    if owners is not None:
        if given.caption_image is not None:
            raise InputError("caption_image and caption_image_ids are both given, expected one of the two")
        given = replace(given, caption_image=find_names(owners, images, "image", "image_ids"))
    if isinstance(relevance, str):
        return replace(given, relevance=known_relevance(relevance, images, given.caption_ids))
    if relevance is not None and not hasattr(relevance, "tocoo") and np.asarray(relevance).dtype.kind in "OUS":
        return replace(given, relevance=named_pairs(relevance, images, given.caption_ids))
    return given


def find_names(asked: Any, names: Any, what: str, name: str) -> np.ndarray:
    """The position of each asked name among `names`, (n,) int64; -1 where it is empty.

    InputError where a name stands twice among `names`, or is not there. Numbers and text are compared as text.
    """
    known: dict[str, int] = {}
    for position, text in enumerate(map(str, np.asarray(names).ravel().tolist())):
        if known.setdefault(text, position) != position:
            raise InputError(
                f"{name} has {text!r} at {known[text]} and at {position}: give each {what} a name of its own"
            )
    known[""] = -1
    found = [known.get(str(text)) for text in np.asarray(asked).ravel().tolist()]
    if None in found:
        at = found.index(None)
        raise InputError(f"{what} {str(np.asarray(asked).ravel()[at])!r} (entry {at}) is not among the names of {name}")
    return np.array(found, np.int64)


def named_pairs(relevance: Any, image_ids: Any, caption_ids: Any) -> np.ndarray:
    """Pairs of positions, with grades where there are three columns, from pairs of names."""
    table = np.asarray(relevance, dtype=object)
    if image_ids is None or caption_ids is None:
        missing = "image_ids" if image_ids is None else "caption_ids"
        raise InputError(f"relevance names items, and {missing} is not given: give image_ids and caption_ids")
    if table.ndim != 2 or table.shape[1] not in (2, 3):
        raise InputError(
            f"relevance has shape {table.shape}, expected pairs (image, caption), or three columns with a grade"
        )
    columns = [
        find_names(table[:, 0], image_ids, "image", "image_ids"),
        find_names(table[:, 1], caption_ids, "caption", "caption_ids"),
    ]
    if table.shape[1] == 3:
        try:
            columns.append(table[:, 2].astype(np.float64))
        except ValueError as error:
            raise InputError(f"relevance has a grade that is no number ({error})") from None
    return np.stack(columns, 1)


def known_relevance(name: str, image_ids: Any, caption_ids: Any) -> Mapping[str, tuple[np.ndarray, np.ndarray]]:
    """Direction -> pairs of positions, and how many relevant items of each query are not in the gallery.

    They are those that the package eccv-caption holds for the 5K test split of MS-COCO.
    """
    if name not in KNOWN_RELEVANCE:
        raise InputError(f"relevance is {name!r}, expected pairs, or one of {', '.join(KNOWN_RELEVANCE)}")
    try:
        import warnings

        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            from eccv_caption import Metrics
    except ImportError:
        raise InputError(
            f"relevance {name!r} needs the package eccv-caption, which is not installed: pip install eccv-caption"
        ) from None
    if image_ids is None or caption_ids is None:
        raise InputError(f"relevance {name!r} names items by MS-COCO's ids: give image_ids and caption_ids")
    known = Metrics()
    truth, pairs, theirs = getattr(known, KNOWN_RELEVANCE[name]), {}, set(known.coco_ids.tolist())
    try:
        images, captions = (
            {int(i): at for at, i in enumerate(np.asarray(ids).ravel().tolist())} for ids in (image_ids, caption_ids)
        )
    except ValueError as error:
        raise InputError(f"relevance {name!r} names items by MS-COCO's ids, which are numbers ({error})") from None
    for direction, places, others in (("i2t", images, captions), ("t2i", captions, images)):
        found, absent = [], np.zeros(len(places), np.int64)
        for query, items in truth[direction].items():
            # two of ECCV Caption's captions are none of the 25 000: they count as relevant and are never found
            lacking = [item for item in items if item not in others and (others is images or item in theirs)]
            if query not in places or lacking:
                raise InputError(
                    f"relevance {name!r} has {query if query not in places else lacking[0]}, which image_ids and "
                    "caption_ids lack: expected all of MS-COCO's 5K test"
                )
            here = [others[item] for item in set(items) if item in others]
            found += [(places[query], item) for item in here]
            absent[places[query]] = len(set(items)) - len(here)
        pairs[direction] = np.array(sorted(found), np.int64)[:, :: 1 if direction == "i2t" else -1], absent
    return pairs
