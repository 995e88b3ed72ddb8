"""Recall as the gallery grows by scenes that were never seen: the limitation that the paper names of itself.

The paper scaled its test set by duplicating it, so its larger collections were harder for the clock alone. Here every
scene is a new one. The queries stay those of the first scenes; the gallery comes block by block, is scored against
them, and is dropped: memory is that of a block, whatever the size.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from fico_utils import registry
from fico_utils.costs.clock import row
from fico_utils.costs.ranking import Ranking
from fico_utils.costs.stages import CAPTIONS, Stage
from fico_utils.costs.truth import Truth
from fico_utils.errors import InputError

if TYPE_CHECKING:
    from fico_utils.models.blocks import RetrievalModel

#: k of the rows R@k and mAP@k.
RECALL_AT, MAP_AT = (1, 5, 10), (10, 100)

#: Scores of images (n_img, ...) against texts (n_txt, ...): (n_img, n_txt), larger is closer.
Scorer = Callable[[np.ndarray, np.ndarray], np.ndarray]


def blocks(sizes: Sequence[int], block: int = 1000) -> Iterator[tuple[int, int]]:
    """Ranges of scenes that make up the largest size, none above `block`, with an end at each size.

    >>> list(blocks([100, 250], 100))
    [(0, 100), (100, 200), (200, 250)]

    Raises
    ------
    InputError
        No sizes, or a size or block below 1.
    """
    if not sizes or min(sizes) < 1 or block < 1:
        raise InputError(f"gallery sizes {list(sizes)} in blocks of {block} were asked for; expected sizes from 1")
    start = 0
    for size in sorted(set(sizes)):
        while start < size:
            stop = min(start + block, size)
            yield start, stop
            start = stop


def embed(
    block: dict[str, Any], extractors: Sequence[Stage], encoders: Sequence[Stage]
) -> dict[str, dict[str, np.ndarray]]:
    """Embeddings of a block: system -> ``img`` (n, ...) and ``txt`` (5 n, ...); features are made once for all.

    Parameters
    ----------
    block : dict, ``pixels`` and ``captions``, as `stages.Scenes` gives them.
    extractors, encoders : lists of `Stage`; an extractor that no encoder reads does not run.

    Raises
    ------
    InputError
        An encoder reads a feature that nobody makes.
    """
    features, wanted = dict(block), {reads for e in encoders for reads, _ in e.sides.values()}
    for extractor in extractors:
        if wanted & set(extractor.makes):
            for reads, work in extractor.sides.values():
                features |= work(block[reads])
    missing = sorted(wanted - set(features))
    if missing:
        raise InputError(f"the encoders read {missing[0]!r}, which no extractor makes; add its extractor")
    short = {"image": "img", "text": "txt"}
    return {
        e.name: {short[side]: np.concatenate(list(work(features[reads]))) for side, (reads, work) in e.sides.items()}
        for e in encoders
    }


def scorer(system: str, model: RetrievalModel | None = None) -> Scorer:
    """How a row of the tables compares what it stored, as a function of images and texts.

    Parameters
    ----------
    system : str, id of the registry.
    model : RetrievalModel; only a row whose measure is more than a cosine or a Hamming distance needs it.

    Raises
    ------
    InputError
        A measure that needs the model, without it; or a fusion system, whose scores depend on a list of candidates.
    """
    measure = registry.system(system).measure
    if measure == "cosine":
        return lambda img, txt: _unit(img) @ _unit(txt).T
    if measure == "hamming":
        return equal_bits
    if measure == "rerank":
        raise InputError(
            f"{system} reads again what another ranking found, and scores nothing else; measure its dual encoder "
            "(the row without fusion), and the fusion in a Screen"
        )
    if model is None:
        raise InputError(f"{system} compares by {measure}, which its model computes; give the model")
    from fico_utils.models import encoding

    if measure == "late":
        return lambda img, txt: encoding.late_scores(model, img, txt)
    return lambda img, txt: encoding.score(model, img, txt, progress=False)


def _unit(x: np.ndarray) -> np.ndarray:
    x = x.astype(np.float32)
    return x / np.maximum(np.linalg.norm(x, axis=1, keepdims=True), 1e-12)


def equal_bits(img: np.ndarray, txt: np.ndarray) -> np.ndarray:
    """Number of equal bits of packed codes (n_img, b) and (n_txt, b) uint8: (n_img, n_txt) int16.

    >>> equal_bits(np.uint8([[255]]), np.uint8([[255], [254]])).tolist()
    [[8, 7]]
    """
    if img.dtype != np.uint8 or txt.dtype != np.uint8 or img.shape[1] != txt.shape[1]:
        raise InputError(
            f"codes of shapes {img.shape} ({img.dtype}) and {txt.shape} ({txt.dtype}) were given; "
            "expected packed uint8 of one length"
        )
    width = -(-img.shape[1] // 8) * 8
    a, b = (np.pad(x, ((0, 0), (0, width - x.shape[1]))).view(np.uint64) for x in (img, txt))
    same = np.full((len(a), len(b)), 8 * img.shape[1], np.int16)
    for word in range(a.shape[1]):
        same -= np.bitwise_count(a[:, word, None] ^ b[None, :, word]).astype(np.int16)
    return same


class Growing:
    """One system's gallery as it grows, searched in both directions by the queries of its first scenes.

    Parameters
    ----------
    n_query : int, scenes that ask, each with its five captions; they are the first of the gallery.
    score : Scorer, see `scorer`.
    truth : Truth or None; with it comes the share of wrong first answers that are true all the same.
    seed : int, of the order of ties.

    Raises
    ------
    InputError
        No queries; later, a first block smaller than the queries, or captions that are not five a scene.
    """

    def __init__(self, n_query: int, score: Scorer, truth: Truth | None = None, seed: int = 0) -> None:
        if n_query < 1:
            raise InputError(f"{n_query} scenes were to ask; expected at least 1")
        self.n_query, self.score, self.truth = n_query, score, truth
        scenes = np.arange(n_query, dtype=np.int64)
        own_captions = scenes[:, None] * CAPTIONS + np.arange(CAPTIONS)
        self.ranking = {
            "i2t": Ranking(own_captions, seed=seed),
            "t2i": Ranking(np.repeat(scenes, CAPTIONS)[:, None], seed=seed),
        }
        self._queries: tuple[np.ndarray, np.ndarray, np.ndarray] | None = None

    def add(self, img: np.ndarray, txt: np.ndarray, labels: np.ndarray) -> None:
        """Let the gallery grow by a block.

        Parameters
        ----------
        img, txt : (n, ...) and (5 n, ...), what the system stores of the block, as `embed` gives it.
        labels : (n, n_labels) multi-hot; scenes that share one are relevant to each other.
        """
        n = len(img)
        if len(txt) != CAPTIONS * n or len(labels) != n:
            raise InputError(
                f"a block of {n} images came with {len(txt)} texts and {len(labels)} rows of labels; "
                f"expected {CAPTIONS * n} and {n}"
            )
        if self._queries is None:
            if n < self.n_query:
                raise InputError(
                    f"the first block has {n} scenes for the queries of {self.n_query}; make it larger, or ask fewer"
                )
            self._queries = img[: self.n_query], txt[: CAPTIONS * self.n_query], labels[: self.n_query]
        images, texts, asked = self._queries
        relevant = asked.astype(np.float32) @ labels.T.astype(np.float32) > 0
        self.ranking["i2t"].add(self.score(images, txt), np.repeat(relevant, CAPTIONS, 1))
        scores = np.ascontiguousarray(self.score(img, texts).T)
        self.ranking["t2i"].add(scores, np.repeat(relevant, CAPTIONS, 0))

    def rows(self, **columns: Any) -> list[dict[str, Any]]:
        """Rows of phase ``gallery`` at the size reached: R@k, mAP@k, mAP, and with the truth ``true_*@1``.

        Parameters
        ----------
        **columns : of `row`: system, corpus, run.
        """
        place = {
            "scale_img": self.ranking["t2i"].n_items, "scale_txt": self.ranking["i2t"].n_items, "unit": "", **columns,
        }  # fmt: skip
        rows = []
        for direction, ranking in self.ranking.items():
            for k, value in ranking.recall(RECALL_AT).items():
                rows.append(row("gallery", f"recall_{direction}@{k}", value, **place))
            for k, value in ranking.mean_average_precision(MAP_AT).items():
                rows.append(row("gallery", f"map_{direction}@{k}", value, **place))
            rows.append(row("gallery", f"map_{direction}", ranking.whole_average_precision(), **place))
            if self.truth is not None:
                share = self._true_share(direction)
                status = "undefined" if share is None else "ok"
                rows.append(row("gallery", f"true_{direction}@1", share, **{**place, "status": status}))
        return rows

    def _true_share(self, direction: str) -> float | None:
        """Of the queries whose first answer is not their own, how many got a true one; None where none is wrong."""
        asked, found = self.ranking[direction].wrong_first()
        captions, scenes = (asked, found) if direction == "t2i" else (found, asked)
        return float(self.truth.true(captions, scenes).mean()) if len(asked) else None


class Ceiling:
    """What a perfect retriever reaches: it knows what is true, and has to guess among all scenes that fit a caption.

    Parameters
    ----------
    n_query : int, scenes whose captions ask.
    truth : Truth
    """

    def __init__(self, n_query: int, truth: Truth) -> None:
        if n_query < 1:
            raise InputError(f"{n_query} scenes were to ask; expected at least 1")
        self.truth, self._asked = truth, np.arange(CAPTIONS * n_query, dtype=np.int64)
        self._fitting, self.n_img = np.zeros(len(self._asked), np.int64), 0

    def add(self, start: int, stop: int) -> None:
        """Let the gallery grow by scenes `start` to `stop` - 1."""
        self._fitting += self.truth.fitting(self._asked, start, stop)
        self.n_img = stop

    def rows(self, **columns: Any) -> list[dict[str, Any]]:
        """Rows ``recall_t2i@k`` of the source and system ``perfect``; InputError before all who ask are there."""
        if CAPTIONS * self.n_img < len(self._asked):
            raise InputError(
                f"the gallery has {self.n_img} scenes and {len(self._asked) // CAPTIONS} ask; expected them among it"
            )
        place = {"scale_img": self.n_img, "scale_txt": CAPTIONS * self.n_img, "unit": "", "source": "perfect"}
        return [
            row("gallery", f"recall_t2i@{k}", float(np.minimum(1, k / self._fitting).mean()), **place, **columns,
                system="perfect")
            for k in RECALL_AT
        ]  # fmt: skip


def gallery_rows(
    source: Callable[[int, int], dict[str, Any]],
    passes: Sequence[tuple[Sequence[Stage], Sequence[Stage]]],
    growing: Mapping[str, Growing],
    truth: Truth,
    sizes: Sequence[int],
    *,
    ceiling: Ceiling | None = None,
    block: int = 1000,
    keep: Callable[[str, dict[str, np.ndarray]], None] | None = None,
    **columns: Any,
) -> list[dict[str, Any]]:
    """Rows of phase ``gallery`` of some systems at each size, all in one walk over unique scenes.

    Parameters
    ----------
    source : callable giving ``pixels`` and ``captions`` of scenes `start` to `stop` - 1, such as `stages.Scenes`.
    passes : pairs (extractors, encoders) of systems that read the same features.
    growing : system -> its `Growing`.
    truth : Truth of the same corpus and seed as `source`; gives the labels.
    sizes : galleries at which to stop and look.
    ceiling : Ceiling or None, the perfect retriever beside them.
    block : int, scenes held at once.
    keep : callable ``keep(system, embeddings)`` or None; gets what `embed` gives of each block.
    **columns : of `row`: corpus, run.

    Raises
    ------
    InputError
        Sizes or a block that make no sense, or a first block smaller than the queries.
    """
    rows = []
    for start, stop in list(blocks(sizes, block)):
        drawn, labels = source(start, stop), truth.labels(start, stop)
        for extractors, encoders in passes:
            for system, embedded in embed(drawn, extractors, encoders).items():
                growing[system].add(embedded["img"], embedded["txt"], labels)
                if keep is not None:
                    keep(system, embedded)
                if stop in sizes:
                    rows += growing[system].rows(system=system, **columns)
        if ceiling is not None:
            ceiling.add(start, stop)
            if stop in sizes:
                rows += ceiling.rows(**columns)
    return rows
