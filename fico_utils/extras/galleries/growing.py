"""Recall as the gallery grows by scenes that were never seen: the limitation that the paper names of itself.

The paper scaled its test set by duplicating it, so its larger collections were harder for the clock alone. Here every
scene is a new one. The queries stay those of the first scenes; the gallery comes block by block, is scored against
them, and is dropped: memory is that of a block, whatever the size.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from fico_utils.costs.clock import row
from fico_utils.costs.kept import Walk
from fico_utils.costs.pairwise import Again, Scorer
from fico_utils.costs.stages import CAPTIONS, Stage
from fico_utils.errors import InputError
from fico_utils.extras.galleries.ranking import DEPTH, Ranking
from fico_utils.extras.galleries.truth import RECALL_AT, Ceiling, Truth
from fico_utils.provenance import PACKAGE
from fico_utils.workspace import key_of, source_key

VERSIONS = {"gallery": 1}
#: k of the rows mAP@k; those of R@k are `truth.RECALL_AT`.
MAP_AT = (10, 100)
#: Seconds between two writings of the part files: what a killed walk loses at most, and a block.
SAVE_EVERY_S = 60.0


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


def extract(block: dict[str, Any], extractors: Sequence[Stage], encoders: Sequence[Stage]) -> dict[str, Any]:
    """The block with the features that the encoders read, each made once for all.

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
    return features


def embed(features: Mapping[str, Any], encoder: Stage) -> tuple[dict[str, np.ndarray], dict[str, Any]]:
    """What a system stores of a block, and what it read: both ``img`` (n, ...) and ``txt`` (5 n, ...)."""
    sides = {short: encoder.sides[side] for short, side in (("img", "image"), ("txt", "text"))}
    stored = {short: np.concatenate(list(work(features[reads]))) for short, (reads, work) in sides.items()}
    return stored, {short: features[reads] for short, (reads, _) in sides.items()}


class Growing:
    """One system's gallery as it grows, searched in both directions by the queries of its first scenes.

    Parameters
    ----------
    n_query : int, scenes that ask, each with its five captions; they are the first of the gallery.
    score : Scorer, see `pairwise.scorer`.
    truth : Truth or None; with it comes the share of wrong first answers that are true all the same.
    again : Again or None, see `pairwise.again`: a fusion head that reads the first of each query again.
    seed : int, of the order of ties.

    Attributes
    ----------
    asking : dict of ndarray, ``img``, ``txt`` and ``labels`` of the scenes that ask; empty before the first block.

    Raises
    ------
    InputError
        No queries; later, a first block smaller than the queries, or captions that are not five a scene.
    """

    def __init__(
        self, n_query: int, score: Scorer, truth: Truth | None = None, again: Again | None = None, seed: int = 0
    ) -> None:
        if n_query < 1:
            raise InputError(f"{n_query} scenes were to ask; expected at least 1")
        self.n_query, self.score, self.truth, self.again, self.seed = n_query, score, truth, again, seed
        scenes = np.arange(n_query, dtype=np.int64)
        own_captions = scenes[:, None] * CAPTIONS + np.arange(CAPTIONS)
        depth = DEPTH if again is None else again.depth
        own_scenes = np.repeat(scenes, CAPTIONS)[:, None]
        self.ranking = {"i2t": Ranking(own_captions, depth, seed), "t2i": Ranking(own_scenes, depth, seed)}
        self.asking: dict[str, np.ndarray] = {}

    def add(
        self, img: np.ndarray, txt: np.ndarray, labels: np.ndarray, read: Mapping[str, np.ndarray] | None = None
    ) -> None:
        """Let the gallery grow by a block.

        Parameters
        ----------
        img, txt : (n, ...) and (5 n, ...), what the system stores of the block.
        labels : (n, n_labels) multi-hot; scenes that share one are relevant to each other.
        read : dict of ``img`` (n, ...) and ``txt`` (5 n, ...), features of the block; only `again` needs them.
        """
        n = len(img)
        if len(txt) != CAPTIONS * n or len(labels) != n:
            raise InputError(
                f"a block of {n} images came with {len(txt)} texts and {len(labels)} rows of labels; "
                f"expected {CAPTIONS * n} and {n}"
            )
        if self.again is not None and read is None:
            raise InputError("a system that reads again was given embeddings alone; expected the block's features too")
        if not self.asking:
            if n < self.n_query:
                raise InputError(
                    f"the first block has {n} scenes for the queries of {self.n_query}; make it larger, or ask fewer"
                )
            scenes, captions = slice(self.n_query), slice(CAPTIONS * self.n_query)
            self.asking = {"img": img[scenes], "txt": txt[captions], "labels": labels[scenes]}
            if self.again is not None:
                self.asking |= {"read_img": read["img"][scenes], "read_txt": read["txt"][captions]}
        relevant = self.asking["labels"].astype(np.float32) @ labels.T.astype(np.float32) > 0
        for direction, ranking in self.ranking.items():
            by_image = direction == "i2t"
            scores = self.score(self.asking["img"], txt) if by_image else self.score(img, self.asking["txt"]).T
            scores = np.ascontiguousarray(scores)
            again = None if self.again is None else self._reader(direction, read, scores)
            ranking.add(scores, np.repeat(relevant, CAPTIONS, 1 if by_image else 0), again)

    def _reader(self, direction: str, read: Mapping[str, np.ndarray], scores: np.ndarray) -> Callable:
        """What the fusion head says of queries and items of this block, which only it has the features of."""

        def say(queries: np.ndarray, items: np.ndarray) -> np.ndarray:
            if direction == "i2t":
                said = self.again.match(self.asking["read_img"], read["txt"], queries, items)
            else:
                said = self.again.match(read["img"], self.asking["read_txt"], items, queries)
            return said + scores[queries, items] if self.again.adds_ranking else said

        return say

    def values(self) -> dict[str, float | None]:
        """R@k, mAP@k, mAP, and with the truth ``true_*@1`` at the size reached, by quantity; None is undefined."""
        values: dict[str, float | None] = {}
        for direction, ranking in self.ranking.items():
            at = {what: [k for k in ks if k <= ranking.depth] for what, ks in (("recall", RECALL_AT), ("map", MAP_AT))}
            values |= {f"recall_{direction}@{k}": v for k, v in ranking.recall(at["recall"]).items()}
            values |= {f"map_{direction}@{k}": v for k, v in ranking.mean_average_precision(at["map"]).items()}
            values[f"map_{direction}"] = None if ranking.reads_again else ranking.whole_average_precision()
            if self.truth is not None:
                values[f"true_{direction}@1"] = self._true_share(direction)
        return values

    def _true_share(self, direction: str) -> float | None:
        """Of the queries whose first answer is not their own, how many got a true one; None where none is wrong."""
        asked, found = self.ranking[direction].wrong_first()
        captions, scenes = (asked, found) if direction == "t2i" else (found, asked)
        return float(self.truth.true(captions, scenes).mean()) if len(asked) else None

    @property
    def key(self) -> str:
        """Key of who asks, how deep, and in which order ties stand."""
        return key_of(self.n_query, self.again and self.again.depth, self.seed, self.truth is not None)

    def state(self) -> tuple[dict[str, Any], dict[str, np.ndarray]]:
        """What the blocks so far have left, as `Ranking.state`."""
        states = {direction: ranking.state() for direction, ranking in self.ranking.items()}
        arrays = {f"{d}.{name}": a for d, (_, held) in states.items() for name, a in held.items()}
        return {d: content for d, (content, _) in states.items()}, arrays | self.asking

    def restore(self, content: dict[str, Any], arrays: dict[str, np.ndarray]) -> None:
        """Take up the `state` of the same queries."""
        self.asking = {name: array for name, array in arrays.items() if "." not in name}
        for direction, ranking in self.ranking.items():
            mine = {name.split(".")[1]: a for name, a in arrays.items() if name.startswith(f"{direction}.")}
            ranking.restore(content[direction], mine)


def _rows(n_img: int, values: Mapping[str, float | None], **columns: Any) -> list[dict[str, Any]]:
    """Rows of phase ``gallery`` at one size."""
    place = {"scale_img": n_img, "scale_txt": CAPTIONS * n_img, "unit": "", **columns}
    return [row("gallery", q, v, status="undefined" if v is None else "ok", **place) for q, v in values.items()]


def gallery_rows(
    source: Callable[[int, int], dict[str, Any]],
    passes: Sequence[tuple[Sequence[Stage], Sequence[Stage]]],
    growing: Mapping[str, Growing],
    truth: Truth,
    sizes: Sequence[int],
    *,
    ceiling: Ceiling | None = None,
    block: int = 1000,
    keep: Callable[[str, dict[str, np.ndarray]], dict[str, np.ndarray] | None] | None = None,
    parts: Path | None = None,
    corpus: str = "",
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
    keep : callable ``keep(system, embeddings)`` or None; gets what a system stores of each block, ``img`` and ``txt``.
        What it returns (arrays by name, or None) is kept in the part files, and given to it in place of the embeddings
        when a walk that was stopped goes on.
    parts : Path or None, folder of the part files: a walk that was stopped goes on at the block where it was, and a
        system that joins later does not make the others walk again. None keeps nothing.
    corpus, **columns : of `row`: run.

    Raises
    ------
    InputError
        Sizes or a block that make no sense, or a first block smaller than the queries.
    """
    spans = list(blocks(sizes, block))
    about = key_of(sorted(set(sizes)), block, corpus, getattr(source, "seed", None), truth.key, bool(keep), _code())
    answers = {} if ceiling is None else {"perfect": (ceiling, key_of(about, ceiling.key))}
    for extractors, encoders in passes:
        for e in encoders:
            read = {reads for reads, _ in e.sides.values()}
            made = [x.key for x in extractors if read & set(x.makes)]
            answers[e.name] = growing[e.name], key_of(about, e.key, made, growing[e.name].key)
    walks = {s: Walk(what, parts and parts / f"{s}__{corpus}.safetensors", key) for s, (what, key) in answers.items()}
    for name, walk in walks.items():
        for handed in filter(None, walk.handed):
            keep(name, handed)
    saved = time.monotonic()
    try:
        for b, (start, stop) in enumerate(spans):
            if any(walk.done == b for walk in walks.values()):
                _see(source, passes, walks, truth, b, start, stop, stop if stop in sizes else 0, keep)
            if time.monotonic() - saved > SAVE_EVERY_S:
                for walk in walks.values():
                    walk.save()
                saved = time.monotonic()
    finally:
        for walk in walks.values():
            walk.save()
    rows, columns = [], {**columns, "corpus": corpus}
    for n in sorted(set(sizes)):
        for system in (e.name for _, encoders in passes for e in encoders):
            rows += _rows(n, walks[system].values(n), **columns, system=system)
        if ceiling is not None:
            rows += _rows(n, walks["perfect"].values(n), **{**columns, "system": "perfect", "source": "perfect"})
    return rows


def _see(source, passes, walks: Mapping[str, Walk], truth, b: int, start: int, stop: int, look: int, keep) -> None:
    """Draw block `b`, and let all see it that have not."""
    drawn, labels = source(start, stop), truth.labels(start, stop)
    for extractors, encoders in passes:
        waiting = [e for e in encoders if walks[e.name].done == b]
        features = extract(drawn, extractors, waiting)
        for e in waiting:
            stored, read = embed(features, e)
            handed = None if keep is None else keep(e.name, stored)
            walks[e.name].add(stored["img"], stored["txt"], labels, read, handed=handed, look=look)
    if "perfect" in walks and walks["perfect"].done == b:
        walks["perfect"].add(start, stop, look=look)


def _code() -> str:
    """Key of all that draws, reads and ranks: a walk goes on only where it would have come by itself."""
    package = PACKAGE
    found = [p for folder in ("data", "models") for p in sorted((package / folder).glob("*.py"))]
    found += [package / f"costs/{name}.py" for name in ("kept", "pairwise", "stages")]
    found += [package / f"extras/galleries/{name}.py" for name in ("growing", "ranking", "truth")]
    return source_key(*(p.relative_to(package).as_posix() for p in found))
