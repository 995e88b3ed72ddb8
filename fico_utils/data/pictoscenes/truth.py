"""Which captions of PictoScenes are true of which scenes: exact, from the scene graphs alone."""

from __future__ import annotations

from collections.abc import Sequence
from functools import cache
from itertools import permutations

import numpy as np

from fico_utils.data.corpus import Corpus
from fico_utils.data.pictoscenes import tables
from fico_utils.data.pictoscenes.captions import ANY, Caption, captions_of
from fico_utils.data.pictoscenes.scene import MAX_THINGS, Scene
from fico_utils.errors import InputError


def _memberships(sets, n_values: int) -> np.ndarray:
    """Does a set hold a value? bool (sets, values + 1); the last column, for a value of -1, holds nothing."""
    return np.array([[value in members for value in range(n_values + 1)] for members in sets])


_BACKGROUND_FITS = _memberships([fits for _, fits in tables.BACKGROUND_TERMS], len(tables.BACKGROUNDS))
_IN_TERM = _memberships([term.fits for term in tables.TERMS], len(tables.PICTOGRAPHS))
_IN_PLACE = _memberships([cells for _, cells in tables.PLACES], tables.GRID**2)
#: n -> every way to give each of n mentions a thing of its own, int (ways, n).
_CHOICES = [np.array([*permutations(range(MAX_THINGS), n)], int) for n in range(MAX_THINGS + 1)]


def true_rows(captions: Sequence[Caption], scenes: Sequence[Scene]) -> list[np.ndarray]:
    """For each caption, the indices of the scenes of which it is true, int64, ascending."""
    category, colour, size, cell = fields = np.full((4, len(scenes), MAX_THINGS), -1, np.int64)
    for i, scene in enumerate(scenes):
        for k, thing in enumerate(scene.things):
            fields[:, i, k] = thing.category, thing.colour, thing.size, thing.cell
    background = np.array([scene.background for scene in scenes], np.int64)
    n_things = (category >= 0).sum(1)

    @cache
    def of_term(term: int) -> tuple[np.ndarray, np.ndarray]:
        """The things that fit a term, bool (n, 5), and the rows with any."""
        fit = _IN_TERM[term][category]
        return fit, np.flatnonzero(fit.any(1))

    def rows_of(caption: Caption) -> np.ndarray:
        rows = min((of_term(mention.term)[1] for mention in caption.mentions), key=len, default=np.arange(len(scenes)))
        keep = (n_things[rows] >= caption.low) & (n_things[rows] <= caption.high)
        if caption.background != ANY:
            keep &= _BACKGROUND_FITS[caption.background][background[rows]]
        rows, fits = rows[keep], []
        for mention in caption.mentions:
            fit = of_term(mention.term)[0][rows]
            if mention.colour != ANY:
                fit &= colour[rows] == mention.colour
            if mention.size != ANY:
                fit &= size[rows] == mention.size
            if mention.place != ANY:
                fit &= _IN_PLACE[mention.place][cell[rows]]
            count = fit.sum(1)
            keep = (count >= mention.low) & (count <= mention.high)
            rows, fits = rows[keep], [earlier[keep] for earlier in (*fits, fit)]
        return rows[_mean_different_things(caption, fits, cell[rows])]

    return [rows_of(caption) for caption in captions]


def _mean_different_things(caption: Caption, fits: list[np.ndarray], cells: np.ndarray) -> np.ndarray:
    """Can every mention mean things of its own, those of the relation standing so? bool (n,) of scenes.

    `fits` says of each mention which things fit it, bool (n, 5); `cells` (n, 5) where they stand.
    """
    free, possible = np.ones(cells.shape, bool), np.ones(len(cells), bool)
    for mention, fit in zip(caption.mentions, fits, strict=True):
        if mention.low > 1:  # several things, all that fit
            possible &= (free | ~fit).all(1)
            free &= ~fit
    single = [fit & free for mention, fit in zip(caption.mentions, fits, strict=True) if mention.low == 1]
    choices = _CHOICES[len(single)].T
    suits = np.ones((len(cells), choices.shape[1]), bool)
    for fit, things in zip(single, choices, strict=True):
        suits &= fit[:, things]
    if caption.relation:  # of the first two mentions, which are single things
        suits &= tables.RELATED[caption.relation][cells[:, choices[0]], cells[:, choices[1]]]
    return possible & suits.any(1)


def _true_rows_of(corpus: Corpus) -> list[np.ndarray]:
    """For each caption of an embedded corpus, the images of which it is true."""
    if corpus.scenes is None:
        problem = "has no scene graphs, so its truth is unknown; use picto_diverse or picto_people."
        raise InputError(f"Corpus {corpus.name!r} {problem}")
    captions_left = [iter(captions_of(scene)) for scene in corpus.scenes]
    captions = [next(captions_left[image]) for image in corpus.caption_image]
    for caption, text, image in zip(captions, corpus.captions, corpus.caption_image, strict=True):
        if caption.text != text:
            problem = f"the caption {text!r} of image row {image} is not of its scene"
            raise InputError(f"Corpus {corpus.name!r}: {problem}; make the corpus again with make_corpus.")
    return true_rows(captions, corpus.scenes)


def truth_matrix(corpus: Corpus) -> np.ndarray:
    """1 where a caption is true of an image, else 0; float32 (n_img, n_txt)."""
    truth = np.zeros((corpus.n_img, corpus.n_txt), np.float32)
    for column, rows in enumerate(_true_rows_of(corpus)):
        truth[rows, column] = 1
    return truth


def perfect_similarity(corpus: Corpus) -> np.ndarray:
    """The perfect retriever's sim_i2t, float32 (n_img, n_txt): 1 / (images that fit) where it fits, else 0.

    That is the chance that the caption was written for the image. Searching images it ties all that fit,
    as `truth_matrix` does; searching captions it prefers those that say more.
    """
    truth = truth_matrix(corpus)
    return truth / truth.sum(0)


def perfect_retriever(corpus: Corpus) -> dict[str, float]:
    """What `perfect_similarity` scores on all images of the corpus, ties at their expected value, and mean counts.

    t2i_recall_at_1 is the mean over captions of 1 / (images of which it is true), i2t_recall_at_1 the mean over images
    of the share of own captions among its highest.
    """
    rows_of = _true_rows_of(corpus)
    counts = np.array([len(rows) for rows in rows_of])
    image = np.concatenate(rows_of)
    column = np.repeat(np.arange(corpus.n_txt), counts)
    fewest = np.full(corpus.n_img, corpus.n_img + 1)
    np.minimum.at(fewest, image, counts[column])
    top = counts[column] == fewest[image]
    own = top & (corpus.caption_image[column] == image)
    i2t = np.bincount(image[own], minlength=corpus.n_img) / np.bincount(image[top], minlength=corpus.n_img)
    return {
        "t2i_recall_at_1": float((1 / counts).mean()),
        "i2t_recall_at_1": float(i2t.mean()),
        "true_images_per_caption": float(counts.mean()),
        "true_captions_per_image": float(len(image) / corpus.n_img),
    }
