"""The sections of notebook 05 on growing galleries and two-step searches: one call each."""

from __future__ import annotations

from functools import partial
from typing import Any

import numpy as np

from fico_utils.costs.attention import Pairs
from fico_utils.costs.blocks import CAPTIONS, block_spans, walk_blocks
from fico_utils.costs.clock import Timing
from fico_utils.costs.rows import kept_units
from fico_utils.costs.sections import Subject, Subjects
from fico_utils.extras.galleries.growing import Growing, ItemKeeper, encoder_contents, encoder_recipe, gallery_rows
from fico_utils.extras.galleries.ranking import DEPTH
from fico_utils.extras.galleries.setups import PairScorer, Searchable, setup_rows
from fico_utils.extras.galleries.truth import Ceiling, Truth
from fico_utils.files import key_of
from fico_utils.models.serving import Items

#: Captions that ask a fusion row, which reads each pair again.
FUSION_QUERIES = 50


def asking_scenes(subjects: Subjects, subject: Subject) -> int:
    """Scenes that ask a system, each with its five captions: fewer where the model reads pairs."""
    return subjects.run["gallery_queries"]["attention" if subject.serving.reads_pairs else "embeddings"]


def gallery_table(subjects: Subjects) -> list[dict[str, Any]]:
    """Rows of phase ``gallery``: what the trained systems find among more and more scenes, and a perfect retriever.

    The same walk keeps the items that `setup_table` searches.
    """
    run, trained, truth = subjects.run, _trained(subjects), Truth(subjects.corpus)
    growing = {}
    for s in trained:
        reranker, depth = (s.model, run["rerank_depth"]) if s.serving.reranks else (None, DEPTH)
        compare = partial(s.serving.compare, s.model)
        growing[s.system] = Growing(asking_scenes(subjects, s), compare, truth, reranker, depth)
    return gallery_rows(
        subjects.scenes,
        subjects.groups(trained),
        growing,
        truth,
        run["gallery_sizes"],
        ceiling=Ceiling(run["gallery_queries"]["embeddings"], truth),
        keepers={name: keeper for name, (keeper, _) in _keepers(subjects).items()},
        **subjects.columns,
    )


def setup_table(subjects: Subjects) -> list[dict[str, Any]]:
    """Rows of phase ``deploy``: every way to search the largest gallery that can be made of the trained systems."""
    run, keepers, sizes = subjects.run, _keepers(subjects), subjects.run["gallery_sizes"]
    members = {s.system: s for s in _trained(subjects)}
    groups = [(members[name].extractors, [keeper]) for name, (keeper, _) in keepers.items()]
    walk_blocks(subjects.scenes, block_spans(sizes), groups)  # what the walk of the galleries kept is not made again
    kinds: dict[str, dict[str, Any]] = {"dense": {}, "codes": {}, "pairs": {}}
    for name, s in members.items():
        searched = _searchable(s, *keepers[name]) if name in keepers else None
        if s.serving.reads_pairs:
            kinds["pairs"][name] = _pair_scorer(subjects, s, searched)
        elif s.serving.searchable:
            kinds["codes" if s.serving.hashed else "dense"][name] = searched
    own = np.arange(CAPTIONS * run["gallery_queries"]["embeddings"]) // CAPTIONS
    timing = Timing(repeats=3, budget_s=run["cost_budget_s"], threads=run["threads"])
    return setup_rows(sizes, own, **kinds, depths=run["screen_depths"], timing=timing, **subjects.columns)


def _trained(subjects: Subjects) -> list[Subject]:
    return [s for s in subjects.members if s.trained]


def _keepers(subjects: Subjects) -> dict[str, tuple[ItemKeeper, str]]:
    """System -> the keeper of its items, and the key of what it keeps; fusion rows, which need features, have none."""
    run, keepers = subjects.run, {}
    for s in _trained(subjects):
        if s.serving.searchable or (s.serving.reads_pairs and not s.serving.reranks):
            n_query, spans = asking_scenes(subjects, s), block_spans(run["gallery_sizes"])
            settings = {"items": True, "spans": spans, "n_query": n_query}
            recipe = encoder_recipe(s.encoder, s.extractors, settings, subjects.columns)
            units = kept_units(subjects.columns, "items", f"{s.system}__{subjects.corpus}", recipe)
            keepers[s.system] = ItemKeeper(s.encoder, n_query, units, half=s.serving.reads_pairs), recipe.key
    return keepers


def _searchable(subject: Subject, keeper: ItemKeeper, key: str) -> Searchable:
    """What was kept of a system as what is searched: codes, fragments, or embeddings of length 1."""

    def load() -> tuple[np.ndarray, np.ndarray]:
        kept = keeper.kept_items()
        if subject.serving.hashed or subject.serving.reads_pairs:
            return kept
        return tuple(x / np.linalg.norm(x, axis=1, keepdims=True) for x in kept)

    return Searchable(load, key)


def _pair_scorer(subjects: Subjects, s: Subject, kept: Searchable | None) -> PairScorer:
    """A system that reads pairs: over fragments that were kept, or over contexts, of at most n_test scenes."""
    n_items, n_query = subjects.run["gallery_sizes"][-1], CAPTIONS * asking_scenes(subjects, s)
    if kept is None:
        n_items, n_query = min(n_items, subjects.run["n_test"][subjects.corpus]), FUSION_QUERIES
        key = key_of(s.system, encoder_contents(s.encoder, s.extractors), n_items, n_query)
        pairs = Pairs(s.system, s.model, lambda: s.encode_first(subjects.scenes, n_items, n_query))
    else:
        key, pairs = kept.key, Pairs(s.system, s.model, lambda: tuple(map(Items, kept.arrays)))
    return PairScorer(pairs.score, np.arange(n_query), n_items, lambda: float(pairs.items[0].bytes_per_item), key)
