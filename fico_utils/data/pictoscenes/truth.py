"""Which captions of PictoScenes are true of which scenes: exact, from the scene graphs alone."""

from __future__ import annotations

from itertools import combinations

import numpy as np

from fico_utils.data.corpus import Corpus
from fico_utils.data.pictoscenes.captions import ANY, Facts, Mention, captions_of
from fico_utils.data.pictoscenes.scene import MAX_THINGS, Scene
from fico_utils.data.pictoscenes.tables import (
    BACKGROUND_TERMS,
    BACKGROUNDS,
    COLOURS,
    GRID,
    PICTOGRAPHS,
    PLACES,
    RELATED,
    SIZE_NAMES,
    TERMS,
)
from fico_utils.errors import InputError

_RELATED = {name: np.array(table) for name, table in RELATED.items()}


def _memberships(sets, n_values: int) -> np.ndarray:
    """Does a set hold a value? bool (sets, values + 1); the last column, for a value of -1, holds nothing."""
    return np.array([[value in members for value in range(n_values + 1)] for members in sets])


_BACKGROUND_FITS = _memberships([fits for _, fits in BACKGROUND_TERMS], len(BACKGROUNDS))
_IN_TERM = _memberships([term.fits for term in TERMS], len(PICTOGRAPHS))
_IN_PLACE = _memberships([cells for _, cells in PLACES], GRID * GRID)
_OVERLAP = np.array([[not a.fits.isdisjoint(b.fits) for b in TERMS] for a in TERMS])


def _may_coincide(a: Mention, b: Mention) -> bool:
    """Can one thing fit both?"""
    return bool(_OVERLAP[a.term, b.term]) and all(
        x == y or ANY in (x, y) for x, y in ((a.colour, b.colour), (a.size, b.size))
    )


class _Table:
    """Scenes as arrays (n, 5), with one cached mask for each term, colour, size and place."""

    def __init__(self, scenes):
        self.n = len(scenes)
        fields = np.full((4, self.n, MAX_THINGS), -1, np.int64)
        for i, scene in enumerate(scenes):
            for k, thing in enumerate(scene.things):
                fields[:, i, k] = thing.category, thing.colour, thing.size, thing.cell
        self.category, self.colour, self.size, self.cell = fields
        self.background = np.array([scene.background for scene in scenes], np.int64)
        self.n_things = (self.category >= 0).sum(1)
        self.with_colour = [self.colour == k for k in range(len(COLOURS))]
        self.with_size = [self.size == k for k in range(len(SIZE_NAMES))]
        self.in_place = [_IN_PLACE[k][self.cell] for k in range(len(PLACES))]
        self._terms: dict[int, tuple[np.ndarray, np.ndarray]] = {}

    def term(self, k: int) -> tuple[np.ndarray, np.ndarray]:
        """The things that fit term k, bool (n, 5), and the rows with any."""
        if k not in self._terms:
            mask = _IN_TERM[k][self.category]
            self._terms[k] = mask, np.flatnonzero(mask.any(1))
        return self._terms[k]

    def true_rows(self, facts: Facts) -> np.ndarray:
        """The rows of the scenes of which the facts are true, int64, ascending."""
        mentions = sorted(range(len(facts.mentions)), key=lambda k: len(self.term(facts.mentions[k].term)[1]))
        rows = self.term(facts.mentions[mentions[0]].term)[1] if mentions else np.arange(self.n)
        fits = {}
        for k in mentions:
            mention = facts.mentions[k]
            fit = self.term(mention.term)[0][rows]
            limits = (mention.colour, mention.size, mention.place)
            for value, masks in zip(limits, (self.with_colour, self.with_size, self.in_place), strict=True):
                if value != ANY:
                    fit &= masks[value][rows]
            count = fit.sum(1)
            keep = (count >= mention.low) & (count <= mention.high)
            rows, fits = rows[keep], {j: other[keep] for j, other in fits.items()}
            fits[k] = fit[keep]
        keep = (self.n_things[rows] >= facts.low) & (self.n_things[rows] <= facts.high)
        if facts.background != ANY:
            keep &= _BACKGROUND_FITS[facts.background][self.background[rows]]
        rows, fits = rows[keep], {k: fit[keep] for k, fit in fits.items()}
        apart = not any(_may_coincide(a, b) for a, b in combinations(facts.mentions, 2))
        if not len(rows) or (apart and not facts.relation):
            return rows
        if apart:
            return rows[self._pairs(rows, fits, facts.relation).any((1, 2))]
        return rows[self._different_things(rows, fits, facts)]

    def _pairs(self, rows, fits, relation) -> np.ndarray:
        """Does thing i fit one mention, j the other, and i stand so to j? bool (len(rows), 5, 5)"""
        name, a, b = relation
        cells = self.cell[rows]
        return _RELATED[name][cells[:, :, None], cells[:, None, :]] & fits[a][:, :, None] & fits[b][:, None, :]

    def _different_things(self, rows, fits, facts) -> np.ndarray:
        """Can every mention mean a thing of its own, those of the relation standing so? bool (len(rows),)"""
        free = np.ones((len(rows), MAX_THINGS), bool)
        possible = np.ones(len(rows), bool)
        for k, mention in enumerate(facts.mentions):
            if mention.low > 1:  # several things, all that fit
                possible &= (free | ~fits[k]).all(1)
                free &= ~fits[k]
        single = [k for k, mention in enumerate(facts.mentions) if mention.low == 1]
        fits = {k: fits[k] & free for k in single}
        # chosen[s]: set s of things (a bit each) can be what the mentions so far mean
        chosen = np.zeros((len(rows), 1 << MAX_THINGS), bool)
        if facts.relation:
            pair = self._pairs(rows, fits, facts.relation)
            for i in range(MAX_THINGS):
                for j in range(MAX_THINGS):
                    if i != j:
                        chosen[:, 1 << i | 1 << j] |= pair[:, i, j]
            single = [k for k in single if k not in facts.relation[1:]]
        else:
            chosen[:, 0] = True
        for k in single:
            following = np.zeros_like(chosen)
            for i in range(MAX_THINGS):
                without = [s for s in range(1 << MAX_THINGS) if not s >> i & 1]
                following[:, [s | 1 << i for s in without]] |= chosen[:, without] & fits[k][:, i, None]
            chosen = following
        return possible & chosen.any(1)


def true_rows(facts, scenes) -> list[np.ndarray]:
    """For each caption's facts, the indices of the scenes of which it is true, int64, ascending.

    `facts` is a sequence of Facts or of Caption.
    """
    table = _Table(scenes)
    return [table.true_rows(getattr(fact, "facts", fact)) for fact in facts]


def true_of(facts, scenes: list[Scene]) -> np.ndarray:
    """Truth of every caption of every scene, bool (n_captions, n_scenes); arguments as of `true_rows`."""
    truth = np.zeros((len(facts), len(scenes)), bool)
    for row, columns in zip(truth, true_rows(facts, scenes), strict=True):
        row[columns] = True
    return truth


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
