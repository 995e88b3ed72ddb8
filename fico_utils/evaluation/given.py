"""What a user of `evaluate` gave: scores to be made, and who is relevant to whom, checked against each other."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from fico_utils.errors import InputError
from fico_utils.evaluation.embeddings import read_table
from fico_utils.evaluation.relevance import (
    caption_index,
    count_copies,
    each_image_once,
    find_names,
    image_text_tasks,
    query_gallery_tasks,
    read_pairs,
)
from fico_utils.evaluation.similarity import score_source
from fico_utils.evaluation.tasks import Task

#: Names of relevances that the package eccv-caption holds: -> the attribute that has them.
KNOWN_RELEVANCE = {"coco": "coco_gts", "cxc": "cxc_gts", "eccv": "eccv_gts"}


@dataclass(frozen=True)
class Given:
    """The arguments of `evaluate` that say what is ranked, as they were given; see there."""

    images: Any = None
    texts: Any = None
    queries: Any = None
    gallery: Any = None
    similarity: Any = None
    similarity_t2i: Any = None
    unranked: float | None = None
    caption_image: Any = None
    image_ids: Any = None
    caption_image_ids: Any = None
    caption_ids: Any = None
    images_repeated: int | None = None
    distractors: bool = False
    leave_out_self: bool = False
    relevance: Any = None
    labels: Any = None
    text_labels: Any = None
    query_labels: Any = None
    gallery_labels: Any = None
    measure: str = "cosine"
    bits: int | None = None
    allow_zero: bool = False

    @property
    def is_pair(self) -> bool:
        """Whether a query set asks a gallery, in one direction."""
        sets = (self.queries, self.gallery, self.query_labels, self.gallery_labels)
        return self.leave_out_self or any(x is not None for x in sets)

    def read(self) -> Given:
        """The same, with names turned into positions, images stored once, and matrices combined."""
        given = self
        for name in ("similarity", "similarity_t2i"):
            if isinstance(matrices := getattr(self, name), (list, tuple)) and np.ndim(matrices[0]) == 2:
                given = replace(given, **{name: mean_of_matrices(matrices, name)})
        return given._read_sets() if given.is_pair else given._each_image_once()._named()

    def _read_sets(self) -> Given:
        given = self
        for name in (
            "caption_image",
            "labels",
            "text_labels",
            "images_repeated",
            "similarity_t2i",
            "caption_image_ids",
        ):
            if getattr(given, name) is not None:
                raise InputError(
                    f"{name} is given with a query set, which has labels of its own or relevance: leave it out"
                )
        if given.leave_out_self and given.gallery is None and given.similarity is None:
            given = replace(given, gallery=given.queries)
        return given

    def _each_image_once(self) -> Given:
        name = "images" if self.similarity is None else "similarity"
        array, texts = getattr(self, name), self.texts
        if array is None or (name == "images" and texts is None):
            return self
        n_txt = np.shape(texts)[0] if name == "images" else np.shape(array)[1]
        copies = self.images_repeated
        if copies is None:
            blind = self.caption_image is None and self.image_ids is None and self.relevance is None
            seen = count_copies(read_table(array, name)) if blind and len(array) == n_txt and np.ndim(array) == 2 else 1
            if seen > 1:
                raise InputError(
                    f"{name} hold each row {seen} times in a row, as arrays of the VSE++ family do: say "
                    f"images_repeated={seen} (--images-repeated {seen}), or caption_image if these are different images"
                )
            return self
        if isinstance(copies, bool) or not isinstance(copies, (int, np.integer)) or copies < 1:
            raise InputError(f"images_repeated is {copies!r}, expected a whole number from 1")
        return replace(self, **{name: each_image_once(read_table(array, name), int(copies), name)})

    def _named(self) -> Given:
        """Positions in place of names."""
        given = self
        if (
            (given.image_ids is None) != (given.caption_image_ids is None)
            and given.caption_image is None
            and given.relevance is None
        ):
            missing = "image_ids" if given.image_ids is None else "caption_image_ids"
            raise InputError(f"{missing} is not given: names of images and, for each caption, of its image go together")
        if given.caption_image_ids is not None:
            if given.caption_image is not None:
                raise InputError("caption_image and caption_image_ids are both given, expected one of the two")
            named = find_names(given.caption_image_ids, given.image_ids, "image", "image_ids")
            given = replace(given, caption_image=named)
        if isinstance(given.relevance, str):
            given = replace(given, relevance=known_relevance(given.relevance, given.image_ids, given.caption_ids))
        elif (
            given.relevance is not None
            and not hasattr(given.relevance, "tocoo")
            and np.asarray(given.relevance).dtype.kind in "OUS"
        ):
            given = replace(given, relevance=named_pairs(given.relevance, given.image_ids, given.caption_ids))
        return given

    def source(self) -> Any:
        """Where scores come from."""
        names = (
            "images",
            "texts",
            "queries",
            "gallery",
            "similarity",
            "similarity_t2i",
            "unranked",
            "measure",
            "bits",
            "allow_zero",
        )
        return score_source(**{name: getattr(self, name) for name in names})

    def tasks(self, n: tuple[int, int]) -> list[Task]:
        """Who asks whom, for so many images and captions, or queries and items."""
        if self.is_pair:
            asked = self.query_labels, self.gallery_labels, self.relevance, self.leave_out_self
            return query_gallery_tasks(*n, *asked)
        self._check_orientation(n)
        names = ("caption_image", "labels", "text_labels", "relevance", "distractors")
        return image_text_tasks(*n, **{name: getattr(self, name) for name in names})

    def _check_orientation(self, n: tuple[int, int]) -> None:
        """Refuse a matrix of captions by images."""
        if self.similarity is None or self.similarity_t2i is not None or n[0] == n[1]:
            return
        if self.caption_image is not None:
            turned = np.shape(self.caption_image) == (n[0],)
        else:
            turned = self.relevance is None and n[1] < n[0] and n[0] % n[1] == 0
        if turned:
            raise InputError(
                f"similarity has shape {n}, captions by images, expected images by captions: transpose it "
                "(or give it as similarity_t2i beside similarity)"
            )

    def check_folds(self, number: int, n_img: int) -> None:
        """InputError where the input cannot be scored in parts."""
        if self.is_pair or self.distractors:
            raise InputError(
                "folds are parts of images with their captions: leave out folds, or the query set or distractors"
            )
        if self.relevance is not None and self.caption_image is None:
            raise InputError("folds need to know of which image a caption is: give caption_image beside relevance")
        if isinstance(self.relevance, Mapping):
            raise InputError("folds and a relevance by name are both given: leave folds out, or give pairs")
        if number < 1 or n_img % number:
            raise InputError(
                f"folds is {number}, which does not divide {n_img} images into equal parts: give a divisor"
            )

    def folds(self, number: int, n: tuple[int, int]) -> list[Given]:
        """The input of each of some consecutive parts of the images with their captions."""
        if number == 1:
            return [self]
        self.check_folds(number, n[0])
        index, pairs = caption_index(self.caption_image, *n), None
        if self.relevance is not None:
            pairs, grades = read_pairs(self.relevance, *n, ("image", "caption"))
            pairs = np.column_stack([pairs, np.ones(len(pairs)) if grades is None else grades])
        return [self._part(images, captions, index, pairs) for images, captions in fold_parts(number, n[0], index)]

    def _part(self, images: slice, captions: np.ndarray, index: np.ndarray, pairs: np.ndarray | None) -> Given:
        """Some consecutive images with their captions."""
        kept: dict[str, Any] = {"caption_image": index[captions] - images.start}
        for name, rows in (("images", images), ("labels", images), ("texts", captions), ("text_labels", captions)):
            if (array := getattr(self, name)) is not None:
                kept[name] = (array.tocsr() if hasattr(array, "tocsr") else np.asarray(array))[rows]
        if self.similarity is not None:
            kept["similarity"] = np.asarray(self.similarity)[images][:, captions]
        if self.similarity_t2i is not None:
            kept["similarity_t2i"] = np.asarray(self.similarity_t2i)[captions][:, images]
        if pairs is not None:
            place = np.full(index.size, -1)
            place[captions] = np.arange(captions.size)
            here = (pairs[:, 0] >= images.start) & (pairs[:, 0] < images.stop) & (place[pairs[:, 1].astype(int)] >= 0)
            inside = pairs[here]
            kept["relevance"] = np.column_stack(
                [inside[:, 0] - images.start, place[inside[:, 1].astype(int)], inside[:, 2]]
            )
        return replace(self, **kept)


def fold_parts(folds: int, n_img: int, index: np.ndarray) -> list[tuple[slice, np.ndarray]]:
    """The images and the captions of each of some consecutive parts of the images, which divide into so many.

    >>> fold_parts(2, 4, np.array([0, 2, 2, 3]))[1]
    (slice(2, 4, None), array([1, 2, 3]))
    """
    size = n_img // folds
    return [(slice(a, a + size), np.flatnonzero((index >= a) & (index < a + size))) for a in range(0, n_img, size)]


def mean_of_matrices(matrices: Sequence[Any], name: str) -> np.ndarray:
    """The mean of some similarity matrices, an ensemble; InputError where their shapes differ."""
    arrays = [read_table(matrix, name) for matrix in matrices]
    shapes = {array.shape for array in arrays}
    if len(shapes) > 1:
        raise InputError(f"{name} holds matrices of shapes {', '.join(map(str, sorted(shapes)))}, expected one shape")
    return np.mean([array.astype(np.float64) for array in arrays], axis=0)


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
    images, captions = (
        {int(i): at for at, i in enumerate(np.asarray(ids).ravel().tolist())} for ids in (image_ids, caption_ids)
    )
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
