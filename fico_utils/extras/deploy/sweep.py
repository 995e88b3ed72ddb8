"""Which candidates are measured at which sizes, in which order, and again at the end."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from functools import cached_property, partial
from typing import Any

from fico_utils.costs.rows import fit_growth
from fico_utils.extras.deploy.candidates import EXACT, EXHAUSTIVE, GRAPH, LISTS, Build, list_builds
from fico_utils.extras.deploy.codes import Coder, list_codes
from fico_utils.extras.deploy.inputs import LEAST_TO_GROW, PARTS, Asked, Codes, Part
from fico_utils.extras.deploy.lance import LanceBuild, list_tables
from fico_utils.extras.deploy.measuring import measure_again, measure_build, release_memory
from fico_utils.extras.deploy.records import Records
from fico_utils.extras.deploy.timing import Rounds, at_one_state
from fico_utils.progress import show_progress

#: Seconds that a graph may take to be built, without `quick` and with it; beyond, its size is extrapolated.
BUILD_S = {False: 45.0, True: 5.0}
#: How often each candidate is timed: at the whole gallery, and below.
ROUNDS = {False: (Rounds(9, 0.15, 0.06), Rounds(9, 0.15, 0.03)), True: (Rounds(5, 0.05, 0.04), Rounds(5, 0.04, 0.02))}
#: How often what is recommended is timed, by its single queries on one thread.
AGAIN = Rounds(25, 1.0, 0.0)


class Sweep:
    """The measurements of one run of `deploy`, kept in its `records`; `quick` has fewer candidates and repeats.

    Where the gallery does not grow, only graphs, and the exhaustive search beside them, are measured below its size.
    With `lance`, tables of LanceDB are candidates, too.
    """

    def __init__(self, asked: Asked, records: Records, quick: bool, grows: bool, lance: bool) -> None:
        self.asked, self.records, self.quick, self.grows, self.lance = asked, records, quick, grows, lance
        self.coder, self.codes = Coder(asked, records.kept_arrays), list_codes(asked, quick)
        self._part: Part | None = None

    def builds(self, n: int) -> list[Build]:
        """What may be built at one size."""
        tables = list_tables(n, self.codes, self.quick) if self.lance else ()
        return [*list_builds(n, self.asked.dim, self.codes, self.quick), *tables]

    @cached_property
    def measured(self) -> list[dict[str, Any]]:
        """Rows of every candidate at every size, smallest first, with times at one state of the machine.

        A graph that would take too long to build is left out, and so are lists, graphs and hash tables of codes that
        find less than others do (`leading_codes`); graphs and hash tables are over the first of these alone.
        """
        n_items = self.asked.n_items
        parts = PARTS if n_items >= LEAST_TO_GROW else PARTS[-1:]
        sizes = sorted(n_items // p for p in parts if p != (2 if self.quick else 8))
        plan = [(n, build) for n in sizes for build in self.builds(n)]
        if not self.grows:  # smaller galleries say how long a graph takes to build, and for which codes
            first = {n: (EXACT, EXHAUSTIVE) if n == sizes[0] else (EXACT,) for n in sizes}
            plan = [(n, b) for n, b in plan if n == n_items or b.law == GRAPH or b.name in first[n]]
        took: dict[tuple[str, str], list[tuple[int, float]]] = {}  # sizes and seconds of what was built
        rows: list[dict[str, Any]] = []
        for n, build in show_progress(plan, "deploy", len(plan), unit="index", leave=False):
            before = took.setdefault((build.name, build.codes), [])
            if build.law == GRAPH and before:
                # one size tells little of a power; beyond a size that was left out all are
                expected = fit_growth(*zip(*before, strict=True)).predict(n)[0] if len(before) > 1 else before[0][1]
                if expected > BUILD_S[self.quick]:
                    continue
            if build.codes and build.name != EXHAUSTIVE and not isinstance(build, LanceBuild):
                leading = leading_codes(rows)
                if build.codes not in (leading if build.law == LISTS else leading[:1]):
                    continue
            measured = self.records.kept(f"{build.codes} {build.name} {n}", partial(self.measure, n, build))
            before.append((n, measured[0]["build_s"]))
            rows += measured
        return at_one_state(rows)

    def timed_again(self, names: Collection[str]) -> dict[str, dict[str, Any]]:
        """By name, the times of some candidates at the whole gallery, from indexes that are built anew.

        They are at the state of the machine that `measured` has.
        """
        rows: list[dict[str, Any]] = []
        for build in self.builds(self.asked.n_items):
            mine = sorted({build.title(variant) for variant in build.variants} & set(names))
            if mine:
                rows += self.records.kept(f"again {' | '.join(mine)}", partial(self._measure_again, build, mine))
        return {row["name"]: row for row in at_one_state(rows, self.measured[0]["reference_ms"])}

    def _made(self, n: int, build: Build) -> tuple[Part, Codes | None, float]:
        """A gallery of some size, its codes if the index is of codes, and the seconds that these took."""
        release_memory()
        if self._part is None or len(self._part.items) != n:
            self._part = None  # the last one must not stand in memory beside it
            self._part = self.asked.part(n, self.records.folder)
        made, made_s = self.coder.codes(build.codes, self._part) if build.codes else (None, 0.0)
        return self._part, made, made_s

    def measure(self, n: int, build: Build) -> list[dict[str, Any]]:
        """Rows of every way to search one index, at the state that the machine is in."""
        rounds = ROUNDS[self.quick][n < self.asked.n_items]
        if n == self.asked.n_items and build.name == "HNSW":  # which takes too long to be built again at the end
            rounds = rounds._replace(n=AGAIN.n, query_s=AGAIN.query_s)
        return measure_build(build, *self._made(n, build), rounds)

    def _measure_again(self, build: Build, names: Sequence[str]) -> list[dict[str, Any]]:
        part, codes, _ = self._made(self.asked.n_items, build)
        return measure_again(build, names, part, codes, AGAIN)


def leading_codes(rows: Sequence[dict[str, Any]]) -> list[str]:
    """The codes over which more than an exhaustive search is built: learned and own ones, and the best of the others.

    The best are those that find most neighbours in an exhaustive search, which come first. Of each method the longest
    codes count.

    >>> row = {"items": 9, "factory": "BFlat", "depth": 0}
    >>> each = [row | {"codes": f"{made} 64", "neighbour_recall@10": r} for made, r in (("sign", 0.2), ("itq", 0.3))]
    >>> leading_codes(each)
    ['itq 64']
    """
    flat = [row for row in rows if row["factory"] == EXHAUSTIVE and not row["depth"]]
    smallest = min(row["items"] for row in flat)
    found = {row["codes"]: row["neighbour_recall@10"] for row in flat if row["items"] == smallest}
    longest = {made.split()[0]: made for made in found}  # they are listed by length
    order = sorted(longest.values(), key=found.__getitem__, reverse=True)
    others = [made for made in order if not made.startswith(("learned", "own"))]
    return [made for made in order if made not in others[1:]]
