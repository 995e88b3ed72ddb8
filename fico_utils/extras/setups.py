"""Ways to search a collection (setups, phase ``deploy`` of costs.csv): their names, and what their rows say.

A setup is a system searched exhaustively (``scan``), a system on an index (``beit3+hnsw_flat``), or a screen with what
reranks its first candidates (``ucch+beit3@100``).
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from fico_utils import registry
from fico_utils.errors import InputError

#: Quantities that a choice of a setup needs, beside the recall.
NEEDED = ("seconds_per_query", "item_bytes")


def setup_parts(setup: str) -> tuple[str, str, str, int]:
    """Ids of the system that searches first, its index and the system that reranks, and how many it reranks.

    >>> setup_parts("ucch+beit3@100"), setup_parts("beit3+hnsw_flat"), setup_parts("scan")
    (('ucch', '', 'beit3', 100), ('beit3', 'hnsw_flat', '', 0), ('scan', '', '', 0))
    """
    first, _, rest = setup.partition("+")
    if not rest or rest in registry.INDEXES:
        return first, rest, "", 0
    second, _, depth = rest.partition("@")
    return first, "", second, int(depth)


def setup_name(setup: str) -> str:
    """A setup in words.

    >>> setup_name("ucch+beit3@100"), setup_name("beit3+hnsw_flat"), setup_name("scan")
    ('UCCH, then BEiT-3 for 100', 'BEiT-3 in FG HNSW', 'SCAN')
    """
    first, index, second, depth = setup_parts(setup)
    name = registry.system(first).name
    if second:
        return f"{name}, then {registry.system(second).name} for {depth}"
    return f"{name} in {registry.INDEXES[index].name}" if index else name


def measured_setups(
    rows: Iterable[Mapping[str, Any]], recall: str = "recall_t2i@1"
) -> dict[str, dict[int, tuple[float, float, float]]]:
    """Setup -> number of items -> (seconds a query, bytes an item, recall), of what was measured completely.

    `rows` are those of costs.csv of one corpus, as dicts, of which phase ``deploy`` is read; rows of several corpora
    are an InputError. `recall` is the quality that counts.
    """
    values: dict[str, dict[int, dict[str, float]]] = {}
    corpora = set()
    for r in rows:
        if r["phase"] == "deploy" and r["status"] == "ok" and r["quantity"] in (*NEEDED, recall):
            corpora.add(r["corpus"])
            at = values.setdefault(r["system"], {}).setdefault(int(r["scale_img"]), {})
            at[r["quantity"]] = float(r["value"])
    if len(corpora) > 1:
        raise InputError(f"rows of corpora {', '.join(sorted(corpora))} were given; expected those of one")
    complete: dict[str, dict[int, tuple[float, float, float]]] = {}
    for setup, sizes in values.items():
        for n, at in sizes.items():
            if len(at) == 3:
                complete.setdefault(setup, {})[n] = tuple(at[q] for q in (*NEEDED, recall))
    return complete


@dataclass(frozen=True)
class Screened:
    """A screen beside its second step alone."""

    setup: str
    first: str  # the system that chooses candidates
    second: str  # the system that reranks them
    k: int  # candidates handed on
    kept: float  # the recall of the screen over that of the second step alone; NaN where that recall is 0
    faster: float  # how many times as fast the screen is

    @property
    def pays(self) -> bool:
        """Whether it keeps 99 % of what its second step finds alone, in a fifth of the time."""
        return self.kept >= 0.99 and self.faster >= 5


def measured_screens(rows: Iterable[Mapping[str, Any]], n_items: int, recall: str = "recall_t2i@1") -> list[Screened]:
    """What every screen keeps and saves among `n_items`, where its second step was also measured alone, exhaustively.

    `rows` and `recall` are as in `measured_setups`; `n_items` is a number of items that was measured.
    """
    at = {setup: sizes[n_items] for setup, sizes in measured_setups(rows, recall).items() if n_items in sizes}
    screens = []
    for setup, (seconds, _, reached) in at.items():
        first, _, second, k = setup_parts(setup)
        alone = at.get(second) or at.get(f"{second}+flat_ip")
        if alone:
            kept = reached / alone[2] if alone[2] else float("nan")
            screens.append(Screened(setup, first, second, k, kept, alone[0] / seconds))
    return screens


def pareto_front(values: np.ndarray, better: Sequence[str]) -> np.ndarray:
    """Which rows no other row beats, bool (n,): a row is beaten by one that is nowhere worse and somewhere better.

    Parameters
    ----------
    values : (n, m) real numbers, none NaN.
    better : m times ``max`` or ``min``, what is better in each column.

    Examples
    --------
    >>> pareto_front([[0.9, 5], [0.8, 1], [0.7, 2]], ("max", "min")).tolist()
    [True, True, False]
    """
    costs = np.asarray(values, np.float64) * np.where(np.array(better) == "max", -1.0, 1.0)
    worse = (costs[:, None] >= costs[None]).all(2) & (costs[:, None] > costs[None]).any(2)
    return ~worse.any(1)
