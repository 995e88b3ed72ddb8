"""Recall as the gallery grows by scenes that were never seen.

The paper scaled its test set by duplicating it, so its larger collections were harder for the clock alone. Here the
queries stay those of the first scenes; the gallery comes block by block, is scored against them, and is dropped.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from functools import partial
from typing import TYPE_CHECKING, Any

import numpy as np

from fico_utils.costs.blocks import CAPTIONS, Block, Observer, Source, Stage, block_spans, walk_blocks
from fico_utils.costs.rows import cost_row, kept_units, recipe_of
from fico_utils.errors import InputError
from fico_utils.extras.galleries.ranking import DEPTH, Ranking
from fico_utils.extras.galleries.truth import RECALL_AT, Ceiling, Truth
from fico_utils.models.serving import Reranks

if TYPE_CHECKING:
    from fico_utils.artifacts import Recipe, Units

#: Raised when the meaning of what is ranked here changes.
VERSIONS = {"gallery": 1}
#: k of the rows mAP@k; those of R@k are `truth.RECALL_AT`.
MAP_AT = (10, 100)


class Growing:
    """One system's gallery as it grows, searched in both directions by the queries of its first scenes.

    Parameters
    ----------
    n_query : scenes that ask, each with its five captions; they are the first of the gallery.
    compare : callable, scores (n_img, n_txt) of what the system keeps of images and texts; larger is closer.
    truth : Truth or None; with it comes the share of wrong first answers that are true all the same.
    reranker : fusion model or None, which reads the first `depth` of what `compare` ranks again, from their features.
    """

    def __init__(
        self,
        n_query: int,
        compare: Callable[[np.ndarray, np.ndarray], np.ndarray],
        truth: Truth | None = None,
        reranker: Any = None,
        depth: int = DEPTH,
    ) -> None:
        assert n_query > 0, "a gallery needs at least one scene that asks"
        self.n_query, self.compare, self.truth, self.reranker = n_query, compare, truth, reranker
        captions = np.arange(CAPTIONS * n_query, dtype=np.int64)
        own = {"i2t": captions.reshape(n_query, CAPTIONS), "t2i": captions[:, None] // CAPTIONS}
        self.ranking = {direction: Ranking(items, depth) for direction, items in own.items()}
        self.queries: dict[str, np.ndarray] = {}  # what the first block brings of the scenes that ask

    @property
    def settings(self) -> dict[str, Any]:
        """Settings of a recipe: the queries, how deep is read, and the seed of the order in which ties stand."""
        depth = None if self.reranker is None else self.ranking["t2i"].depth
        return {"n_query": self.n_query, "rerank_depth": depth, "ties": 0, "truth": self.truth is not None}

    def add(
        self, img: np.ndarray, txt: np.ndarray, labels: np.ndarray, read: Mapping[str, np.ndarray] | None = None
    ) -> None:
        """Let the gallery grow by a block; InputError where the first one is smaller than the queries.

        `img` (n, ...) and `txt` (5 n, ...) are what the system keeps of the block, and those of `read` its features,
        for a reranker. Scenes that share one of the multi-hot `labels` (n, n_labels) are relevant to each other.
        """
        n = len(img)
        assert len(txt) == CAPTIONS * n, f"{len(txt)} captions of {n} images"
        assert len(labels) == n, f"labels of {len(labels)} of {n} images"
        assert self.reranker is None or read is not None, "a reranker reads features"
        if not self.queries:
            if n < self.n_query:
                raise InputError(
                    f"the first block has {n} scenes for the queries of {self.n_query}; make it larger, or ask fewer"
                )
            scenes, captions = slice(self.n_query), slice(CAPTIONS * self.n_query)
            self.queries = {"img": img[scenes], "txt": txt[captions], "labels": labels[scenes]}
            if self.reranker is not None:
                self.queries |= {"read_img": read["img"][scenes], "read_txt": read["txt"][captions]}
        relevant = self.queries["labels"].astype(np.float32) @ labels.T.astype(np.float32) > 0
        for direction, ranking in self.ranking.items():
            by_image = direction == "i2t"
            scores = self.compare(self.queries["img"], txt) if by_image else self.compare(img, self.queries["txt"]).T
            scores = np.ascontiguousarray(scores)
            rerank = None if self.reranker is None else self._pair_reader(by_image, read, scores)
            ranking.add(scores, np.repeat(relevant, CAPTIONS, 1 if by_image else 0), rerank)

    def _pair_reader(self, by_image: bool, read: Mapping[str, np.ndarray], scores: np.ndarray) -> Callable:
        """How the fusion model scores queries and items of this block, which alone has the items' features."""

        def score(queries: np.ndarray, items: np.ndarray) -> np.ndarray:
            if by_image:
                pairs = self.queries["read_img"], read["txt"], queries, items
            else:
                pairs = read["img"], self.queries["read_txt"], items, queries
            matched = Reranks().match_features(self.reranker, *pairs)
            weight = self.reranker.cosine_weight
            return matched + weight * scores[queries, items] if weight else matched

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
                queries, answers = ranking.wrong_first()
                pairs = (queries, answers) if direction == "t2i" else (answers, queries)
                values[f"true_{direction}@1"] = float(self.truth.true(*pairs).mean()) if len(queries) else None
        return values

    def state(self) -> tuple[dict[str, Any], dict[str, np.ndarray]]:
        """What the blocks so far have left, as `Ranking.state`."""
        states = {direction: ranking.state() for direction, ranking in self.ranking.items()}
        arrays = {f"{d}.{name}": a for d, (_, held) in states.items() for name, a in held.items()}
        return {d: content for d, (content, _) in states.items()}, arrays | self.queries

    def restore(self, content: dict[str, Any], arrays: dict[str, np.ndarray]) -> None:
        """Take up the `state` of the same queries."""
        self.queries = {name: array for name, array in arrays.items() if "." not in name}
        for direction, ranking in self.ranking.items():
            held = {name.split(".")[1]: a for name, a in arrays.items() if name.startswith(f"{direction}.")}
            ranking.restore(content[direction], held)


class _GrowthObserver(Observer):
    """Lets a `Growing` or a `Ceiling` grow by ``arguments(block)``, and notes its values at the sizes that count."""

    def __init__(
        self, growing: Growing | Ceiling, arguments: Callable, sizes: Sequence[int], units: Units | None
    ) -> None:
        super().__init__(units)
        self.growing, self.arguments, self.sizes, self._whole = growing, arguments, sizes, True
        self.values = dict(self.content.get("values", []))
        if self.content.get("state"):
            growing.restore(self.content["state"], self.arrays)

    def see(self, block: Block) -> None:
        self._whole = False  # an interruption in here leaves half a block behind
        self.growing.add(*self.arguments(block))
        if block.stop in self.sizes:
            self.values[block.stop] = self.growing.values()
        self.done += 1
        self._whole = True

    def known(self) -> tuple[dict[str, Any], dict[str, np.ndarray]]:
        """The values so far, and until the last size what the gallery needs to go on."""
        state, arrays = ({}, {}) if max(self.sizes) in self.values else self.growing.state()
        return {"values": list(self.values.items()), "state": state}, arrays

    def save(self) -> None:
        """Write how far it has come; after half a block, what was written before stands."""
        if self._whole:
            super().save()


class ItemKeeper(Observer):
    """Keeps what a system stores of each block's images, and of the captions that ask, one unit a block.

    `half` keeps half precision: fragments of cross attention, of which are many.
    """

    def __init__(self, encoder: Stage, n_query: int, units: Units, half: bool = False) -> None:
        super().__init__()
        self.encoder, self.n_query, self.half, self.units = encoder, n_query, half, units
        numbers = set(units.numbers())
        self.done = next(i for i in range(len(numbers) + 1) if i not in numbers)

    def see(self, block: Block) -> None:
        kept = block.embed(self.encoder)
        arrays = {"img": kept["img"].astype(np.float16) if self.half else kept["img"]}
        if block.number == 0:
            arrays["txt"] = kept["txt"][: CAPTIONS * self.n_query]
        self.units.write(block.number, arrays)
        self.done += 1

    def save(self) -> None:
        """Nothing is left to write."""

    def kept_items(self) -> tuple[np.ndarray, np.ndarray]:
        """What was kept: of all images (n, ...), and of the captions that ask (5 n_query, ...)."""
        parts = [self.units.read(number)[0] for number in range(self.done)]
        return np.concatenate([part["img"] for part in parts]), parts[0]["txt"]


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
    groups : (extractors, encoders) of systems that read the same features.
    growing, keepers : system -> its `Growing`, and the keeper of its items where they are searched in two steps.
    truth : of the same corpus and seed as `source`; gives the labels.
    sizes, block : galleries at which values are noted, and scenes held at once.
    ceiling : the perfect retriever beside them.
    **columns : of `cost_row`: corpus, and run, in whose store is kept how far a walk has come: one that was stopped
        goes on at the block where it was, and a system that joins later does not make the others walk again.
    """
    sizes, keepers = sorted(set(sizes)), keepers or {}
    setting = {"sizes": sizes, "block": block, "truth": truth.key}
    observers: dict[str, _GrowthObserver] = {}
    walked: list[tuple[Sequence[Stage], list[Observer]]] = []

    def observe(name: str, one: Growing | Ceiling, arguments: Callable, recipe: Recipe) -> list[Observer]:
        units = kept_units(columns, "gallery", f"{name}__{columns.get('corpus', '')}", recipe)
        observers[name] = _GrowthObserver(one, arguments, sizes, units)
        return [each[name] for each in (observers, keepers) if name in each]

    for extractors, encoders in groups:
        walked.append((extractors, []))
        for encoder in encoders:
            one = growing[encoder.name]
            recipe = encoder_recipe(encoder, extractors, setting | one.settings, columns)
            walked[-1][1].extend(observe(encoder.name, one, partial(_block_arguments, encoder), recipe))
    if ceiling is not None:
        recipe = recipe_of("gallery", columns, setting | {"perfect": ceiling.n_query})
        walked.append(((), observe("perfect", ceiling, lambda block: (block.start, block.stop), recipe)))

    def labelled(start: int, stop: int) -> dict[str, Any]:
        return source(start, stop) | {"labels": truth.labels(start, stop)}

    walk_blocks(labelled, block_spans(sizes, block), walked)
    rows = []
    for n in sizes:
        place = {"scale_img": n, "scale_txt": CAPTIONS * n, "unit": "", **columns}
        for name, observer in observers.items():
            here = place | {"system": name} | ({"source": "perfect"} if name == "perfect" else {})
            for quantity, value in observer.values[n].items():
                rows.append(cost_row("gallery", quantity, value, status="undefined" if value is None else "ok", **here))
    return rows


def _block_arguments(encoder: Stage, block: Block) -> tuple:
    """What a block is to the gallery of a system."""
    kept = block.embed(encoder)
    read = {"img": block[encoder.sides["image"][0]], "txt": block[encoder.sides["text"][0]]}
    return kept["img"], kept["txt"], block["labels"], read


def encoder_contents(encoder: Stage, extractors: Sequence[Stage]) -> list[str]:
    """Keys of a system's encoder and of the extractors that it reads."""
    return [encoder.content, *(x.content for x in extractors if encoder.reads & set(x.makes))]


def encoder_recipe(
    encoder: Stage, extractors: Sequence[Stage], settings: Mapping[str, Any], columns: Mapping[str, Any]
) -> Recipe:
    """The recipe of what comes of a system's encoder and of the extractors that it reads."""
    inputs = encoder_contents(encoder, extractors)
    return recipe_of("gallery", columns, {"system": encoder.name, **settings}, inputs)
