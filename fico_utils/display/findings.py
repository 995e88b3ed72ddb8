"""What a run found, in sentences for somebody who has read nothing else: claims counted, best systems named."""

from __future__ import annotations

from collections.abc import Sequence

import pandas as pd

from fico_utils import registry
from fico_utils.display.ledger import verdict_counts
from fico_utils.display.rows import one_run, run_name

VERDICT_WORDS = {
    "holds": ("holds", "hold"), "holds in part": ("holds in part", "hold in part"),
    "does not hold": ("does not hold", "do not hold"),
    "cannot be tested here": ("cannot be tested here", "cannot be tested here"),
}  # fmt: skip


def describe_findings(claims: pd.DataFrame | None, metrics: pd.DataFrame | None) -> list[str]:
    """Sentences about a run.

    Parameters
    ----------
    claims : DataFrame, claims.csv, or None where it was not written.
    metrics : DataFrame of text, metrics.csv, or None.
    """
    sentences = []
    mine = None if metrics is None else _measured(metrics)
    about = "" if mine is None or mine.empty else f" ({run_name(mine)})"
    if mine is not None and not mine.empty:
        corpora = [registry.corpus(c) for c in registry.known_corpora() if c in {*mine["corpus"]}]
        sentences.append(f"This run{about} measured {join_words([_placed(c) for c in corpora])}.")
        if not any(c.photographs for c in corpora):
            sentences[-1] += " The systems are small and the pictures are no photographs."
    if claims is not None and len(claims):
        counts = verdict_counts(claims)
        papers, ours = (_counted(counts[column]) for column in counts)
        sentences.append(
            f"We turned what the paper says into {len(claims)} claims that numbers can test. "
            f"On the numbers of this run{about}, {ours}. On the paper's own numbers, {papers}."
        )
    if mine is not None:
        sentences += [_best_of(mine, c) for c in registry.known_corpora() if c in {*mine["corpus"]}]
    return sentences


def join_words(words: Sequence[str]) -> str:
    """Words as a list in a sentence.

    >>> join_words(["a", "b", "c"]), join_words(["a"])
    ('a, b and c', 'a')
    """
    return " and ".join(filter(None, (", ".join(words[:-1]), words[-1])))


def _measured(metrics: pd.DataFrame) -> pd.DataFrame:
    mine = one_run(metrics, "metrics.csv")
    mine = mine[(mine["source"] == "ours") & (mine["split"] == "test") & (mine["status"] == "ok")]
    return mine.assign(value=mine["value"].astype(float))


def _placed(corpus: registry.CorpusInfo) -> str:
    return corpus.name + (f" (beside {registry.corpus(corpus.beside).name})" if corpus.beside else "")


def _counted(counts: pd.Series) -> str:
    return join_words([f"{n} {VERDICT_WORDS[verdict][n > 1]}" for verdict, n in counts.items() if n])


def _best_of(mine: pd.DataFrame, corpus_id: str) -> str:
    """The best system of a corpus at the two levels."""
    parts = []
    for metric, k, words in (
        ("recall", "1", "put the right picture first for {share:.1f} % of the captions"),
        ("map", "N", "had the highest mAP@N from captions to pictures, {share:.1f} %"),
    ):
        rows = mine[(mine["corpus"] == corpus_id) & (mine["metric"] == metric) & (mine["k"] == k)]
        rows = rows[rows["direction"] == "t2i"]
        if len(rows):
            best = rows.loc[rows["value"].idxmax()]
            chance = f" (guessing reaches {100 * float(best['chance']):.1f} %)" if best["chance"] else ""
            parts.append(f"{registry.system(best['system']).name} {words.format(share=100 * best['value'])}{chance}")
    return f"On {registry.corpus(corpus_id).name}, {join_words(parts)}." if parts else ""
