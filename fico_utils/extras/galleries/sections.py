"""The sections of notebook 05 on growing galleries and two-step searches: one call each."""

from __future__ import annotations

from collections.abc import Mapping
from functools import partial
from typing import Any

import numpy as np

from fico_utils.costs.attention import Pairs
from fico_utils.costs.blocks import CAPTIONS, block_spans, walk_blocks
from fico_utils.costs.clock import Timing, kept_units
from fico_utils.costs.sections import Subject, Subjects
from fico_utils.extras.galleries.growing import Growing, ItemKeeper, Reranker, encoder_recipe, gallery_rows
from fico_utils.extras.galleries.setups import PairScorer, Searchable, setup_rows
from fico_utils.extras.galleries.truth import Ceiling, Truth
from fico_utils.files import key_of

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
        reranker = Reranker(s.model, run["rerank_depth"]) if s.serving.reranks else None
        growing[s.system] = Growing(asking_scenes(subjects, s), partial(s.serving.compare, s.model), truth, reranker)
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
    searched = {name: _searchable(members[name], *kept) for name, kept in keepers.items()}
    simple = {name: searched[name] for name in searched if members[name].serving.searchable}
    own = np.arange(CAPTIONS * run["gallery_queries"]["embeddings"]) // CAPTIONS
    return setup_rows(
        sizes,
        own,
        dense={name: held for name, held in simple.items() if not members[name].serving.hashed},
        codes={name: held for name, held in simple.items() if members[name].serving.hashed},
        pairs=_pair_scorers(subjects, searched),
        depths=run["screen_depths"],
        timing=Timing(repeats=3, budget_s=run["cost_budget_s"], threads=run["threads"]),
        **subjects.columns,
    )


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
        images, texts = keeper.arrays()
        if subject.serving.hashed or subject.serving.reads_pairs:
            return images, texts
        return tuple(x / np.linalg.norm(x, axis=1, keepdims=True) for x in (images, texts))

    return Searchable(load, key)


def _pair_scorers(subjects: Subjects, searched: Mapping[str, Searchable]) -> dict[str, PairScorer]:
    """Systems that read pairs: over fragments that were kept, or over contexts, of at most n_test scenes."""
    from fico_utils.models.serving import Items

    run, largest, scorers = subjects.run, subjects.run["gallery_sizes"][-1], {}
    for s in _trained(subjects):
        if s.serving.reranks:
            n_items, n_query = min(largest, run["n_test"][subjects.corpus]), FUSION_QUERIES
            pairs = Pairs(s.system, s.model, lambda s=s, n=n_items: s.encode_first(subjects.scenes, n, FUSION_QUERIES))
            contents = [s.encoder.content, *(x.content for x in s.extractors if s.encoder.reads & set(x.makes))]
            key = key_of(s.system, contents, n_items, n_query)
        elif s.serving.reads_pairs:
            n_items, n_query, key = largest, CAPTIONS * asking_scenes(subjects, s), searched[s.system].key
            pairs = Pairs(s.system, s.model, lambda name=s.system: tuple(map(Items, searched[name].arrays)))
        else:
            continue
        size = lambda pairs=pairs: float(pairs.items[0].bytes_per_item)  # noqa: E731
        scorers[s.system] = PairScorer(pairs.score, np.arange(n_query), n_items, size, key)
    return scorers
