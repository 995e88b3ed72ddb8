"""What was measured of all candidates, and which of them fits a memory and a patience."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING, Any

import numpy as np

from fico_utils.errors import InputError
from fico_utils.extras.deploy.candidates import EXACT, list_builds
from fico_utils.extras.deploy.growth import carry_rows

if TYPE_CHECKING:
    import pandas as pd

    from fico_utils.display.picture import Picture

#: The columns of the table before and behind those of the metrics, which have ``_ci_low`` and ``_ci_high`` each.
BEFORE = (
    "name", "factory", "items", "bytes_per_item", "build_s", "query_ms", "batch_ms", "memory_bytes",
    "neighbour_recall@1", "neighbour_recall@10",
)  # fmt: skip
BEHIND = (
    "share_of_exact", "status", "query_ms_low", "query_ms_high", "batch_ms_low", "batch_ms_high", "search", "codes",
    "depth", "build_peak_bytes", "note",
)  # fmt: skip
#: The metric that counts.
QUALITY = "recall@1"
GIB = 2**30


@dataclass(frozen=True)
class Deployment:
    """The answer of `deploy`: ``table``, ``best(...)``, ``answer`` and ``figure()``."""

    records: Sequence[dict[str, Any]]  # of all that was measured
    n_items: int
    dim: int
    n_query: int
    direction: str
    grow_to: tuple[int, ...] = ()
    memory_gib: float | None = None
    latency_ms: float | None = None
    quick: bool = False
    chance: float = 0.0  # of the quality, under a random ranking of the whole gallery
    notes: Sequence[str] = ()  # what could not be tried, a sentence each

    @cached_property
    def table(self) -> pd.DataFrame:
        """One row a candidate and size; see `deploy`."""
        import pandas as pd

        measured = [{**row, "status": "measured"} for row in self.records]
        sizes = {*(row["items"] for row in measured), self.n_items, *self.grow_to}
        rows = measured + [row for n in sorted(sizes) for row in self._carried(n)]
        metrics = [name for name in measured[0] if f"{name}_ci_low" in measured[0]]
        frame = pd.DataFrame(self._finished(rows))
        columns = [*BEFORE, *(f"{m}{end}" for m in metrics for end in ("", "_ci_low", "_ci_high")), *BEHIND]
        order = {row["name"]: place for place, row in reversed([*enumerate(measured)])}
        frame = frame.sort_values(["items", "name"], key=lambda c: c.map(order) if c.name == "name" else c)
        return frame.reindex(columns=columns).reset_index(drop=True)

    def _carried(self, n: int) -> list[dict[str, Any]]:
        if n < self.n_items:
            return []
        codes = list(dict.fromkeys(row["codes"] for row in self.records if row["codes"]))
        builds = list_builds(n, self.dim, codes, self.quick)
        factories = {build.title(variant): build.factory for build in builds for variant in build.variants}
        rows = carry_rows(self.records, n, factories, self.n_query)
        return [{**row, "status": "extrapolated"} for row in rows]

    def _finished(self, rows: list[dict[str, Any]]) -> list[dict[str, Any]]:
        """With the share of the exhaustive search's quality, and what does not fit said."""
        exact = {row["items"]: row[QUALITY] for row in rows if row["name"] == EXACT}
        done = []
        for row in rows:
            whole, note = exact.get(row["items"], 0.0), ""
            if self.memory_gib is not None and row["memory_bytes"] > self.memory_gib * GIB:
                shards = int(np.ceil(row["memory_bytes"] / (self.memory_gib * GIB)))
                note = f"exceeds {self.memory_gib:g} GiB; needs {shards} machines with a shard each (faiss.IndexShards)"
                if row["factory"].startswith(("IVF", "OPQ")) and "Refine" not in row["factory"]:
                    note += ", or lists on disk (faiss.contrib.ondisk.merge_ondisk)"
            done.append({**row, "share_of_exact": row[QUALITY] / whole if whole else np.nan, "note": note})
        return done

    def best(
        self, memory_gib: float | None = None, latency_ms: float | None = None, items: int | None = None
    ) -> pd.Series:
        """The row of the candidate to deploy: of those within memory and latency, the one that finds most.

        The limits are those that `deploy` was given where they are None; `items` is the whole gallery by default, or
        any larger size. A candidate whose interval holds the exhaustive search's recall@1 finds no more than that;
        ties go to the higher neighbour recall, then to the faster. InputError where nothing fits, which names the
        nearest and what it lacks.
        """
        memory_gib = self.memory_gib if memory_gib is None else check_budget("memory_gib", memory_gib)
        latency_ms = self.latency_ms if latency_ms is None else check_budget("latency_ms", latency_ms)
        rows = self.rows_at(self.n_items if items is None else items)
        excess = np.maximum(rows["memory_bytes"] / (np.inf if memory_gib is None else memory_gib * GIB),
                            rows["query_ms"] / (np.inf if latency_ms is None else latency_ms))  # fmt: skip
        if excess.min() > 1:
            near = rows.loc[excess.idxmin()]
            limits = [] if memory_gib is None else [f"{memory_gib:g} GiB"]
            limits += [] if latency_ms is None else [f"{latency_ms:g} ms a query"]
            raise InputError(
                f"no candidate for {near['items']:,} items fits {' and '.join(limits)}; the nearest is {near['name']}, "
                f"which takes {near['memory_bytes'] / GIB:.3g} GiB and {near['query_ms']:.3g} ms a query, "
                f"{excess.min():.3g} times what is allowed: allow more, or split the items over several machines"
            )
        fits = rows[excess <= 1]
        exact = rows.loc[rows["name"] == EXACT, QUALITY].max()
        found = fits[QUALITY].where(fits[f"{QUALITY}_ci_low"] > exact, fits[QUALITY].clip(upper=exact))
        order = np.lexsort([fits["memory_bytes"], fits["query_ms"], -fits["neighbour_recall@1"], -found])
        return fits.iloc[order[0]]

    def rows_at(self, items: int) -> pd.DataFrame:
        """The rows of one size, carried there where it is not in the table."""
        import pandas as pd

        rows = self.table[self.table["items"] == items]
        if rows.empty:
            carried = self._finished(self._carried(int(items)))
            if not carried:
                sizes = ", ".join(f"{n:,}" for n in sorted(set(self.table["items"])))
                raise InputError(
                    f"items is {items}, and measured were {sizes}: give one of these, or deploy again with grow_to"
                )
            rows = pd.DataFrame(carried).reindex(columns=self.table.columns)
        return rows

    @cached_property
    def answer(self) -> str:
        """What to deploy at each size and what it loses, in Markdown: a paragraph, a table, and code that builds it."""
        from fico_utils.extras.deploy.answer import answer_text

        return answer_text(self)

    def figure(self) -> Picture:
        """Recall against the time of a query and against bytes an item, with the front of all three."""
        from fico_utils.extras.deploy.figure import draw_candidates

        return draw_candidates(self.table[self.table["items"] == self.n_items])


def check_budget(name: str, value: Any) -> float:
    """A budget as a number; InputError where it is none above 0."""
    if isinstance(value, bool) or not isinstance(value, (int, float, np.number)) or not 0 < value < np.inf:
        raise InputError(f"{name} is {value!r}, expected a number above 0, or nothing for no limit")
    return float(value)
