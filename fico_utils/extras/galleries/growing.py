"""Recall as the gallery grows by scenes that were never seen: the limitation that the paper names of itself.

The paper scaled its test set by duplicating it, so its larger collections were harder for the clock alone. Here every
scene is a new one. The queries stay those of the first scenes; the gallery comes block by block, is scored against
them, and is dropped: memory is that of a block, whatever the size.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from fico_utils.artifacts import Recipe
from fico_utils.costs.blocks import CAPTIONS, Block, Progress, Source, Stage, block_spans, walk_blocks
from fico_utils.costs.clock import cost_row
from fico_utils.errors import InputError
from fico_utils.extras.galleries.items import ItemKeeper
from fico_utils.extras.galleries.ranking import DEPTH, Ranking
from fico_utils.extras.galleries.truth import RECALL_AT, Ceiling, Truth

if TYPE_CHECKING:
    from fico_utils.artifacts import Units
    from fico_utils.workspace import Run

#: Raised when the meaning of what is ranked here changes.
VERSIONS = {"gallery": 1}
#: k of the rows mAP@k; those of R@k are `truth.RECALL_AT`.
MAP_AT = (10, 100)


@dataclass(frozen=True)
class Reranker:
    """A fusion head over features as they come: it reads the first `depth` of a ranking again.

    Attributes
    ----------
    model : FusionModel
    depth : int, candidates of a query that it reads, at least 1.
    """

    model: Any
    depth: int

    @property
    def adds_ranking(self) -> bool:
        """Whether the ranking's own score counts too."""
        return self.model.adds_cosine

    def match(self, images: np.ndarray, texts: np.ndarray, image: np.ndarray, text: np.ndarray) -> np.ndarray:
        """Scores (p,) float32 of pairs of rows `image` and `text` (p,) of features; other rows are not read."""
        from fico_utils.models.serving import Reranks

        return Reranks().match_features(self.model, images, texts, image, text)


class Growing:
    """One system's gallery as it grows, searched in both directions by the queries of its first scenes.

    Parameters
    ----------
    n_query : int, scenes that ask, each with its five captions; they are the first of the gallery.
    compare : callable, scores (n_img, n_txt) of what the system keeps of images and texts; larger is closer.
    truth : Truth or None; with it comes the share of wrong first answers that are true all the same.
    reranker : Reranker or None, of a system that reranks what `compare` ranked first.
    seed : int, of the order of ties.

    Attributes
    ----------
    asking : dict of ndarray, ``img``, ``txt`` and ``labels`` of the scenes that ask; empty before the first block.
    """

    def __init__(
        self,
        n_query: int,
        compare: Callable[[np.ndarray, np.ndarray], np.ndarray],
        truth: Truth | None = None,
        reranker: Reranker | None = None,
        seed: int = 0,
    ) -> None:
        assert n_query > 0, "somebody has to ask"
        self.n_query, self.compare, self.truth, self.reranker, self.seed = n_query, compare, truth, reranker, seed
        scenes = np.arange(n_query, dtype=np.int64)
        own_captions = scenes[:, None] * CAPTIONS + np.arange(CAPTIONS)
        own_scenes = np.repeat(scenes, CAPTIONS)[:, None]
        depth = DEPTH if reranker is None else reranker.depth
        self.ranking = {"i2t": Ranking(own_captions, depth, seed), "t2i": Ranking(own_scenes, depth, seed)}
        self.asking: dict[str, np.ndarray] = {}

    @property
    def settings(self) -> dict[str, Any]:
        """Who asks, how deep, and in which order ties stand: of a recipe."""
        depth = self.reranker and self.reranker.depth
        return {"n_query": self.n_query, "rerank_depth": depth, "ties": self.seed, "truth": self.truth is not None}

    def add(
        self, img: np.ndarray, txt: np.ndarray, labels: np.ndarray, read: Mapping[str, np.ndarray] | None = None
    ) -> None:
        """Let the gallery grow by a block.

        Parameters
        ----------
        img, txt : (n, ...) and (5 n, ...), what the system keeps of the block.
        labels : (n, n_labels) multi-hot; scenes that share one are relevant to each other.
        read : dict of ``img`` (n, ...) and ``txt`` (5 n, ...), features of the block; only a reranker needs them.

        Raises
        ------
        InputError
            A first block that is smaller than the queries.
        """
        n = len(img)
        assert len(txt) == CAPTIONS * n, f"{len(txt)} captions of {n} images"
        assert len(labels) == n, f"labels of {len(labels)} of {n} images"
        assert self.reranker is None or read is not None, "a reranker reads features"
        if not self.asking:
            if n < self.n_query:
                raise InputError(
                    f"the first block has {n} scenes for the queries of {self.n_query}; make it larger, or ask fewer"
                )
            scenes, captions = slice(self.n_query), slice(CAPTIONS * self.n_query)
            self.asking = {"img": img[scenes], "txt": txt[captions], "labels": labels[scenes]}
            if self.reranker is not None:
                self.asking |= {"read_img": read["img"][scenes], "read_txt": read["txt"][captions]}
        relevant = self.asking["labels"].astype(np.float32) @ labels.T.astype(np.float32) > 0
        for direction, ranking in self.ranking.items():
            by_image = direction == "i2t"
            scores = self.compare(self.asking["img"], txt) if by_image else self.compare(img, self.asking["txt"]).T
            scores = np.ascontiguousarray(scores)
            rerank = None if self.reranker is None else self._reader(direction, read, scores)
            ranking.add(scores, np.repeat(relevant, CAPTIONS, 1 if by_image else 0), rerank)

    def _reader(self, direction: str, read: Mapping[str, np.ndarray], scores: np.ndarray) -> Callable:
        """How the fusion head scores queries and items of this block, which alone has the items' features."""

        def score(queries: np.ndarray, items: np.ndarray) -> np.ndarray:
            if direction == "i2t":
                matched = self.reranker.match(self.asking["read_img"], read["txt"], queries, items)
            else:
                matched = self.reranker.match(read["img"], self.asking["read_txt"], items, queries)
            return matched + scores[queries, items] if self.reranker.adds_ranking else matched

        return score

    def values(self) -> dict[str, float | None]:
        """R@k, mAP@k, mAP, and with the truth ``true_*@1`` at the size reached, by quantity; None is undefined."""
        values: dict[str, float | None] = {}
        for direction, ranking in self.ranking.items():
            recall_at, map_at = ([k for k in ks if k <= ranking.depth] for ks in (RECALL_AT, MAP_AT))
            values |= {f"recall_{direction}@{k}": v for k, v in ranking.recall(recall_at).items()}
            values |= {f"map_{direction}@{k}": v for k, v in ranking.mean_average_precision(map_at).items()}
            values[f"map_{direction}"] = None if ranking.reranked else ranking.whole_average_precision()
            if self.truth is not None:
                values[f"true_{direction}@1"] = self._true_share(direction)
        return values

    def _true_share(self, direction: str) -> float | None:
        """Of the queries whose first answer is not their own, how many got a true one; None where none is wrong."""
        asked, answers = self.ranking[direction].wrong_first()
        captions, scenes = (asked, answers) if direction == "t2i" else (answers, asked)
        return float(self.truth.true(captions, scenes).mean()) if len(asked) else None

    def state(self) -> tuple[dict[str, Any], dict[str, np.ndarray]]:
        """What the blocks so far have left, as `Ranking.state`."""
        states = {direction: ranking.state() for direction, ranking in self.ranking.items()}
        arrays = {f"{d}.{name}": a for d, (_, held) in states.items() for name, a in held.items()}
        return {d: content for d, (content, _) in states.items()}, arrays | self.asking

    def restore(self, content: dict[str, Any], arrays: dict[str, np.ndarray]) -> None:
        """Take up the `state` of the same queries."""
        self.asking = {name: array for name, array in arrays.items() if "." not in name}
        for direction, ranking in self.ranking.items():
            held = {name.split(".")[1]: a for name, a in arrays.items() if name.startswith(f"{direction}.")}
            ranking.restore(content[direction], held)


# ---------------------------------------------------------------------------------------------------- the walk


class _GrowthObserver:
    """Lets something grow by each block, and notes its values at the sizes that count.

    Parameters
    ----------
    growing : Growing or Ceiling
    arguments : callable, what a block is to ``growing.add``.
    sizes : galleries at which its values are noted; the largest is the end.
    units : Units or None
    """

    def __init__(
        self, growing: Growing | Ceiling, arguments: Callable, sizes: Sequence[int], units: Units | None
    ) -> None:
        self.growing, self.arguments, self.sizes, self._whole = growing, arguments, sizes, True
        self.progress = Progress(units)
        self.values = dict(self.progress.content.get("values", []))
        if self.progress.content.get("state"):
            growing.restore(self.progress.content["state"], self.progress.arrays)

    @property
    def done(self) -> int:
        """Blocks that it has seen."""
        return self.progress.done

    def see(self, block: Block) -> None:
        """Let the gallery grow by a block."""
        self._whole = False  # an interruption in here leaves half a block behind
        self.growing.add(*self.arguments(block))
        if block.stop in self.sizes:
            self.values[block.stop] = self.growing.values()
        self.progress.done += 1
        self._whole = True

    def save(self) -> None:
        """Write how far it has come; after half a block, what was written before stands."""
        if self._whole and self.progress.grew:
            ended = max(self.sizes) in self.values
            state, arrays = ({}, {}) if ended else self.growing.state()
            self.progress.save({"values": list(self.values.items()), "state": state}, arrays)


def gallery_rows(
    source: Source,
    groups: Sequence[tuple[Sequence[Stage], Sequence[Stage]]],
    growing: Mapping[str, Growing],
    truth: Truth,
    sizes: Sequence[int],
    *,
    ceiling: Ceiling | None = None,
    keepers: Mapping[str, ItemKeeper] | None = None,
    block: int = 1000,
    **columns: Any,
) -> list[dict[str, Any]]:
    """Rows of phase ``gallery`` of some systems at each size, all in one walk over unique scenes.

    Parameters
    ----------
    source : see `blocks.Source`, such as `Scenes`.
    groups : (extractors, encoders) of systems that read the same features.
    growing : system -> its `Growing`.
    truth : Truth of the same corpus and seed as `source`; gives the labels.
    sizes : galleries at which to stop and look.
    ceiling : Ceiling or None, the perfect retriever beside them.
    keepers : system -> `ItemKeeper` or None; they keep what is searched in two steps, in the same walk.
    block : int, scenes held at once.
    **columns : of `cost_row`: corpus, and run, in whose store is kept how far a walk has come: one that was stopped
        goes on at the block where it was, and a system that joins later does not make the others walk again.
    """
    spans, keepers = block_spans(sizes, block), keepers or {}
    setting = {"sizes": sorted(set(sizes)), "block": block, "corpus": columns.get("corpus", ""), "truth": truth.key}
    observers: dict[str, _GrowthObserver] = {}
    walked: list[tuple[Sequence[Stage], list]] = []
    for extractors, encoders in groups:
        group = []
        for encoder in encoders:
            one = growing[encoder.name]
            recipe = encoder_recipe("gallery", encoder, extractors, setting | one.settings, columns)
            units = _units(encoder.name, recipe, columns)
            observers[encoder.name] = _GrowthObserver(one, _taken_by(encoder), setting["sizes"], units)
            group += [observers[encoder.name], *([keepers[encoder.name]] if encoder.name in keepers else [])]
        walked.append((extractors, group))
    rows_of = {name: {"system": name} for name in observers}
    if ceiling is not None:
        recipe = Recipe("gallery", setting | {"perfect": ceiling.n_query}, _seed(columns))
        take = lambda b: (b.start, b.stop)  # noqa: E731
        observers["perfect"] = _GrowthObserver(ceiling, take, setting["sizes"], _units("perfect", recipe, columns))
        walked.append(((), [observers["perfect"]]))
        rows_of["perfect"] = {"system": "perfect", "source": "perfect"}

    def labelled(start: int, stop: int) -> dict[str, Any]:
        return source(start, stop) | {"labels": truth.labels(start, stop)}

    walk_blocks(labelled, spans, walked)
    return [
        cost_row("gallery", quantity, value, **_place(n, value), **columns, **rows_of[name])
        for n in setting["sizes"]
        for name, observer in observers.items()
        for quantity, value in observer.values[n].items()
    ]


def _taken_by(encoder: Stage) -> Callable[[Block], tuple]:
    """What a block is to the gallery of a system."""
    image, text = encoder.sides["image"][0], encoder.sides["text"][0]

    def take(block: Block) -> tuple:
        kept = block.embed(encoder)
        return kept["img"], kept["txt"], block["labels"], {"img": block[image], "txt": block[text]}

    return take


def _place(n_img: int, value: float | None) -> dict[str, Any]:
    status = "undefined" if value is None else "ok"
    return {"scale_img": n_img, "scale_txt": CAPTIONS * n_img, "unit": "", "status": status}


def _seed(columns: Mapping[str, Any]) -> int:
    return columns["run"].seed if columns.get("run") else 0


def encoder_recipe(
    producer: str, encoder: Stage, extractors: Sequence[Stage], settings: Mapping[str, Any], columns: Mapping[str, Any]
) -> Recipe:
    """The recipe of what comes of a system's encoder and of the extractors that it reads."""
    read = [x.content for x in extractors if encoder.reads & set(x.makes)]
    return Recipe(producer, {"system": encoder.name, **settings}, _seed(columns), (encoder.content, *read))


def _units(name: str, recipe: Recipe, columns: Mapping[str, Any]) -> Units | None:
    run: Run | None = columns.get("run")
    return run and run.store.units("costs/gallery", f"{name}__{columns.get('corpus', '')}", recipe)
