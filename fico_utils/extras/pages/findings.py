"""What a run found, in up to five sentences with their numbers; one whose numbers were not measured is left out.

Sentences name the best fine-grained system and the best one with codes of at most 64 bits, as the numbers say.
"""

from __future__ import annotations

from collections.abc import Sequence

import pandas as pd

from fico_utils import registry
from fico_utils.display.rows import join_words, our_scores, split_rows
from fico_utils.display.table import GIB, two_digits
from fico_utils.display.tables.costs import MILLION
from fico_utils.extras.claims.numbers import Side, row_name

#: Ways to search, and how a sentence names them; the first is exact.
SEARCHES = {
    "flat_ip": "comparing all floats",
    "binary_flat": "comparing all 64-bit codes",
    "binary_flat_counting": "comparing them where FAISS counts distances",
    "hnsw_flat": "in an HNSW graph over the floats",
}
#: Of the growing gallery.
GROWN = "recall_t2i@1"


def state_findings(metrics: pd.DataFrame, costs: pd.DataFrame) -> list[str]:
    """Sentences on the right picture, its category, encoding and storage, search, and the growing gallery.

    `metrics` and `costs` are the tidy tables of one run; InputError where they mix several.
    """
    scored = set(our_scores(metrics)["corpus"])
    corpora = {corpus: corpus for corpus in registry.known_corpora() if corpus in scored}
    spent = split_rows(costs, "costs")["ours"]
    side = Side("ours", split_rows(metrics, "metrics")["ours"], spent, corpora)
    rows = registry.systems().items()
    fine, codes = [s for s, row in rows if row.family != "cg"], [s for s, row in rows if 0 < row.bits <= 64]
    sentences = [
        _right_picture(side, (fine, codes)),
        _right_category(side, (fine, codes)),
        _encoding_and_storage(side, fine, codes),
        _search_times(side, spent),
        _growing_gallery(side, (fine, codes)),
    ]
    return [sentence for sentence in sentences if sentence]


def _right_picture(side: Side, groups: Sequence[Sequence[str]]) -> str:
    said = {c: words for c in side.corpora if (words := _best_of(side, groups, c, "recall", "1"))}
    parts = [f"{words} on {registry.corpus(c).name}" for c, words in said.items()]
    return f"R@1, the share of captions that find their picture first, is {'; '.join(parts)}." if parts else ""


def _right_category(side: Side, groups: Sequence[Sequence[str]]) -> str:
    for corpus in side.corpora:
        near, whole = (_best_of(side, groups, corpus, "map", k) for k in ("10", "N"))
        if near and whole:
            return (
                f"mAP@10, which asks whether pictures of the caption's category come first, is {near} on "
                f"{registry.corpus(corpus).name}; mAP@N, over the whole ranking, is {whole}."
            )
    return ""


def _best_of(side: Side, groups: Sequence[Sequence[str]], corpus: str, metric: str, k: str) -> str:
    """The best of each group from captions to pictures, and the level of guessing; "" where no group has any."""
    best = [number for group in groups if (number := side.best(group, corpus, "t2i", metric, k))]
    guess = side.chance(corpus, "t2i", metric, k)
    words = [f"{number.bare} % with {number.label}" for number in best]
    return join_words(words + ([f"{guess.text} by guessing"] if guess else [])) if best else ""


def _encoding_and_storage(side: Side, fine: Sequence[str], codes: Sequence[str]) -> str:
    sizes = [set(found) for s in (*fine, *codes) if (found := side.sizes(s, "encode"))]
    common = set.intersection(*sizes) if sizes else set()
    packed = [number.value for s in codes if (number := side.cost(s, "store", "packed_bytes", MILLION[0]))]
    kept = {s: _bytes_kept(side, s) for s in fine if _bytes_kept(side, s)}
    if not common or not packed or not kept:
        return ""
    times = {s: n.value for s in (*fine, *codes) if (n := side.cost(s, "encode", "seconds", max(common)))}
    return (
        f"Encoding {max(common):,.0f} pictures and their captions takes from {_ends(times, 1, 's')}; a million "
        f"pictures and five million captions take {two_digits(min(packed) / GIB)} GiB as 64-bit codes, and from "
        f"{_ends(kept, GIB, 'GiB')} as fine-grained systems keep them."
    )


def _bytes_kept(side: Side, system: str) -> float:
    """Embeddings and what attention reads, of a million pictures and their captions; 0 where nothing is known."""
    parts = [side.cost(system, "store", f"{kind}_bytes", MILLION[0]) for kind in ("embedding", "feature")]
    return sum(part.value for part in parts if part)


def _search_times(side: Side, costs: pd.DataFrame) -> str:
    common = set.intersection(*(set(side.sizes(index, "search")) for index in SEARCHES))
    if not common:
        return ""
    queries = max(common)
    vectors = costs.loc[(costs["phase"] == "search") & (costs["scale_img"] == queries), "scale_txt"].max()
    seconds = {words: side.cost(index, "search", "seconds", queries).value for index, words in SEARCHES.items()}
    times = join_words([f"{two_digits(value)} s {words}" for words, value in seconds.items()])
    found = side.cost("hnsw_flat", "search", "recall@1", queries)
    graph = f", which finds {found.bare} % of the exact first hits" if found else ""
    return f"Searching {vectors:,.0f} vectors for {queries:,.0f} queries takes {times}{graph}."


def _growing_gallery(side: Side, groups: Sequence[Sequence[str]]) -> str:
    sizes = [set(found) for group in groups for s in group if (found := side.sizes(s, "gallery", GROWN))]
    common = set.intersection(*sizes) if sizes else set()
    if len(common) < 2:
        return ""
    parts = []
    for group in groups:
        ends = [[side.cost(s, "gallery", GROWN, size) for size in (max(common), min(common))] for s in group]
        for after, before in sorted([pair for pair in ends if all(pair)], key=lambda pair: pair[0].value)[-1:]:
            parts.append(f"from {100 * before.value:.1f} % to {100 * after.value:.1f} % with {after.label}")
    return f"As the gallery grows from {min(common):,.0f} to {max(common):,.0f} pictures, R@1 goes {join_words(parts)}."


def _ends(values: dict[str, float], unit: float, name: str) -> str:
    """The smallest and the largest of some systems' values, in words."""
    low, high = min(values, key=values.get), max(values, key=values.get)
    return " to ".join(f"{two_digits(values[s] / unit)} {name} ({row_name(s)})" for s in (low, high))
