"""Who is correct for whom: the caption index (instance level) and shared labels (category level); and the words."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from fico_utils.errors import InputError

DIRECTIONS = ("i2t", "t2i")
INSTANCE, CATEGORY = LEVELS = ("instance", "category")
#: Orders of items with equal score.
TIES = ("expected", "optimistic", "pessimistic", "index")
#: The first three as compiled code takes them; "index" is scored without ties.
EXPECTED, OPTIMISTIC, PESSIMISTIC = range(3)


class Ragged(NamedTuple):
    """Lists of different lengths in two arrays: list i is ``members[start[i] : start[i + 1]]``."""

    start: np.ndarray
    members: np.ndarray

    def take(self, chosen: np.ndarray) -> Ragged:
        """The lists of some owners, in the order given."""
        start = np.concatenate([[0], np.cumsum(np.diff(self.start)[chosen])])
        shift = np.repeat(self.start[chosen] - start[:-1], np.diff(start))
        return Ragged(start, self.members[np.arange(start[-1]) + shift])


def group_members(owner: np.ndarray, member: np.ndarray, n_owner: int) -> Ragged:
    """The members of each owner 0 ... n_owner - 1, in the order given.

    >>> group_members(np.array([1, 0, 1]), np.array([5, 6, 7]), 2)
    Ragged(start=array([0, 1, 3]), members=array([6, 5, 7]))
    """
    order = np.argsort(owner, kind="stable")
    start = np.searchsorted(owner[order], np.arange(n_owner + 1))
    return Ragged(start.astype(np.int64), member[order].astype(np.int64))


def caption_index(caption_image: np.ndarray | None, n_img: int, n_txt: int) -> np.ndarray:
    """Index of each caption's image, (n_txt,) int64; InputError where it has no meaning.

    None means n_txt / n_img captions per image, those of an image consecutive.
    """
    if caption_image is None:
        if n_txt % n_img:
            raise InputError(
                f"{n_txt} captions do not divide evenly among {n_img} images: give caption_image, "
                "the index of each caption's image"
            )
        return np.repeat(np.arange(n_img, dtype=np.int64), n_txt // n_img)
    index = np.asarray(caption_image)
    if index.shape != (n_txt,):
        raise InputError(f"caption_image has shape {index.shape}, expected one index for each of {n_txt} captions")
    if index.dtype.kind not in "iuf" or (index.dtype.kind == "f" and not np.all(np.mod(index, 1) == 0)):
        raise InputError(f"caption_image holds {index.dtype} values, expected whole numbers from 0 to {n_img - 1}")
    outside = np.flatnonzero((index < 0) | (index >= n_img))
    if outside.size:
        raise InputError(
            f"caption_image names image {index[outside[0]]} at caption {outside[0]}, expected 0 to {n_img - 1}"
        )
    index = index.astype(np.int64)
    bare = np.flatnonzero(np.bincount(index, minlength=n_img) == 0)
    if bare.size:
        raise InputError(
            f"image {bare[0]} has no caption ({bare.size} such images): drop these images, "
            "every query needs a correct item"
        )
    return index


def label_lists(labels: np.ndarray, n_img: int) -> tuple[Ragged, Ragged]:
    """The labels of each image and the images of each label; InputError where labels have no meaning.

    Parameters
    ----------
    labels : array_like (n_img, n_labels) multi-hot, values 0 and 1; or (n_img,) class numbers, where a negative one
        means no label. An image without a label is relevant to nothing.
    """
    labels = np.asarray(labels)
    if labels.ndim not in (1, 2) or labels.shape[0] != n_img or labels.size == 0:
        raise InputError(f"labels have shape {labels.shape}, expected one row for each of {n_img} images")
    if labels.dtype.kind not in "biuf":
        raise InputError(f"labels hold {labels.dtype} values, expected a multi-hot table of 0 and 1")
    if labels.ndim == 1:
        if labels.dtype.kind == "f" and not np.all(np.mod(labels, 1) == 0):
            raise InputError("labels in one dimension must be whole class numbers, one for each image")
        image = np.flatnonzero(labels >= 0)
        classes, label = np.unique(labels[image], return_inverse=True)
        n_labels = classes.size
    else:
        odd = np.argwhere((labels != 0) & (labels != 1))
        if odd.size:
            row, column = odd[0]
            raise InputError(
                f"labels hold {labels[row, column]} in row {row}, expected only 0 and 1: "
                "threshold soft scores, or give class numbers as a one-dimensional array"
            )
        image, label = np.nonzero(labels)
        n_labels = labels.shape[1]
    return group_members(image, label, n_img), group_members(label, image, n_labels)
