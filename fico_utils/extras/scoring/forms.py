"""The forms in which others hold what is scored: names, images stored several times, ensembles, known relevance."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

import numpy as np

from fico_utils.errors import InputError
from fico_utils.evaluation.embeddings import as_array, read_table
from fico_utils.evaluation.given import Given
from fico_utils.extras.scoring.query_sets import read_sets

#: Names of relevances that the package eccv-caption holds: -> the attribute that has them.
KNOWN_RELEVANCE = {"coco": "coco_gts", "cxc": "cxc_gts", "eccv": "eccv_gts"}
#: Arguments that are arrays; labels and relevance may also be sparse, and stay so.
SPARSE = ("labels", "text_labels", "query_labels", "gallery_labels", "relevance")
ARRAYS = ("images", "texts", "queries", "gallery", "similarity", "similarity_t2i", "caption_image", *SPARSE)
#: Numbers of stored copies that are compared at a time.
COMPARED = 2**24
#: How far copies of an image may lie apart, of its largest number: an encoder saw them in batches of its own.
NEAR = 1e-3


def read_forms(given: Given) -> Given:
    """The same with matrices combined, images stored once, and positions in place of names; InputError on what is none.

    Of a query set there are matrices to combine, and a gallery to be found; its names are image_ids and caption_ids.
    """
    for name in ("similarity", "similarity_t2i"):
        matrices = getattr(given, name)
        if isinstance(matrices, (list, tuple)) and len(matrices) and np.ndim(matrices[0]) == 2:
            given = replace(given, **{name: mean_of_matrices(matrices, name, given.unranked)})
    columns = getattr(given.relevance, "columns", ())
    if [str(column).lower() for column in columns[:2]] in (["caption", "image"], ["item", "query"]):
        given = replace(given, relevance=given.relevance[[columns[1], columns[0], *columns[2:]]])
    held = {name: getattr(given, name) for name in ARRAYS if not isinstance(getattr(given, name), (str, type(None)))}
    kept = {name for name in SPARSE if hasattr(held.get(name), "tocoo")}
    given = replace(given, **{name: as_array(held[name], name) for name in held.keys() - kept})
    return _with_positions(read_sets(given) if given.is_pair else _with_each_image_once(given))


def mean_of_matrices(matrices: Sequence[Any], name: str, unranked: float | None = None) -> np.ndarray:
    """The mean of some similarity matrices, an ensemble; a pair that is `unranked` in one of them is -inf.

    InputError where their shapes differ.
    """
    arrays = [read_table(matrix, name) for matrix in matrices]
    shapes = {array.shape for array in arrays}
    if len(shapes) > 1:
        raise InputError(f"{name} holds matrices of shapes {', '.join(map(str, sorted(shapes)))}, expected one shape")
    mean = np.mean([array.astype(np.float64) for array in arrays], axis=0)
    if unranked is not None:
        mean[np.any([array == float(unranked) for array in arrays], axis=0)] = -np.inf
    return mean


def _with_each_image_once(given: Given) -> Given:
    name = "images" if given.similarity is None else "similarity"
    if getattr(given, name) is None or (name == "images" and given.texts is None):
        return given
    array, copies = read_table(getattr(given, name), name), given.images_repeated
    if copies is None:
        n_txt = len(read_table(given.texts, "texts")) if name == "images" else array.shape[1]
        blind = given.caption_image is None and given.image_ids is None and given.relevance is None
        seen = count_copies(array) if blind and len(array) == n_txt else 1
        if seen > 1:
            raise InputError(
                f"{name} hold each row {seen} times in a row, as arrays of the VSE++ family do: say "
                f"images_repeated={seen} (--images-repeated {seen}), or caption_image if these are different images"
            )
        return given
    if isinstance(copies, bool) or not isinstance(copies, (int, np.integer)) or copies < 1:
        raise InputError(f"images_repeated is {copies!r}, expected a whole number from 1")
    return replace(given, **{name: each_image_once(array, int(copies), name)})


def each_image_once(array: np.ndarray, copies: int, name: Any) -> np.ndarray:
    """Each image once, of an array (n, ...) that stores it `copies` times in a row; InputError where they differ."""
    if copies < 1 or len(array) % copies:
        raise InputError(f"{name}: {len(array)} rows are no images stored {copies} times each")
    width = math.prod(array.shape[1:])
    step = max(1, COMPARED // (copies * width)) * copies
    for start in range(0, len(array), step) if copies > 1 else ():
        part = np.asarray(array[start : start + step]).reshape(-1, copies, width)
        for image in np.flatnonzero((part != part[:, :1]).any((1, 2))):
            first = start + int(image) * copies
            if not _are_copies(part[image]):
                raise InputError(
                    f"{name}: rows {first} to {first + copies - 1} differ, expected one image stored {copies} times"
                )
    return array[::copies]


def _are_copies(rows: np.ndarray) -> bool:
    """Whether some rows (n, width) are one but for `NEAR`."""
    if (rows == rows[0]).all():
        return True
    rows = rows.astype(np.float64)
    peak = np.abs(rows[np.isfinite(rows)]).max(initial=0.0)
    return bool(np.isclose(rows, rows[0], rtol=0, atol=NEAR * peak).all())


def count_copies(array: Sequence[np.ndarray] | np.ndarray) -> int:
    """How many times each row stands in a row, as arrays of the VSE++ family do; 1 where rows do not repeat so."""
    first = np.asarray(array[0])
    copies = 1
    while copies < len(array) and _are_copies(np.stack([first, array[copies]])):
        copies += 1
    if copies == 1 or copies == len(array) or len(array) % copies:
        return 1
    try:
        each_image_once(array, copies, "")
    except InputError:
        return 1
    return copies


def _with_positions(given: Given) -> Given:
    given = _with_names(given)
    images, owners, relevance = given.image_ids, given.caption_image_ids, given.relevance
    known = given.is_pair or given.caption_image is not None or relevance is not None
    if (images is None) != (owners is None) and not known:
        missing = "image_ids" if images is None else "caption_image_ids"
        raise InputError(f"{missing} is not given: names of images and, for each caption, of its image go together")
    if owners is not None:
        if given.caption_image is not None:
            raise InputError("caption_image and caption_image_ids are both given, expected one of the two")
        given = replace(given, caption_image=find_names(owners, images, "image", "image_ids"))
    if isinstance(relevance, str):
        return replace(given, relevance=known_relevance(relevance, images, given.caption_ids))
    if relevance is None or hasattr(relevance, "tocoo"):
        return given
    named = (images is not None and given.caption_ids is not None) or relevance.dtype.kind in "OUS"
    return replace(given, relevance=named_pairs(relevance, images, given.caption_ids)) if named else given


def name_text(name: Any) -> str:
    """A name as text: 7.0 is 7, as pandas and MATLAB write whole numbers; None and NaN are empty."""
    if name is None or name != name:
        return ""
    name = int(name) if isinstance(name, float) and name.is_integer() else name
    return name.decode(errors="replace") if isinstance(name, bytes) else str(name)


def _with_names(given: Given) -> Given:
    """The same with names as lists of text; InputError where there are not as many as items, or one stands twice."""
    first, second = (given.queries, given.gallery) if given.queries is not None else (given.images, given.texts)
    if given.similarity is not None:
        first, second = given.similarity, given.similarity.T
    for name, side in (("image_ids", first), ("caption_ids", second), ("caption_image_ids", second)):
        if getattr(given, name) is None or side is None:
            continue
        names = [name_text(text) for text in as_array(getattr(given, name), name).ravel().tolist()]
        if len(names) == len(side) + 1 and not names[-1].strip():
            names.pop()  # a blank line that an editor left at the end of the file
        blank = next((f" (line {line} is blank)" for line, text in enumerate(names, 1) if not text.strip()), "")
        if len(names) != len(side):
            raise InputError(f"{name} has {len(names)} names{blank}, expected one for each of {len(side)} items")
        known: dict[str, int] = {}
        for place, text in enumerate(() if name == "caption_image_ids" else names):
            if known.setdefault(text, place) != place:
                raise InputError(
                    f"{name} has {text!r} at {known[text]} and at {place}{blank}: give each item a name of its own"
                )
        given = replace(given, **{name: names})
    return given


def find_names(asked: Any, names: Sequence[str], what: str, name: str) -> np.ndarray:
    """The position of each asked name among `names`, (n,) int64; -1 where it is empty.

    InputError where it is not there. Numbers and text are compared as text.
    """
    known = {text: place for place, text in enumerate(names)} | {"": -1}
    asked = [name_text(text) for text in asked]
    absent = [at for at, text in enumerate(asked) if text not in known]
    if absent:
        raise InputError(f"{what} {asked[absent[0]]!r} (entry {absent[0]}) is not among the names of {name}")
    return np.array([known[text] for text in asked], np.int64)


def named_pairs(relevance: Any, image_ids: Any, caption_ids: Any) -> np.ndarray:
    """Pairs of positions, with grades where there are three columns, from pairs of names."""
    table = np.asarray(relevance, dtype=object)
    if table.ndim != 2 or table.shape[1] not in (2, 3):
        raise InputError(
            f"relevance has shape {table.shape}, expected pairs (image, caption), or three columns with a grade"
        )
    if image_ids is None or caption_ids is None:
        missing = "image_ids" if image_ids is None else "caption_ids"
        raise InputError(f"relevance names items, and {missing} is not given: give image_ids and caption_ids")
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
