"""What was measured of all candidates, and which of them fits a memory and a patience."""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING, Any

import numpy as np

from fico_utils.errors import InputError
from fico_utils.extras.deploy.candidates import EXACT, list_builds
from fico_utils.extras.deploy.growth import TIMES, carry_rows
from fico_utils.extras.deploy.lance import NAME, list_tables

if TYPE_CHECKING:
    import pandas as pd

#: The metric that counts.
QUALITY = "recall@1"
GIB = 2**30
#: Shares of the exhaustive search's quality from which a candidate counts as losing little.
LITTLE = 0.98
#: The columns of the table before and behind those of the metrics, which have ``_ci_low`` and ``_ci_high`` each.
BEFORE = (
    "name", "factory", "items", "bytes_per_item", "build_s", "query_ms", "batch_ms", "memory_bytes",
    "neighbour_recall@1", "neighbour_recall@10",
)  # fmt: skip
BEHIND = (
    "share_of_exact", "status", "query_ms_all_threads", "batch_ms_one_thread",
    *(f"{time}{end}" for time in TIMES for end in ("_low", "_high")),
    "search", "codes", "depth", "build_peak_bytes", "note",
)  # fmt: skip


@dataclass(frozen=True)
class Candidates:
    """What was measured, as a ``table``, and which candidate is the ``best(...)`` within a budget."""

    records: Sequence[dict[str, Any]]  # of all that was measured
    n_items: int
    dim: int
    n_query: int
    direction: str
    quick: bool
    chance: float  # the metric that counts under a random ranking of the whole gallery
    grow_to: tuple[int, ...] = ()
    memory_gib: float | None = None
    latency_ms: float | None = None

    @cached_property
    def table(self) -> pd.DataFrame:
        """One row a candidate and size; see `deploy`."""
        import pandas as pd

        measured = [{**row, "status": "measured"} for row in self.records]
        sizes = {*(row["items"] for row in measured), self.n_items, *self.grow_to}
        frame = pd.DataFrame(self._finished(measured + [row for n in sorted(sizes) for row in self._carried(n)]))
        metrics = [name for name in measured[0] if f"{name}_ci_low" in measured[0]]
        columns = [*BEFORE, *(f"{m}{end}" for m in metrics for end in ("", "_ci_low", "_ci_high")), *BEHIND]
        return frame.sort_values("items", kind="stable").reindex(columns=columns).reset_index(drop=True)

    def _carried(self, n: int) -> list[dict[str, Any]]:
        """Rows of a size that was not measured."""
        if n < self.n_items:
            return []
        codes = list(dict.fromkeys(row["codes"] for row in self.records if row["codes"]))
        builds = [*list_builds(n, self.dim, codes, self.quick), *list_tables(n, codes, self.quick)]
        factories = {build.title(variant): build.factory for build in builds for variant in build.variants}
        carried = carry_rows(self.records, n, factories, self.n_query)
        return [{**row, "status": "extrapolated"} for row in carried]

    def _finished(self, rows: list[dict[str, Any]]) -> list[dict[str, Any]]:
        """With the share of the exhaustive search's quality, and what does not fit said."""
        exact, done = {row["items"]: row[QUALITY] for row in rows if row["name"] == EXACT}, []
        for row in rows:
            whole, note, times = exact[row["items"]], "", row["memory_bytes"] / GIB / (self.memory_gib or np.inf)
            if times > 1:
                machines = f"{np.ceil(times):.0f} machines with a shard each (faiss.IndexShards)"
                lists = row["factory"].startswith(("IVF", "OPQ")) and "Refine" not in row["factory"]
                on_disk = " or lists on disk (faiss.contrib.ondisk.merge_ondisk)" if lists else ""
                note = f"exceeds {self.memory_gib:g} GiB: needs {machines}{on_disk}"
                if NAME in row["name"]:
                    note = f"exceeds {self.memory_gib:g} GiB: LanceDB reads the rest from disk, slower than measured"
            done.append({**row, "share_of_exact": row[QUALITY] / whole if whole else np.nan, "note": note})
        return done

    def best(
        self, memory_gib: float | None = None, latency_ms: float | None = None, items: int | None = None
    ) -> pd.Series:
        """The row of the candidate to deploy: of those within memory and latency, the one that finds most.

        The limits are those that `deploy` was given where they are None; `items` is the whole gallery by default, or
        any larger size. What was measured goes before what is extrapolated. A candidate whose interval holds the
        exhaustive search's recall@1 finds no more than that; of those that find as much, the fastest is best. Where
        embeddings are no better than chance, neighbour recall takes the place of recall@1. InputError where nothing
        fits, which names the nearest and what it lacks.
        """
        memory_gib = self.memory_gib if memory_gib is None else check_budget("memory_gib", memory_gib)
        latency_ms = self.latency_ms if latency_ms is None else check_budget("latency_ms", latency_ms)
        rows = self.rows_at(self.n_items if items is None else items)
        memory, time = rows["memory_bytes"] / GIB / (memory_gib or np.inf), rows["query_ms"] / (latency_ms or np.inf)
        excess = np.maximum(memory, time)
        if excess.min() > 1:
            near = rows.loc[excess.idxmin()]
            raise InputError(
                f"no candidate for {near['items']:,} items fits {budget_text(memory_gib, latency_ms)}; the nearest is "
                f"{near['name']}, which takes {near['memory_bytes'] / GIB:.3g} GiB and {near['query_ms']:.3g} ms a "
                f"query, {excess.min():.3g} times what is allowed: allow more, or split the items over machines"
            )
        fits = rows[excess <= 1]
        fits = fits[fits["status"] == "measured"] if "measured" in set(fits["status"]) else fits
        exact, low = rows.loc[rows["name"] == EXACT, [QUALITY, f"{QUALITY}_ci_low"]].iloc[0]
        found = fits[QUALITY].where(fits[f"{QUALITY}_ci_low"] > exact, fits[QUALITY].clip(upper=exact))
        found = found if low > self.chance else fits["neighbour_recall@1"]
        order = np.lexsort([-fits["neighbour_recall@1"], fits["memory_bytes"], fits["query_ms"], -found])
        return fits.iloc[order[0]]

    def codes_and_rival(self, items: int) -> tuple[pd.Series, pd.Series, pd.Series, bool] | None:
        """The fastest codes that lose little, the fastest index of vectors that finds as much, and the best of codes
        without vectors; and whether the first are worth having. None where there are no two to compare."""
        rows = self.rows_at(items)
        coded, floats = rows[rows["codes"] != ""], rows[(rows["codes"] == "") & (rows["name"] != EXACT)]
        if coded.empty or floats.empty:
            return None
        quality = quality_of(rows)
        least = LITTLE * rows.loc[rows["name"] == EXACT, quality].iloc[0]
        good = coded[coded[quality] >= least]
        code = coded.loc[coded[quality].idxmax()] if good.empty else good.loc[good["query_ms"].idxmin()]
        rivals = floats[floats[quality] >= min(code[quality], least)]
        rival = floats.loc[floats[quality].idxmax()] if rivals.empty else rivals.loc[rivals["query_ms"].idxmin()]
        alone = coded[coded["depth"] == 0]
        small = alone.loc[alone[quality].idxmax()]
        return code, rival, small, not good.empty and code["query_ms"] < rival["query_ms"]

    def named(self) -> set[str]:
        """Names of what was measured at the whole gallery and is in the answer: the exhaustive search, the best
        candidate of each size, and codes and their rivals."""
        names = {EXACT}
        for n in {self.n_items, *self.grow_to}:
            with suppress(InputError):
                names.add(self.best(items=n)["name"])
        for n in {self.n_items, *self.grow_to[-1:]}:
            names |= {row["name"] for row in (self.codes_and_rival(n) or ())[:3]}
        return names & {row["name"] for row in self.records if row["items"] == self.n_items}

    def rows_at(self, items: int) -> pd.DataFrame:
        """The rows of one size, carried there where it is not in the table; InputError where they cannot be."""
        import pandas as pd

        rows = self.table[self.table["items"] == items]
        if rows.empty:
            carried = self._carried(items)
            if not any(row["name"] == EXACT for row in carried):
                sizes = ", ".join(f"{n:,}" for n in sorted(set(self.table["items"])))
                raise InputError(f"items is {items}, expected one of {sizes}, or a larger size after grow_to")
            rows = pd.DataFrame(self._finished(carried)).reindex(columns=self.table.columns)
        return rows


def quality_of(rows: pd.DataFrame) -> str:
    """The metric that compares the rows of one size: of neighbours where the exhaustive search finds nothing right."""
    return QUALITY if rows["share_of_exact"].notna().any() else "neighbour_recall@1"


def check_budget(name: str, value: Any) -> float:
    """A budget as a number; InputError where it is none above 0."""
    if isinstance(value, bool) or not isinstance(value, (int, float, np.number)) or not 0 < value < np.inf:
        raise InputError(f"{name} is {value!r}, expected a number above 0, or nothing for no limit")
    return float(value)


def budget_text(memory_gib: float | None, latency_ms: float | None) -> str:
    """The limits in words; empty where there are none."""
    limits = (memory_gib and f"{memory_gib:g} GiB", latency_ms and f"{latency_ms:g} ms a query")
    return " and ".join(filter(None, limits))
