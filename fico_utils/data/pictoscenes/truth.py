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
_BACKGROUND_FITS = np.array([[i in fits for i in range(len(BACKGROUNDS))] for _, fits in BACKGROUND_TERMS])

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
        self._terms: dict[int, tuple[np.ndarray, np.ndarray]] = {}

        def masks(field, fitting, n_values):  # row -1, of absent things, fits nothing
            table = np.zeros((len(fitting), n_values + 1), bool)
            for row, values in zip(table, fitting, strict=True):
                row[list(values)] = True
            return lambda k: table[k][field]

        self._term_mask = masks(self.category, [term.fits for term in TERMS], len(PICTOGRAPHS))
        self.with_colour = [masks(self.colour, [[k]], len(COLOURS))(0) for k in range(len(COLOURS))]
        self.with_size = [masks(self.size, [[k]], len(SIZE_NAMES))(0) for k in range(len(SIZE_NAMES))]
        self.in_place = [masks(self.cell, [cells], GRID * GRID)(0) for _, cells in PLACES]

    def term(self, k: int) -> tuple[np.ndarray, np.ndarray]:
        """The things that fit term k, bool (n, 5), and the rows with any."""
        if k not in self._terms:
            mask = self._term_mask(k)
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
            for value, tables in (
                (mention.colour, self.with_colour),
                (mention.size, self.with_size),
                (mention.place, self.in_place),
            ):
                if value != ANY:
                    fit &= tables[value][rows]
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

    Parameters
    ----------
    facts : sequence of Facts (or of Caption)
    scenes : sequence of Scene
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
        raise InputError(
            f"Corpus {corpus.name!r} has no scene graphs, so its truth is unknown; use picto_diverse or picto_people."
        )
    facts_of = [captions_of(scene) for scene in corpus.scenes]
    taken = np.zeros(corpus.n_img, np.int64)
    facts = []
    for image, text in zip(corpus.caption_image, corpus.captions, strict=True):
        caption = facts_of[image][taken[image]]
        if caption.text != text:
            raise InputError(
                f"Corpus {corpus.name!r}: the caption {text!r} of image row {image} is not of its scene; "
                "make the corpus again with make_corpus."
            )
        facts.append(caption.facts)
        taken[image] += 1
    return true_rows(facts, corpus.scenes)


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
    """What `perfect_similarity` scores on all images of the corpus, ties at their expected value.

    Returns
    -------
    dict
        t2i_recall_at_1: mean over captions of 1 / (images of which it is true). i2t_recall_at_1: mean over
        images of the share of own captions among its highest. true_images_per_caption,
        true_captions_per_image: means.
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
