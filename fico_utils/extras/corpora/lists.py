"""A corpus from lists in memory, and how one that brings no splits is divided."""

from __future__ import annotations

import numpy as np

from fico_utils.data.corpus import Corpus
from fico_utils.errors import InputError


def stratified_split(labels: np.ndarray, fractions: dict[str, float], seed: int = 0) -> np.ndarray:
    """Split names, (n_img,) str, that divide every label in the given fractions as evenly as can be.

    Iterative stratification: of the labels with images left, take the rarest; give each of its images to
    the split that still wants most of this label, among equals the one that wants most images, among
    equals one by chance.

    Parameters
    ----------
    labels : ndarray (n_img, n_labels), multi-hot; images without any label are divided at the end
    fractions : dict from split name to its share of the images; shares are positive and add up to 1
    seed : int

    References
    ----------
    Sechidis, Tsoumakas, Vlahavas: On the stratification of multi-label data. ECML PKDD 2011.

    Examples
    --------
    >>> import numpy as np
    >>> sorted(stratified_split(np.eye(2)[[0, 0, 1, 1]], {"train": 0.5, "test": 0.5}).tolist())
    ['test', 'test', 'train', 'train']
    """
    labels = np.asarray(labels)
    if labels.ndim != 2 or not len(labels):
        raise InputError(f"Labels of shape {labels.shape} cannot be split; give a matrix (n_img, n_labels).")
    shares = np.array(list(fractions.values()), float)
    if not len(shares) or not (shares > 0).all() or abs(shares.sum() - 1) > 1e-6:
        raise InputError(f"Split fractions {dict(fractions)} must be positive and add up to 1.")
    has = labels.astype(bool)
    rng = np.random.default_rng(seed)
    wanted = shares * len(has)
    wanted_of_label = shares[:, None] * has.sum(0)
    split = np.full(len(has), -1)
    remaining = has.sum(0)
    while True:
        open_labels = np.flatnonzero(remaining)
        label = open_labels[np.argmin(remaining[open_labels])] if len(open_labels) else None
        rows = np.flatnonzero((split < 0) & has[:, label]) if label is not None else np.flatnonzero(split < 0)
        for row in rng.permutation(rows):
            need = wanted_of_label[:, label] if label is not None else wanted
            best = np.flatnonzero(need == need.max())
            best = best[wanted[best] == wanted[best].max()]
            chosen = best[rng.integers(len(best))]
            split[row] = chosen
            wanted[chosen] -= 1
            wanted_of_label[chosen] -= has[row]
            remaining -= has[row]
        if label is None:
            return np.array(list(fractions))[split]


def from_lists(
    name: str,
    image_ids,
    captions_by_image,
    images=None,
    *,
    labels=None,
    label_names=(),
    split=None,
    fractions: dict[str, float] | None = None,
    seed: int = 0,
) -> Corpus:
    """A Corpus from one list of captions an image, split by `stratified_split` where no split is given.

    Parameters
    ----------
    image_ids : sequence of str, n_img
    captions_by_image : sequence of sequences of str, n_img
    images, labels, label_names, split : as in Corpus
    fractions : shares of train, val and test, by default 0.8, 0.1, 0.1
    seed : int, for the split

    Examples
    --------
    >>> own = from_lists("own", ["a", "b"], [["a cat"], ["a dog", "one dog"]], split=["train", "test"])
    >>> own.caption_image
    array([0, 1, 1])
    """
    if len(captions_by_image) != len(image_ids):
        raise InputError(
            f"Corpus {name!r}: {len(captions_by_image)} lists of captions for {len(image_ids)} images; "
            "give one list for each image."
        )
    if split is None:
        for_split = np.zeros((len(image_ids), 1)) if labels is None else labels
        split = stratified_split(for_split, fractions or {"train": 0.8, "val": 0.1, "test": 0.1}, seed)
    counts = [len(captions) for captions in captions_by_image]
    return Corpus(
        name,
        image_ids,
        [text for captions in captions_by_image for text in captions],
        np.repeat(np.arange(len(counts)), counts),
        split,
        labels,
        label_names,
        images,
    )
